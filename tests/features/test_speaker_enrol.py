"""Enrolment from seconds of speech, from files, and from a speaker's other utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.sounds import RATE, record, tone
from voicetone.errors import AudioError, DataError
from voicetone.features.cache import FeatureCache
from voicetone.features.speaker_enrol import (
    active_speech,
    agreement,
    by_energy,
    enrol,
    enrol_files,
    one_voice,
)
from voicetone.features.speaker_own import Voices, leave_one_out, voices


class Pitch:
    """A toy encoder: the spectrum in 16 bands; two tones are two voices."""

    id = "pitch-1"
    size = 16
    same_voice = 0.5

    def __init__(self) -> None:
        self.heard: list[int] = []

    def embed(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        self.heard += [len(wave) for wave in waves]
        rows = []
        for wave in waves:
            power = np.abs(np.fft.rfft(wave, 1 << 16))[: 1 << 11].reshape(16, -1).sum(axis=1)
            rows.append(power / np.linalg.norm(power))
        return np.array(rows, dtype=np.float32).reshape(len(rows), 16)


def speech(hertz: float, seconds: float, level: float = 0.3) -> np.ndarray:
    """Half a second of room on both sides."""
    rng = np.random.default_rng(int(hertz))
    quiet = np.zeros(RATE // 2, np.float32)
    sound = np.concatenate([quiet, tone(hertz, seconds, level=level), quiet])
    return (sound + level * 1e-3 * rng.standard_normal(len(sound))).astype(np.float32)


@pytest.mark.parametrize("level", [0.5, 0.003])
def test_speech_by_energy(level: float) -> None:
    frames = by_energy(speech(100, 2.0, level))
    assert frames.shape == (96,)
    assert np.flatnonzero(frames).tolist() == list(range(12, 84))  # 125 ms around 16 … 79
    assert len(active_speech(speech(100, 2.0, level))) == 72 * 500
    assert not by_energy(level * 1e-3 * np.random.default_rng(0).standard_normal(RATE)).any()
    assert not by_energy(np.zeros(RATE, np.float32)).any()
    assert by_energy(np.zeros(0, np.float32)).shape == (0,)


def test_a_quiet_start_after_a_loud_hum_is_no_speech() -> None:
    hum = 0.02 * np.random.default_rng(0).standard_normal(3 * RATE)
    assert not by_energy(hum.astype(np.float32)).any()


def test_the_first_seconds_of_speech() -> None:
    encoder = Pitch()
    both = [speech(100, 1.5), speech(100, 3.0)]
    whole = enrol(encoder, both)
    assert whole.seconds == pytest.approx(1.75 + 3.25)
    assert whole.encoder == "pitch-1"
    assert whole.embedding.shape == (16,)
    assert np.linalg.norm(whole.embedding) == pytest.approx(1, abs=1e-6)
    encoder.heard.clear()
    some = enrol(encoder, both, seconds=2.0)
    assert some.seconds == 2.0
    assert encoder.heard[:2] == [28_000, 4_000]
    assert enrol(encoder, both, seconds=1.0).seconds == 1.0
    second = enrol(encoder, both, active=lambda x: np.arange(-(-len(x) // 500)) < 40)
    assert second.seconds == pytest.approx(2 * 40 * 500 / RATE)


def test_each_wave_counts_by_its_speech() -> None:
    encoder = Pitch()
    low, high = speech(100, 4.0), speech(400, 1.0)
    mostly = enrol(encoder, [low, high]).embedding
    a, b = (encoder.embed([active_speech(w)])[0] for w in (low, high))
    expected = 4.25 * a + 1.25 * b
    assert np.allclose(mostly, expected / np.linalg.norm(expected), atol=1e-6)


def test_what_nobody_can_be_enrolled_from() -> None:
    encoder = Pitch()
    silence = np.zeros(3 * RATE, np.float32)
    with pytest.raises(AudioError, match=r"b: no speech in it to enrol a speaker from"):
        enrol(encoder, [speech(100, 2.0), silence], names=["a", "b"])
    with pytest.raises(AudioError, match=r"enrolment 1: 0\.75 s of speech, too little"):
        enrol(encoder, [speech(100, 0.5)])
    with pytest.raises(DataError, match="nothing to enrol a speaker from"):
        enrol(encoder, [])
    for seconds in (0.5, -1.0, float("inf"), float("nan")):
        with pytest.raises(DataError, match="give 1 s or more"):
            enrol(encoder, [speech(100, 2.0)], seconds=seconds)
    with pytest.raises(DataError, match=r"speech said of \[3\] frames where the audio has 96"):
        enrol(encoder, [speech(100, 2.0)], active=lambda _: np.ones(3, dtype=np.bool_))


def test_two_voices_are_told() -> None:
    encoder = Pitch()
    low, high = speech(100, 4.5), speech(400, 4.5)
    one = enrol(encoder, [low, low])
    assert one.warnings == ()
    mixed = enrol(encoder, [np.concatenate([low, high, low])], names=["mum.wav"])
    assert mixed.agreement is not None
    assert mixed.agreement < 0.5
    (line,) = mixed.warnings
    assert line.startswith("mum.wav: perhaps two voices in the enrolment (cosine 0.")
    assert "\n" not in line
    short = enrol(encoder, [speech(100, 1.5)])
    assert (short.agreement, short.warnings) == (None, ())
    cough = [active_speech(low)] * 3 + [tone(400, 2.0)]  # one piece in seven
    assert (agreement(encoder, cough) or 1.0) > 0.5


def test_files(tmp_path: Path) -> None:
    encoder = Pitch()
    paths = [
        record(tmp_path, "a", speech(100, 2.0)).audio,
        record(tmp_path, "b", np.stack([speech(100, 2.0)] * 2, axis=1)).audio,
        record(tmp_path, "c", np.zeros(RATE, np.float32)).audio,
    ]
    assert enrol_files(encoder, paths[:2]).seconds == pytest.approx(4.5)
    assert enrol_files(encoder, paths, seconds=3.0).seconds == 3.0  # c is not needed
    with pytest.raises(AudioError, match=r"c\.wav: no speech"):
        enrol_files(encoder, paths)
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        enrol_files(encoder, [tmp_path / "none.wav"])


def test_embeddings_are_kept(tmp_path: Path) -> None:
    encoder, cache = Pitch(), tmp_path / "cache"
    rows = [
        record(tmp_path, "a", speech(100, 1.0)),
        record(tmp_path, "b", speech(400, 1.0)),
        record(tmp_path, "soft", tone(200, 1.0, level=1e-4)),  # nothing stands out: all is heard
        record(tmp_path, "short", tone(200, 0.05)),
        replace(record(tmp_path, "gone", tone(200, 1.0)), audio=tmp_path / "gone"),
    ]
    told: list[tuple[int, int]] = []
    found = voices(rows, encoder, cache=cache, progress=lambda *n: told.append(n))
    assert (set(found.values), found.computed) == ({"a", "b", "soft", "short"}, 4)
    assert "gone: can't be opened" in found.failures["gone"]
    assert found.seconds["a"] == pytest.approx(1.25)
    assert found.seconds["soft"] == 1.0
    assert told[0] == (0, 5)
    encoder.heard.clear()
    again = voices(rows, encoder, cache=cache)
    assert (again.computed, encoder.heard) == (0, [])
    assert all(np.array_equal(again.values[k], found.values[k]) for k in found.values)
    assert again.seconds == found.seconds
    other = Pitch()
    other.id = "pitch-2"
    assert voices(rows[:1], other, cache=cache).computed == 1
    # A kept one of another size, as a damaged one, is computed anew.
    store = FeatureCache(cache, "speaker", {"encoder": "pitch-1", "version": 1})
    store.put(found.contents["a"], np.ones(3, np.float32))
    mended = voices(rows[:1], encoder, cache=cache)
    assert mended.computed == 1
    assert np.array_equal(mended.values["a"], found.values["a"])


def made(values: dict[str, list[float]], contents: dict[str, str] | None = None) -> Voices:
    rows = {k: np.float32(v) / np.float32(np.linalg.norm(v)) for k, v in values.items()}
    return Voices("toy", 2, rows, dict.fromkeys(rows, 2.0), contents or {}, {}, 0)


def test_leave_one_out() -> None:
    heard = made({"a1": [1, 0], "a2": [0, 1], "a3": [1, 1], "b1": [1, 0]})
    found = leave_one_out(heard, {"a1": "a", "a2": "a", "a3": "a", "b1": "b"})
    expected = np.array([np.sqrt(0.5), 1 + np.sqrt(0.5)])
    assert np.allclose(found.values["a1"], expected / np.linalg.norm(expected), atol=1e-6)
    assert found.seconds == {"a1": 4.0, "a2": 4.0, "a3": 4.0, "b1": 0.0}
    assert found.alone == ("b1",)
    assert found.values["b1"].tolist() == [0.0, 0.0]
    changed = made({"a1": [1, 0], "a2": [0, 1], "a3": [-1, 5]})
    again = leave_one_out(changed, dict.fromkeys(changed.values, "a"))
    assert np.array_equal(again.values["a3"], found.values["a3"])  # nothing of its own in it
    with pytest.raises(DataError, match=r"b1: no speaker is known"):
        leave_one_out(heard, {"a1": "a", "a2": "a", "a3": "a", "b1": None})


def test_the_same_recording_does_not_stand_for_itself() -> None:
    heard = made({"a": [1, 0], "copy": [1, 0], "c": [0, 1]}, {"a": "x", "copy": "x", "c": "y"})
    found = leave_one_out(heard, dict.fromkeys(heard.values, "s"))
    assert found.values["a"].tolist() == [0.0, 1.0]
    only = made({"a": [1, 0], "copy": [1, 0]}, {"a": "x", "copy": "x"})
    assert leave_one_out(only, {"a": "s", "copy": "s"}).alone == ("a", "copy")


def test_leave_one_out_of_some_seconds() -> None:
    heard = made({f"u{i}": [i, 1] for i in range(8)})
    speakers = dict.fromkeys(heard.values, "s")
    found = leave_one_out(heard, speakers, seconds=5.0)
    assert set(found.seconds.values()) == {4.0}
    assert set(leave_one_out(heard, speakers, seconds=0.5).seconds.values()) == {2.0}
    drawn = [
        leave_one_out(heard, speakers, seconds=5.0, rng=np.random.default_rng(1)) for _ in "ab"
    ]
    assert all(np.array_equal(drawn[0].values[k], drawn[1].values[k]) for k in speakers)
    assert any(not np.array_equal(drawn[0].values[k], found.values[k]) for k in speakers)


def test_a_file_of_two_channels_is_no_voice(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    two = 0.1 * rng.standard_normal((32000, 2))
    soundfile.write(tmp_path / "call.wav", two, 16000)
    soundfile.write(tmp_path / "same.wav", two[:, [0, 0]], 16000)
    with pytest.raises(AudioError, match=r"call\.wav: 2 channels that differ"):
        one_voice(tmp_path / "call.wav")
    assert one_voice(tmp_path / "same.wav").shape == (32000,)
