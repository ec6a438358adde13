from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from tests.inference.sounds import (
    analyse,
    assert_same,
    currents,
    noise,
    silence,
    windows,
)

from voicetone.errors import AudioError, UsageError, VoicetoneError
from voicetone.inference.batch import run_jobs
from voicetone.inference.live import (
    CurrentEvent,
    Event,
    LiveSession,
    OverallEvent,
    SpeechEvent,
    SpeechStartEvent,
    WindowEvent,
)
from voicetone.pretrained import OnnxPredictor
from voicetone.types import Floats, Overall


def test_windows_come_as_soon_as_their_audio_has(predictor: OnnxPredictor) -> None:
    session = LiveSession(predictor, 16000)
    assert [type(e) for e in session.push(noise(4.99))] == [SpeechStartEvent]
    events = session.push(noise(0.01))
    assert [type(e) for e in events] == [WindowEvent, CurrentEvent]
    assert [w.end for w in windows(events)] == [5.0]
    events = session.push(noise(2.5))
    assert [(w.start, w.end) for w in windows(events)] == [(2.5, 7.5)]
    assert session.push(noise(0.9)) == []
    events = session.close()
    assert [type(e) for e in events] == [SpeechEvent, OverallEvent]


def test_the_end_gives_what_is_left(predictor: OnnxPredictor) -> None:
    found = windows(analyse(predictor, noise(9.3)))
    assert [(w.start, w.end) for w in found] == [(0.0, 5.0), (2.5, 7.5), (pytest.approx(4.3), 9.3)]
    # The onset takes two frames; the last frame is there in part, and so counted in part.
    assert [w.speech_seconds for w in found] == [5.0 - 2 / 32, 2.5, pytest.approx(1.8)]


def test_pauses_have_no_scores(predictor: OnnxPredictor) -> None:
    sound = np.concatenate([silence(5.0), noise(2.5), silence(7.5)])
    found = windows(analyse(predictor, sound))
    # One frame whose left context still holds speech, then the hangover: beyond 7.5 s, so that
    # the older part of the fourth window has some.
    hangover = (1 + 8) / 32
    assert [w.speech for w in found] == [False, True, True, True, False]
    assert [w.speech_seconds for w in found] == [0.0, 2.5 - 2 / 32, hangover, 0.0, 0.0]
    for window in found:
        assert (window.sentiment is not None) is window.speech
        assert (window.emotion is not None) is window.speech


def test_speech_in_the_older_half_only_is_speech_of_weight_zero(predictor: OnnxPredictor) -> None:
    sound = np.concatenate([silence(5.0), noise(2.0), silence(4.0)])
    events = analyse(predictor, sound)
    window = windows(events)[2]
    assert (window.start, window.speech, window.speech_seconds) == (5.0, True, 0.0)
    assert window.sentiment is not None
    assert len(currents(events)) == 1


def test_scores_are_probabilities(predictor: OnnxPredictor) -> None:
    events = analyse(predictor, noise(12.0))
    for scored in [*windows(events), *currents(events)]:
        assert scored.sentiment is not None
        assert scored.emotion is not None
        assert list(scored.sentiment) == ["positive", "neutral", "negative"]
        assert sum(scored.sentiment.values()) == pytest.approx(1.0, abs=1e-5)
        assert sum(scored.emotion.values()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("samples", "flags", "count"),
    [
        (noise(0.0), ("short",), 0),
        (np.float32([0.3]), ("short",), 1),
        (np.float32([0.0]), ("short", "silent"), 1),
        (noise(0.99), ("short",), 1),
        (noise(1.0), (), 1),
        (silence(3.0), ("silent",), 1),
        (np.concatenate([noise(2.0), np.ones(9, np.float32)]), ("clipped",), 1),
    ],
)
def test_flags(
    predictor: OnnxPredictor, samples: Floats, flags: tuple[str, ...], count: int
) -> None:
    session = LiveSession(predictor, 16000)
    events = session.push(samples) + session.close()
    assert session.flags(1) == flags
    assert len(windows(events)) == count
    assert isinstance(events[-1], OverallEvent)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 192000])
def test_one_sample_at_any_rate_is_a_window(predictor: OnnxPredictor, rate: int) -> None:
    assert len(windows(analyse(predictor, np.float32([0.5]), rate))) == 1


def test_overall_at_any_time(predictor: OnnxPredictor) -> None:
    session = LiveSession(predictor, 16000)
    assert session.overall(1) == Overall(0.0, None, None, None, None)
    session.push(noise(6.0))
    assert session.overall(1).speech_seconds == 5.0 - 2 / 32
    last = session.close()[-1]
    assert isinstance(last, OverallEvent)
    assert last.overall == session.overall(1)
    assert last.overall.speech_seconds == pytest.approx(6.0 - 2 / 32)


def test_the_agent_is_not_analysed_unless_asked_for(predictor: OnnxPredictor) -> None:
    both = np.stack([noise(6.0, seed=1), noise(6.0, level=0.3, seed=2)])
    names = ["agent", "customer"]
    events = analyse(predictor, both, names=names)
    assert {e.channel for e in events} == {2}
    assert_same(windows(events, 2), windows(analyse(predictor, both[1])))
    events = analyse(predictor, both, names=names, analysed=[1, 2])
    assert {e.channel for e in events} == {1, 2}
    session = LiveSession(predictor, 16000, 2, names=names)
    assert session.channels == (2,)
    with pytest.raises(UsageError, match="channel 1 is not analysed: the customer only"):
        session.overall(1)


