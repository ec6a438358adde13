from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.inference.speech import Activity, Turns, TurnStart
from voicetone.pretrained.spec import SpeechRule
from voicetone.types import Segment

RULE = SpeechRule(threshold=0.5, release=0.5, onset_frames=3, hangover_frames=2)


def _active(pattern: str, rule: SpeechRule = RULE) -> str:
    probability = np.float32([1.0 if c == "#" else 0.0 for c in pattern])
    return "".join("#" if a else "." for a in Activity(rule).push(probability))


@pytest.mark.parametrize(
    ("probability", "active"),
    [
        ("......", "......"),
        ("##.##.", "......"),
        ("###...", "..###."),
        (".####......", "...####...."),
        ("###.#....", "..#####.."),
        ("###...#...", "..###....."),
        ("###...###...", "..###...###."),
    ],
)
def test_onset_and_hangover(probability: str, active: str) -> None:
    assert _active(probability) == active


def test_at_the_threshold_is_over_it() -> None:
    rule = SpeechRule(threshold=0.5, release=0.5, onset_frames=1, hangover_frames=0)
    assert Activity(rule).push(np.float32([0.4999, 0.5])).tolist() == [False, True]
    assert _active("#.##.", rule) == "#.##."


@given(st.lists(st.booleans(), max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_cuts_change_nothing(over: list[bool], cuts: list[int]) -> None:
    probability = np.array(over, dtype=np.float32)
    whole = Activity(RULE).push(probability)
    activity, turns = Activity(RULE), Turns()
    pieces = [activity.push(piece) for piece in np.split(probability, sorted(cuts))]
    assert np.concatenate(pieces).tolist() == whole.tolist()
    edges = [edge for piece in pieces for edge in turns.push(piece)]
    edges += turns.close(len(over) * 500)
    segments = [edge for edge in edges if isinstance(edge, Segment)]
    starts = [edge.seconds for edge in edges if isinstance(edge, TurnStart)]
    assert starts == [segment.start for segment in segments]
    assert [type(edge) for edge in edges] == [TurnStart, Segment] * len(segments)
    assert sum(s.end - s.start for s in segments) == whole.sum() / 32
    for one, next_one in pairwise(segments):
        assert one.end < next_one.start


def test_turns_carry_their_times() -> None:
    turns = Turns()
    active = np.array([False, True, True, False])
    assert turns.push(active) == [TurnStart(1 / 32), Segment(1 / 32, 3 / 32)]
    assert turns.push(np.array([True, True])) == [TurnStart(4 / 32)]
    assert turns.push(np.array([False])) == [Segment(4 / 32, 6 / 32)]
    assert turns.push(np.array([True])) == [TurnStart(7 / 32)]
    assert turns.close(7 * 500 + 16) == [Segment(7 / 32, (7 * 500 + 16) / 16000)]
    assert turns.close(7 * 500 + 16) == []


def test_a_voice_that_is_there_is_heard_at_the_release() -> None:
    rule = SpeechRule(threshold=0.75, release=0.5, onset_frames=2, hangover_frames=2)
    probability = np.array(
        [0.6, 0.6, 0.9, 0.9, 0.6, 0.6, 0.4, 0.6, 0.4, 0.4, 0.6], dtype=np.float32
    )
    wanted = [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    np.testing.assert_array_equal(Activity(rule).push(probability), np.array(wanted, dtype=bool))
