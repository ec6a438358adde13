from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from voicetone.inference.overview import Overview
from voicetone.types import Floats


def _sound(count: int) -> Floats:
    return np.random.default_rng(0).uniform(-1, 1, (2, count)).astype(np.float32)


@given(st.integers(1, 3000), st.lists(st.integers(0, 3000), max_size=6))
def test_cuts_change_nothing_and_no_peak_is_lost(count: int, cuts: list[int]) -> None:
    sound = _sound(count)
    overview = Overview(bins=10)
    for piece in np.split(sound, sorted(cuts), axis=1):
        overview.push(piece)
    peaks = overview.peaks()
    whole = Overview(bins=10)
    whole.push(sound)
    np.testing.assert_array_equal(peaks, whole.peaks())
    bins = peaks.shape[1]
    assert min(count, 10) <= bins <= 20
    width = 1
    while -(-count // width) > 20:
        width *= 2
    for index in range(bins):
        stretch = sound[:, index * width : (index + 1) * width]
        np.testing.assert_array_equal(peaks[:, index, 0], stretch.min(axis=1))
        np.testing.assert_array_equal(peaks[:, index, 1], stretch.max(axis=1))


def test_nothing_gives_an_empty_outline() -> None:
    assert Overview().peaks().shape[1] == 0
