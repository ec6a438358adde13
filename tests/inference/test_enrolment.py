"""Sessions that know who speaks: live = file, from when it holds, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from tests.inference.sounds import analyse, assert_same, silence, windows
from tests.inference.test_properties import CUTS, few
from tests.toy import make_toy_bundle
from tests.toy_speaker import ENROL_SECONDS, make_speaker_bundle, mfcc
from tests.toy_window import make_window_bundle

from voicetone.errors import AudioError, DataError, UsageError
from voicetone.features.lengths import stepped
from voicetone.features.speaker import StatisticsEncoder
from voicetone.features.speaker_enrol import enrol
from voicetone.features.speaker_frames import with_short_pauses
from voicetone.inference.batch import Job, run_jobs
from voicetone.inference.enrolment import Enrolment, enrol_files_for, enrol_for
from voicetone.inference.file import analyze
from voicetone.inference.live import Event, LiveSession, SpeakerEvent
from voicetone.pretrained import Predictor, WindowPredictor, load
from voicetone.types import FileResult, Floats

KINDS = ("statistics", "frames", "onnx")


@pytest.fixture(scope="module", params=KINDS)
def knowing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_speaker_bundle(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_speaker_bundle(tmp_path_factory.mktemp("plain")))


def voice(seconds: float, seed: int = 0, rate: int = 16000) -> Floats:
    """A voice of sorts with pauses `[n]`; another seed is another pitch and another timbre."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = 110 + 45 * seed + 20 * np.sin(2 * np.pi * 0.5 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(np.sin(k * phase) / k ** (0.5 + 0.4 * (seed % 4)) for k in (1, 2, 3, 5, 8))
    gate = np.sin(2 * np.pi * 2.3 * t) + np.sin(2 * np.pi * 0.31 * t) > -0.4
    return (0.05 * sound * gate + 1e-4 * rng.standard_normal(len(t))).astype(np.float32)


def _scores(events: list[Event], channel: int = 1) -> Floats:
    """Emotions of the windows `[n, 4]`, NaN where there is none."""
    rows = [w.emotion for w in windows(events, channel)]
    return np.array([[np.nan] * 4 if r is None else list(r.values()) for r in rows], np.float32)


def test_a_call_is_scored_with_its_own_first_seconds(knowing: Predictor) -> None:
    sound = voice(21.0, 1)
    found, nobody = analyse(knowing, sound), analyse(knowing, sound, speakers=None)
    (event,) = [e for e in found if isinstance(e, SpeakerEvent)]
    assert event.speaker.source == "auto"
    assert 0.5 * ENROL_SECONDS < event.speaker.seconds <= ENROL_SECONDS
    since = event.speaker.since
    assert since is not None
    assert since % 2.5 == 0
    ends = np.array([w.end for w in windows(found)])
    differ = np.abs(_scores(found) - _scores(nobody)).max(axis=1) > 1e-5
    assert (differ == (ends > since)).all()
    assert differ.any()
    assert not differ.all()
    assert not [e for e in nobody if isinstance(e, SpeakerEvent)]


def test_an_enrolled_voice_holds_from_the_start(knowing: Predictor) -> None:
    sound = voice(12.0, 1)
    mine, other = (enrol_for(knowing, [voice(6.0, seed)]) for seed in (1, 3))
    found = {
        "mine": analyse(knowing, sound, speakers={1: mine}),
        "other": analyse(knowing, sound, speakers={1: other}),
        "alone": analyse(knowing, sound, speakers=mine),
        "nobody": analyse(knowing, sound, speakers=None),
    }
    assert_same(found["alone"], found["mine"])
    for name in ("other", "nobody"):
        assert (np.abs(_scores(found[name]) - _scores(found["mine"])).max(axis=1) > 1e-5).all()
    session = LiveSession(knowing, 16000, speakers=mine)
    use = session.speaker(1)
    assert use is not None
    assert (use.source, use.since, use.seconds) == ("enrolled", 0.0, mine.seconds)


def test_windows_are_those_of_the_network_told_of_the_voice(plain: Predictor) -> None:
    assert isinstance(plain, WindowPredictor)
    sound = voice(4.0, 2)
    mine = enrol_for(plain, [voice(6.0, 1)])
    wanted = plain.probabilities(mfcc(sound), mine.embedding)["emotion"]
    frames = np.zeros((2, 160, 500), np.float32)
    frames.reshape(2, -1)[:, : len(sound)] = sound
    weight = np.repeat(np.arange(160)[None] < 128, 2, axis=0).astype(np.float32)
    found = plain.classify(frames, weight, [mine.embedding, None])["emotion"]
    np.testing.assert_allclose(found[0], wanted, atol=0.02)  # it hears less at the ends
    assert np.abs(found[1] - wanted).max() > 0.05
    np.testing.assert_array_equal(plain.classify(frames, weight)["emotion"][0], found[1])


