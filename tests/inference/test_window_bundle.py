"""Bundles of format 2 keep what holds for all: live = whole, batched = single."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.inference.sounds import analyse, assert_same, silence, windows
from tests.inference.test_properties import CUTS, RATES, few
from tests.toy_window import MFCC, make_window_bundle, smile

from voicetone.inference.batch import Job, run_jobs
from voicetone.inference.live import LiveSession, OverallEvent, SpeechEvent
from voicetone.pretrained import Predictor, load
from voicetone.types import Floats


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_window_bundle(tmp_path_factory.mktemp("window"), MFCC))


@pytest.fixture(scope="module")
def gemaps(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_window_bundle(tmp_path_factory.mktemp("gemaps"), smile()))


def _call(seconds: float, rate: int, seed: int = 0) -> Floats:
    """A voice of sorts: vowels with pauses between them, and a breath of noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = 150 + 40 * np.sin(2 * np.pi * 0.5 * t + seed)
    vowel = sum(np.sin(2 * np.pi * k * np.cumsum(pitch) / rate) / k for k in (1, 2, 3, 5))
    gate = np.sin(2 * np.pi * 2.3 * t) + np.sin(2 * np.pi * 0.31 * t) > -0.4
    return (0.1 * vowel * gate + 3e-4 * rng.standard_normal(len(t))).astype(np.float32)


@few
@given(RATES, st.floats(0.2, 14.0), st.integers(0, 9), CUTS)
def test_any_cutting_gives_the_events_of_the_whole(
    window: Predictor, rate: int, seconds: float, seed: int, cuts: list[float]
) -> None:
    sound = _call(seconds, rate, seed)[None]
    at = [round(cut * sound.shape[1]) for cut in cuts]
    assert_same(analyse(window, sound, rate, at), analyse(window, sound, rate))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_opensmile_live_and_whole(gemaps: Predictor, rate: int) -> None:
    sound = _call(9.3, rate)[None]
    whole = analyse(gemaps, sound, rate)
    assert all(w.sentiment is not None for w in windows(whole))
    assert_same(analyse(gemaps, sound, rate, range(rate // 50, sound.shape[1], rate // 3)), whole)


def test_a_batch_of_calls_gives_what_each_gives_alone(gemaps: Predictor) -> None:
    sounds = [_call(7.0 + i, 16000, i)[None] for i in range(3)]
    sessions = [LiveSession(gemaps, 16000) for _ in sounds]
    events: list[list[object]] = [[], [], []]
    jobs: list[tuple[int, Job]] = []
    for i, (session, sound) in enumerate(zip(sessions, sounds, strict=True)):
        jobs += [(i, job) for job in session.feed(sound)]
        session.end()
    while jobs:
        outputs = run_jobs(gemaps, [job for _, job in jobs])
        for (i, job), output in zip(jobs, outputs, strict=True):
            events[i] += sessions[i].finish(job, output)
        jobs = [(i, job) for i, session in enumerate(sessions) for job in session.ready()]
    for found, sound in zip(events, sounds, strict=True):
        assert_same(found, analyse(gemaps, sound))


def test_short_and_silent_audio_has_no_label(gemaps: Predictor) -> None:
    for sound in (_call(0.8, 16000), silence(6.0), _call(0.01, 16000)):
        events = analyse(gemaps, sound)
        (overall,) = [e.overall for e in events if isinstance(e, OverallEvent)]
        assert overall.label is None
        assert overall.sentiment is None
        assert all(w.sentiment is None and w.emotion is None for w in windows(events))


def test_speech_that_has_no_answer_is_speech_still(gemaps: Predictor) -> None:
    events = analyse(gemaps, _call(0.8, 16000))
    (found,) = windows(events)
    assert found.speech
    assert found.speech_seconds > 0.3
    assert [e for e in events if isinstance(e, SpeechEvent)]


def test_a_network_without_emotions(tmp_path: Path) -> None:
    spaces = {"sentiment": ["positive", "neutral", "negative"], "emotion": []}
    predictor = load(make_window_bundle(tmp_path / "b", head="sentiment", label_spaces=spaces))
    events = analyse(predictor, _call(8.0, 16000))
    (overall,) = [e.overall for e in events if isinstance(e, OverallEvent)]
    assert overall.sentiment is not None
    assert overall.emotion == {}
