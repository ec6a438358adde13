"""What must hold for any audio: live = whole, batched = single, each second counted once."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.inference.sounds import analyse, assert_same, call, windows

from voicetone.audio.resample import StreamResampler
from voicetone.inference.batch import Job, run_jobs
from voicetone.inference.layout import all_windows
from voicetone.inference.live import CurrentEvent, Event, LiveSession, SpeechEvent
from voicetone.pretrained import OnnxPredictor
from voicetone.types import Floats

RATES = st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000])
LENGTHS = st.floats(0.0, 4.0, allow_subnormal=False)
SPANS = st.lists(st.tuples(LENGTHS, st.booleans()), min_size=1, max_size=8)
CUTS = st.lists(st.floats(0.0, 1.0), max_size=12)

few = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _sixteen(samples: Floats, rate: int) -> int:
    resampler = StreamResampler(rate, len(samples))
    return resampler.push(samples).shape[1] + resampler.flush().shape[1]


@few
@given(RATES, SPANS, st.integers(1, 3), st.integers(0, 9), CUTS)
def test_any_cutting_gives_the_events_of_the_whole(
    predictor: OnnxPredictor,
    rate: int,
    spans: list[tuple[float, bool]],
    channels: int,
    seed: int,
    cuts: list[float],
) -> None:
    sound = call(rate, spans, channels, seed)
    whole = analyse(predictor, sound, rate)
    at = [round(cut * sound.shape[1]) for cut in cuts]
    assert_same(analyse(predictor, sound, rate, at), whole)


@settings(few, max_examples=5)
@given(SPANS, st.integers(0, 9))
def test_telephone_packets_give_the_events_of_the_whole(
    predictor: OnnxPredictor, spans: list[tuple[float, bool]], seed: int
) -> None:
    """20 ms at 8 kHz, as telephone systems send."""
    sound = call(8000, spans, 1, seed)
    packets = range(160, sound.shape[1], 160)
    assert_same(analyse(predictor, sound, 8000, packets), analyse(predictor, sound, 8000))


@few
@given(RATES, SPANS, st.integers(0, 9))
def test_windows_lie_where_the_layout_says(
    predictor: OnnxPredictor, rate: int, spans: list[tuple[float, bool]], seed: int
) -> None:
    sound = call(rate, spans, 1, seed)
    found = windows(analyse(predictor, sound, rate))
    places = all_windows(_sixteen(sound, rate))
    assert [(w.start, w.end) for w in found] == [(p.start_seconds, p.end_seconds) for p in places]


@few
@given(SPANS, st.integers(0, 9))
def test_each_active_second_is_counted_once(
    predictor: OnnxPredictor, spans: list[tuple[float, bool]], seed: int
) -> None:
    """The windows' seconds are those of the turns, up to the end of the last window."""
    sound = call(16000, spans, 1, seed)
    events = analyse(predictor, sound)
    found = windows(events)
    end = found[-1].end if found else 0.0
    turns = [e.segment for e in events if isinstance(e, SpeechEvent)]
    spoken = sum(max(0.0, min(turn.end, end) - turn.start) for turn in turns)
    assert abs(sum(w.speech_seconds for w in found) - spoken) < 1e-6
    assert sound.shape[1] / 16000 - end < 1.0
    for window in found:
        inside = any(t.start < window.end and t.end > window.start for t in turns)
        assert window.speech is inside
        assert (window.sentiment is not None) is inside


@few
@given(SPANS, st.integers(0, 9))
def test_overall_and_current_follow_from_the_windows(
    predictor: OnnxPredictor, spans: list[tuple[float, bool]], seed: int
) -> None:
    events = analyse(predictor, call(16000, spans * 3, 1, seed))
    found = [w for w in windows(events) if w.speech_seconds > 0]
    currents = [e.current for e in events if isinstance(e, CurrentEvent)]
    assert [c.end for c in currents] == [w.end for w in found]
    for count, current in enumerate(currents, 1):
        left, total, wanted = 30.0, 0.0, 0.0
        for window in reversed(found[:count]):
            part = min(left, window.speech_seconds)
            assert window.sentiment is not None
            wanted += part * window.sentiment["positive"]
            total, left = total + part, left - part
        assert total <= 30.0 + 1e-9
        assert current.sentiment is not None
        assert abs(current.sentiment["positive"] - wanted / total) < 1e-6


@settings(few, max_examples=25)
@given(st.lists(st.tuples(RATES, SPANS, st.integers(1, 2)), min_size=2, max_size=4), st.data())
def test_a_batch_of_many_calls_gives_what_each_gives_alone(
    predictor: OnnxPredictor,
    calls: list[tuple[int, list[tuple[float, bool]], int]],
    data: st.DataObject,
) -> None:
    sounds = [(rate, call(rate, spans, width, i)) for i, (rate, spans, width) in enumerate(calls)]
    pieces = [
        np.array_split(sound, data.draw(st.integers(1, 5), label="pieces"), axis=1)
        for _, sound in sounds
    ]
    sessions = [LiveSession(predictor, rate, len(sound)) for rate, sound in sounds]
    events: list[list[Event]] = [[] for _ in sessions]
    for step in range(max(len(p) for p in pieces) + 1):
        jobs: list[tuple[int, Job]] = []
        for index, session in enumerate(sessions):
            if step < len(pieces[index]):
                jobs += [(index, job) for job in session.feed(pieces[index][step])]
            elif step == len(pieces[index]):
                jobs += [(index, job) for job in session.end()]
        while jobs:
            shuffled = data.draw(st.permutations(jobs), label="order")
            outputs = run_jobs(predictor, [job for _, job in shuffled])
            for (index, job), output in zip(shuffled, outputs, strict=True):
                events[index] += sessions[index].finish(job, output)
            jobs = [(i, job) for i, session in enumerate(sessions) for job in session.ready()]
    for index, (rate, sound) in enumerate(sounds):
        assert sessions[index].finished
        assert_same(events[index], analyse(predictor, sound, rate))


def test_the_properties_can_fail(predictor: OnnxPredictor) -> None:
    """A model that forgets its state between jobs is found out."""

    class Forgetful:
        spec = predictor.spec
        features = staticmethod(predictor.features)
        classify = staticmethod(predictor.classify)

        @staticmethod
        def encode(features: Floats, state: Floats) -> tuple[Floats, Floats, Floats]:
            return predictor.encode(features, np.zeros_like(state))

    sound = call(16000, [(12.0, True)], 1, 0)
    right = windows(analyse(predictor, sound))[1].sentiment
    wrong = windows(analyse(Forgetful(), sound, cuts=range(40000, 192000, 40000)))[1].sentiment
    assert right is not None
    assert wrong is not None
    assert abs(right["neutral"] - wrong["neutral"]) > 1e-5
