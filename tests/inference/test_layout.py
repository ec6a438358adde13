from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.audio.units import FRAME, SAMPLE_RATE, frames_in
from voicetone.inference.layout import all_windows


def _seconds(samples: float) -> list[tuple[float, float]]:
    places = all_windows(round(samples * SAMPLE_RATE))
    return [(p.start_seconds, p.end_seconds) for p in places]


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (0.0, []),
        (1 / 16000, [(0.0, 1 / 16000)]),
        (0.5, [(0.0, 0.5)]),
        (2.5, [(0.0, 2.5)]),
        (4.5, [(0.0, 4.5)]),
        (5.0, [(0.0, 5.0)]),
        (5.9375, [(0.0, 5.0)]),
        (6.0, [(0.0, 5.0), (1.0, 6.0)]),
        (7.5, [(0.0, 5.0), (2.5, 7.5)]),
        (8.4375, [(0.0, 5.0), (2.5, 7.5)]),
        (9.0, [(0.0, 5.0), (2.5, 7.5), (4.0, 9.0)]),
        (10.0, [(0.0, 5.0), (2.5, 7.5), (5.0, 10.0)]),
    ],
)
def test_where_windows_lie(seconds: float, wanted: list[tuple[float, float]]) -> None:
    assert _seconds(seconds) == wanted


def test_one_sample_under_a_second_of_rest_gives_no_window() -> None:
    assert len(all_windows(6 * SAMPLE_RATE - 1)) == 1
    assert len(all_windows(6 * SAMPLE_RATE)) == 2


@given(st.integers(1, 60 * SAMPLE_RATE))
def test_newest_parts_cover_each_frame_once(samples: int) -> None:
    places = all_windows(samples)
    newest = [frame for p in places for frame in range(p.newest, p.last)]
    assert newest == list(range(len(newest)))
    assert samples - places[-1].end < SAMPLE_RATE
    for place in places:
        assert 0 <= place.first <= place.newest < place.last <= frames_in(samples)
        assert place.first * FRAME <= place.start + FRAME - 1
        assert place.last * FRAME >= place.end
        assert place.last - place.first <= 160
