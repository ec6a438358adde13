"""One channel split by speaker: pieces, turns, and who they are said to be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicetone.audio.units import FRAME_SECONDS, SAMPLE_RATE, frames_in
from voicetone.errors import AudioError, UsageError
from voicetone.evaluation.diarization import der
from voicetone.inference.live import LiveSession, SpeechEvent
from voicetone.inference.split import (
    LONGEST_PIECE,
    SplitSettings,
    Turn,
    cut,
    speech_turns,
    split_speakers,
    tightened,
)
from voicetone.pretrained import OnnxPredictor
from voicetone.pretrained.spec import SpeechRule
from voicetone.types import Segment

RULE = SpeechRule(threshold=0.5, release=0.5, onset_frames=3, hangover_frames=4)
TWO = SplitSettings(threshold=0.9, speakers=2)
FOUND = SplitSettings(threshold=0.9)


def said(*parts: tuple[float, float]) -> np.ndarray:
    """Tones of some Hz for some seconds; 0 Hz is a pause."""
    out = []
    for hertz, seconds in parts:
        time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        out.append(0.2 * np.sin(2 * np.pi * hertz * time))
    wave = np.concatenate(out)
    rng = np.random.default_rng(0)
    return (wave + 1e-4 * rng.standard_normal(len(wave))).astype(np.float32)


def embed(waves: Sequence[np.ndarray]) -> np.ndarray:
    """Which tones there are, as shares of a spectrum, and much that all voices share."""
    rows = []
    for wave in waves:
        power = np.abs(np.fft.rfft(wave, SAMPLE_RATE))[:800].reshape(8, 100).sum(axis=1)
        rows.append(np.concatenate([power / np.linalg.norm(power), [0.7]]))
    rows = np.array(rows)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_two_voices_in_turns() -> None:
    samples = said((150, 2.5), (0, 0.5), (450, 4.0), (0, 0.5), (150, 3.5), (0, 0.5), (450, 0.6))
    speech = [Segment(0, 2.5), Segment(3, 7), Segment(7.5, 11), Segment(11.5, 12.1)]
    wanted = [Turn(0, 2.5, 1), Turn(3, 7, 2), Turn(7.5, 11, 1), Turn(11.5, 12.1, 2)]
    for how in (TWO, FOUND):
        assert split_speakers(samples, speech, embed, how) == wanted
    one = split_speakers(samples, speech, embed, SplitSettings(threshold=-1.0))
    assert {turn.speaker for turn in one} == {1}


def test_a_change_within_a_turn_of_speech() -> None:
    samples = said((150, 2.0), (0, 0.4), (450, 2.0), (0, 0.4), (150, 2.0))
    found = split_speakers(samples, [Segment(0, 6.8)], embed, TWO)
    assert [turn.speaker for turn in found] == [1, 2, 1]
    reference = [(0, 2.0, "a"), (2.4, 4.4, "b"), (4.8, 6.8, "a")]
    assert der(reference, found).confusion < 0.05


def test_three_voices_are_found() -> None:
    parts = [(150, 2.0), (0, 0.5), (450, 2.0), (0, 0.5), (750, 2.0), (0, 0.5)] * 2
    samples = said(*parts)
    speech = [Segment(2.5 * i, 2.5 * i + 2) for i in range(6)]
    found = split_speakers(samples, speech, embed, FOUND)
    assert [turn.speaker for turn in found] == [1, 2, 3, 1, 2, 3]


def test_a_word_goes_with_its_neighbour() -> None:
    samples = said((150, 2.0), (0, 1.0), (450, 2.0), (0, 0.2), (300, 0.2))
    speech = [Segment(0, 2), Segment(3, 5), Segment(5.2, 5.4)]
    heard: list[int] = []

    def counting(waves: Sequence[np.ndarray]) -> np.ndarray:
        heard.extend(len(wave) for wave in waves)
        return embed(waves)

    found = split_speakers(samples, speech, counting, TWO)
    assert [turn.speaker for turn in found] == [1, 2, 2]
    assert heard == [32_000, 32_000]
    only = split_speakers(samples, speech[2:], embed, FOUND)
    assert only == [Turn(5.2, 5.4, 1)]
    assert split_speakers(samples, [], embed, FOUND) == []


@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.0, 3.1, 4.6, 20.0])
def test_pieces_cover_their_turn(seconds: float) -> None:
    samples = said((0, 0.7), (150, seconds), (0, 0.5))
    turn = Segment(0.7, 0.7 + seconds)
    pieces = cut(samples, turn)
    assert (pieces[0].start, pieces[-1].end) == (turn.start, turn.end)
    assert all(a.end == b.start for a, b in pairwise(pieces))
    lengths = [p.end - p.start for p in pieces]
    assert max(lengths) <= LONGEST_PIECE + 2 * FRAME_SECONDS
    if seconds > LONGEST_PIECE + FRAME_SECONDS:
        assert min(lengths) >= 1.5 - 2 * FRAME_SECONDS


def test_a_long_turn_is_cut_where_it_is_quietest() -> None:
    samples = said((150, 2.2), (0, 0.1), (150, 2.7))  # too short for a pause
    (first, second) = cut(samples, Segment(0, 5.0))
    assert first.end == pytest.approx(2.25, abs=0.06)
    assert second.end == 5.0


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 160)), min_size=1, max_size=8),
    st.sampled_from([TWO, FOUND, SplitSettings(threshold=0.5, most=3)]),
    st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_turns_cover_speech_and_no_more(
    gaps: list[tuple[int, int]], how: SplitSettings, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    speech, at = [], 0
    for gap, length in gaps:
        speech.append(Segment((at + gap) * FRAME_SECONDS, (at + gap + length) * FRAME_SECONDS))
        at += gap + length
    samples = (0.1 * rng.standard_normal(at * 500)).astype(np.float32)

    def anything(waves: Sequence[np.ndarray]) -> np.ndarray:
        rows = rng.standard_normal((len(waves), 5))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    found = split_speakers(samples, speech, anything, how)
    covered = np.zeros(at, dtype=int)
    for turn in found:
        covered[round(turn.start / FRAME_SECONDS) : round(turn.end / FRAME_SECONDS)] += 1
    wanted = np.zeros(at, dtype=int)
    for segment in speech:
        wanted[round(segment.start / FRAME_SECONDS) : round(segment.end / FRAME_SECONDS)] = 1
    assert np.array_equal(covered, wanted)
    numbers = [turn.speaker for turn in found]
    assert list(dict.fromkeys(numbers)) == list(range(1, max(numbers) + 1))
    assert max(numbers) <= (how.speakers or how.most)


def test_the_same_again_gives_the_same() -> None:
    samples = said((150, 2.5), (450, 4.0), (150, 3.5))
    speech = [Segment(0, 10)]
    first = split_speakers(samples, speech, embed, FOUND)
    assert first == split_speakers(samples, speech, embed, FOUND)
    assert {turn.speaker for turn in first} == {1, 2}


def test_what_is_refused() -> None:
    samples = said((150, 4.0))
    for speech in ([Segment(1, 3), Segment(2, 4)], [Segment(1, 5)], [Segment(-1, 2)]):
        with pytest.raises(AudioError, match="out of order or outside of the audio"):
            split_speakers(samples, speech, embed, FOUND)
    with pytest.raises(UsageError, match=r"shape \[3, 4\] for 2 pieces of speech"):
        split_speakers(samples, [Segment(0, 4)], lambda _: np.ones((3, 4), np.float32), FOUND)
    for count in (0, 9):
        with pytest.raises(UsageError, match=f"{count} speakers on one channel: give 1 to 8"):
            SplitSettings(threshold=0.5, speakers=count)
        with pytest.raises(UsageError, match="give 1 to 8"):
            SplitSettings(threshold=0.5, most=count)
    with pytest.raises(UsageError, match="a cosine is from -1 to 1"):
        SplitSettings(threshold=2.0)


def test_turns_of_probabilities_are_those_of_a_live_session(predictor: OnnxPredictor) -> None:
    """The toy model's speech is the energy's, so any noise will do."""
    rng = np.random.default_rng(3)
    loud = np.repeat(rng.integers(0, 2, 40), 4_000)
    samples = (np.where(loud, 0.1, 1e-5) * rng.standard_normal(len(loud))).astype(np.float32)
    session = LiveSession(predictor, SAMPLE_RATE)
    events = [*session.push(samples), *session.close()]
    live = [event.segment for event in events if isinstance(event, SpeechEvent)]
    spec = predictor.spec
    context, state = spec.shapes.context, spec.shapes.state
    count = frames_in(len(samples))
    padded = np.zeros((1, context + count * 500), np.float32)
    padded[0, context : context + len(samples)] = samples
    zeros = np.zeros((1, state), np.float32)
    _, probability, _ = predictor.encode(predictor.features(padded), zeros)
    assert len(live) > 2
    assert speech_turns(probability[0], spec.speech, len(samples)) == live


def test_the_delays_of_a_live_decision_are_taken_back() -> None:
    spoken = np.zeros(200, np.float32)
    spoken[20:50] = spoken[70:72] = spoken[100:130] = spoken[160:200] = 1.0
    turns = speech_turns(spoken, RULE, 200 * 500)
    found = tightened(turns, RULE, 200 * FRAME_SECONDS)
    frames = [(round(t.start / FRAME_SECONDS), round(t.end / FRAME_SECONDS)) for t in found]
    assert frames == [(20, 50), (100, 130), (160, 200)]