def test_a_channel_left_out_may_hold_anything(predictor: OnnxPredictor) -> None:
    both = np.stack([noise(1.0), np.full(16000, np.nan, np.float32)])
    assert windows(analyse(predictor, both, analysed=[1]))


@pytest.mark.parametrize(
    ("samples", "error", "words"),
    [
        (np.float32([[0.0, np.nan]]), AudioError, "NaN or infinite samples at 1.000 s"),
        (np.float32([0.0, -np.inf]), AudioError, "NaN or infinite samples at 1.000 s"),
        (np.float32([0.0, 20000.0]), AudioError, "samples reach 20000 at 1.000 s"),
        (np.zeros(9, np.int16), UsageError, "type int16: give a float32 array"),
        (np.zeros(9), UsageError, "type float64"),
        ([0.0], UsageError, "type list"),
        (np.zeros((2, 9), np.float32), UsageError, r"shape \[2, 9\]: give \[channels, n\] with 1"),
        (np.zeros((1, 1, 9), np.float32), UsageError, "shape"),
        (np.float32(1.0), UsageError, "shape"),
    ],
)
def test_wrong_samples_leave_the_session_as_it_was(
    predictor: OnnxPredictor, samples: Floats, error: type[VoicetoneError], words: str
) -> None:
    session = LiveSession(predictor, 8000)
    first = session.push(noise(0.999875, 8000))
    with pytest.raises(error, match=words) as caught:
        session.push(samples)
    assert "\n" not in str(caught.value)
    events = first + session.push(noise(5.0, 8000)) + session.close()
    whole = np.concatenate([noise(0.999875, 8000), noise(5.0, 8000)])
    assert_same(events, analyse(predictor, whole, 8000))


def test_nothing_after_the_end(predictor: OnnxPredictor) -> None:
    session = LiveSession(predictor, 16000)
    session.push(noise(1.0))
    assert session.close()
    assert session.finished
    assert session.close() == []
    with pytest.raises(UsageError, match="closed"):
        session.push(noise(1.0))
    with pytest.raises(UsageError, match="closed"):
        session.end()


@pytest.mark.parametrize(("rate", "channels"), [(7999, 1), (192001, 1), (16000, 9), (16000, 0)])
def test_limits(predictor: OnnxPredictor, rate: int, channels: int) -> None:
    with pytest.raises(AudioError):
        LiveSession(predictor, rate, channels)


class _Failing:
    """The toy model, until it is told to fail."""

    def __init__(self, predictor: OnnxPredictor) -> None:
        self.fail = False
        self.spec = predictor.spec
        self.features = predictor.features
        self.classify = predictor.classify
        self._encode = predictor.encode

    def encode(self, features: Floats, state: Floats) -> tuple[Floats, Floats, Floats]:
        if self.fail:
            raise RuntimeError("out of memory")
        return self._encode(features, state)


def test_a_model_that_fails_ends_the_session(predictor: OnnxPredictor) -> None:
    failing = _Failing(predictor)
    session, other = LiveSession(failing, 16000), LiveSession(failing, 16000)
    session.push(noise(5.0))
    failing.fail = True
    with pytest.raises(RuntimeError):
        session.push(noise(5.0))
    failing.fail = False
    with pytest.raises(UsageError, match="failed in this session"):
        session.push(noise(5.0))
    with pytest.raises(UsageError, match="failed in this session"):
        session.close()
    assert windows(other.push(noise(5.0)))


def test_jobs_are_finished_once_and_by_their_session(predictor: OnnxPredictor) -> None:
    session, other = LiveSession(predictor, 16000, 2), LiveSession(predictor, 16000)
    jobs = session.feed(np.stack([noise(6.0), noise(6.0)]))
    assert len(jobs) == 2
    assert session.feed(np.stack([noise(6.0), noise(6.0)])) == [], "while jobs are under way"
    with pytest.raises(UsageError, match="jobs are under way"):
        session.push(np.stack([noise(6.0), noise(6.0)]))
    outputs = run_jobs(predictor, jobs)
    with pytest.raises(UsageError, match="not under way"):
        other.finish(jobs[0], outputs[0])
    assert session.finish(jobs[1], outputs[1]) == [], "the events wait for the other channel"
    with pytest.raises(UsageError, match="not under way"):
        session.finish(jobs[1], outputs[1])
    events = session.finish(jobs[0], outputs[0])
    assert [e.channel for e in events] == [1, 2, 1, 1, 2, 2]
    assert session.end() != []
    assert not session.finished


def test_memory_does_not_grow_with_the_call(predictor: OnnxPredictor) -> None:
    session = LiveSession(predictor, 16000)
    minute = np.concatenate([noise(20.0), silence(5.0), noise(35.0)])

    def peak() -> int:
        tracemalloc.reset_peak()
        for _ in range(2):
            session.push(minute)
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak()
        early = peak()
        for _ in range(4):
            late = peak()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert late <= early * 1.02 + 20_000
    assert held < 2_000_000


def test_a_huge_push_takes_no_more_memory_than_many(predictor: OnnxPredictor) -> None:
    sound = np.tile(noise(10.0), 60)
    session = LiveSession(predictor, 16000)
    tracemalloc.start()
    try:
        events: list[Event] = session.push(sound)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(windows(events)) == 239
    assert peak < 40_000_000
