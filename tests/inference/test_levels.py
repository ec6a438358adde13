from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.inference.sounds import noise, silence

from voicetone.inference.levels import Levels
from voicetone.types import Floats


def _levels(*pieces: Floats) -> Levels:
    levels = Levels()
    for piece in pieces:
        levels.push(piece)
    return levels


def _with(*values: float, at: int = 5000) -> Floats:
    samples = noise(1.0)
    samples[at : at + len(values)] = values
    return samples


def test_silent() -> None:
    assert _levels(silence(0.5), silence(0.5)).silent
    assert not _levels(silence(0.5), np.float32([1e-9]), silence(0.5)).silent
    assert not _levels().silent, "no samples are not silent ones"
    assert not _levels(silence(0.5)).clipped


@pytest.mark.parametrize(
    ("samples", "clipped"),
    [
        (_with(1.0, 1.0, 1.0, 1.0), True),
        (_with(-1.0, -1.0, -1.0, -1.0), True),
        (_with(1.0, 1.0, 1.0), False),
        (_with(1.0, -1.0, 1.0, -1.0), False),
        (_with(1.0, 0.9995, 1.0, 0.9995), False),
        (_with(0.99, 0.99, 0.99, 0.99), False),
        (_with(*[1.0, 0.5] * 16), False),
        (_with(*[1.0, 0.5] * 17), True),
        (noise(1.0), False),
    ],
)
def test_clipped(samples: Floats, clipped: bool) -> None:
    assert _levels(samples).clipped is clipped


@given(st.lists(st.integers(0, 16000), max_size=5), st.integers(0, 15996))
def test_cuts_hide_no_run(cuts: list[int], at: int) -> None:
    pieces = np.split(_with(1.0, 1.0, 1.0, 1.0, at=at), sorted([*cuts, at + 1, at + 3]))
    assert _levels(*pieces).clipped