@few
@given(st.floats(0.2, 16.0), st.integers(0, 9), st.booleans(), CUTS)
def test_any_cutting_gives_the_events_of_the_whole(
    plain: Predictor, seconds: float, seed: int, late: bool, cuts: list[float]
) -> None:
    sound = np.stack([voice(seconds, seed), np.roll(voice(seconds, seed + 1), 9000)])
    sound[1, : round(len(sound[1]) * 0.4)] *= not late
    at = [round(cut * sound.shape[1]) for cut in cuts]
    assert_same(analyse(plain, sound, cuts=at), analyse(plain, sound))


@pytest.mark.parametrize("seconds", [2.5, 4.9, 5.0, 7.5, 8.2, 10.0, 12.6])
def test_any_cutting_by_frames_and_network(knowing: Predictor, seconds: float) -> None:
    sound = voice(seconds, 2)
    whole = analyse(knowing, sound)
    for step in (16000, 40000, 100000):
        assert_same(analyse(knowing, sound, cuts=range(step, len(sound), step)), whole)


def test_a_batch_of_calls_gives_what_each_gives_alone(plain: Predictor) -> None:
    sounds = [voice(11.0 + i, i) for i in range(3)]
    known = enrol_for(plain, [voice(5.0, 2)])
    choices: list[Any] = ["auto", known, None]
    sessions = [LiveSession(plain, 16000, speakers=choice) for choice in choices]
    events: list[list[Event]] = [[], [], []]
    jobs: list[tuple[int, Job]] = []
    for i, (session, sound) in enumerate(zip(sessions, sounds, strict=True)):
        jobs += [(i, job) for job in session.feed(sound)]
        session.end()
    while jobs:
        outputs = run_jobs(plain, [job for _, job in jobs])
        for (i, job), output in zip(jobs, outputs, strict=True):
            events[i] += sessions[i].finish(job, output)
        jobs = [(i, job) for i, session in enumerate(sessions) for job in session.ready()]
    for found, sound, choice in zip(events, sounds, choices, strict=True):
        assert_same(found, analyse(plain, sound, speakers=choice))


def test_channels_have_their_own_speakers(plain: Predictor) -> None:
    sound = np.stack([voice(12.0, 1), voice(12.0, 3)])
    known = enrol_for(plain, [voice(5.0, 3)])
    events = analyse(plain, sound, speakers={2: known})
    assert [e.channel for e in events if isinstance(e, SpeakerEvent)] == [1]
    alone = analyse(plain, sound[1], speakers=known)
    np.testing.assert_allclose(_scores(events, 2), _scores(alone), atol=1e-5)


def test_noise_is_nobody_and_it_listens_on(plain: Predictor) -> None:
    """Steady noise counts as speech until the floor has risen to it, and has no voice."""
    rng = np.random.default_rng(0)
    noise = (0.05 * rng.standard_normal(10 * 16000)).astype(np.float32)
    only = analyse(plain, noise)
    assert not [e for e in only if isinstance(e, SpeakerEvent)]
    events = analyse(plain, np.concatenate([noise, 4 * voice(20.0, 1)]))
    (event,) = [e for e in events if isinstance(e, SpeakerEvent)]
    assert event.speaker.since is not None
    assert event.speaker.since > 10.0


def test_what_is_held_is_little_and_let_go(plain: Predictor) -> None:
    session = LiveSession(plain, 16000)
    listening = session._streams[0].listening
    most = 0
    for piece in np.split(voice(20.0, 1), 40):
        session.push(piece)
        most = max(most, sum(map(len, listening._held)))
    assert 0 < most <= ENROL_SECONDS * 16000
    assert not listening.open
    assert listening._held == []


def test_a_file_says_what_was_known(plain: Predictor, tmp_path: Path) -> None:
    sound = voice(16.0, 1)
    soundfile.write(tmp_path / "a.wav", sound, 16000, subtype="FLOAT")
    result = analyze(tmp_path / "a.wav", plain)
    use = result.channels[0].speaker
    assert use is not None
    assert use.source == "auto"
    data = result.to_dict()["channels"][0]["speaker"]
    assert set(data) == {"source", "seconds", "from", "warnings"}
    assert FileResult.from_dict(result.to_dict()).channels[0].speaker is not None
    live = analyse(plain, sound, cuts=range(7000, len(sound), 7000))
    assert_same(windows(live), list(result.channels[0].windows))
    short = analyze(tmp_path / "a.wav", plain, speakers=None).channels[0].speaker
    assert short is not None
    assert short.to_dict() == {"source": "unknown", "seconds": 0.0, "from": None, "warnings": []}


def test_a_call_too_short_stays_unknown(plain: Predictor) -> None:
    session = LiveSession(plain, 16000)
    session.push(voice(3.0, 1))
    session.close()
    use = session.speaker(1)
    assert use is not None
    assert (use.source, use.since) == ("unknown", None)
    assert 1.0 < use.seconds < 3.0


def test_an_enrolment_is_that_of_the_encoder(plain: Predictor) -> None:
    wave = voice(6.0, 1)
    found = enrol_for(plain, [wave])
    np.testing.assert_array_equal(found.embedding, enrol(StatisticsEncoder(), [wave]).embedding)
    assert "embedding" not in repr(found)


def test_statistics_of_frames(tmp_path: Path) -> None:
    predictor = load(make_speaker_bundle(tmp_path / "b", "frames"))
    wave = voice(6.0, 1)
    found = enrol_for(predictor, [wave], active=lambda w: np.ones(-(-len(w) // 500), np.bool_))
    frames = stepped(mfcc(wave), 2)
    np.testing.assert_allclose(found.embedding[:13], frames.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(found.embedding[13:], frames.std(axis=0), atol=1e-3)


def test_short_pauses_belong_to_what_is_said() -> None:
    active = np.zeros(60, np.bool_)
    active[[3, 10, 40]] = True
    found = np.flatnonzero(with_short_pauses(active)).tolist()
    assert found == [*range(3, 11), 40]


def test_two_voices_are_warned_of(plain: Predictor) -> None:
    rng = np.random.default_rng(1)
    hiss = np.diff(0.2 * rng.standard_normal(5 * 16000 + 1)).astype(np.float32)
    hiss *= np.sin(np.arange(len(hiss)) / 3000) > 0
    both = np.concatenate([voice(6.0, 0), hiss])
    (warning,) = enrol_for(plain, [both]).warnings
    assert warning.startswith("enrolment 1: perhaps two voices")
    assert enrol_for(plain, [voice(8.0, 0)]).warnings == ()


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (silence(5.0), "no speech in it to enrol"),
        (np.concatenate([silence(1.0), voice(0.6, 1), silence(1.0)]), "too little to enrol"),
        (np.full(32000, np.nan, np.float32), "with NaN or infinite"),
    ],
)
def test_what_no_voice_comes_of(plain: Predictor, wave: Floats, words: str) -> None:
    with pytest.raises(AudioError, match=words):
        enrol_for(plain, [wave])


def test_a_file_to_enrol_from(plain: Predictor, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "me.wav", voice(6.0, 1, 44100), 44100)
    found = enrol_files_for(plain, [tmp_path / "me.wav"])
    assert 2.0 < found.seconds < 6.0
    soundfile.write(tmp_path / "none.wav", silence(5.0), 16000)
    with pytest.raises(AudioError, match=r"none\.wav: no speech in it"):
        enrol_files_for(plain, [tmp_path / "none.wav"])


def test_models_that_take_no_speaker(tmp_path: Path, plain: Predictor) -> None:
    known = enrol_for(plain, [voice(5.0)])
    for folder in (make_toy_bundle(tmp_path / "one"), make_window_bundle(tmp_path / "two")):
        predictor = load(folder)
        assert predictor.spec.speaker is None
        with pytest.raises(UsageError, match="takes no speaker"):
            enrol_for(predictor, [voice(5.0)])
        with pytest.raises(UsageError, match="takes no speaker"):
            LiveSession(predictor, 16000, speakers=known)
        session = LiveSession(predictor, 16000)
        assert session.speaker(1) is None


def test_voices_that_do_not_fit(plain: Predictor) -> None:
    known = enrol_for(plain, [voice(5.0)])
    with pytest.raises(DataError, match=r"enrolled with other-1, and toy-speaker 0\.1\.0 takes"):
        LiveSession(plain, 16000, speakers=replace(known, encoder="other-1"))
    cut: Enrolment = replace(known, embedding=known.embedding[:-1])
    with pytest.raises(DataError, match="a speaker embedding of shape"):
        LiveSession(plain, 16000, speakers={1: cut})
    with pytest.raises(UsageError, match="for channel 3, which is not analysed: there are 1, 2"):
        LiveSession(plain, 16000, 2, speakers={3: known})
    with pytest.raises(UsageError, match="one enrolled voice, and 2 channels"):
        LiveSession(plain, 16000, 2, speakers=known)
    with pytest.raises(UsageError, match="speakers = 'me'"):
        LiveSession(plain, 16000, speakers="me")  # type: ignore[arg-type]
