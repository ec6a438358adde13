"""Transcripts: which rows are asked about, what is heard, and what another question is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.pseudolabel.fakes import rows

from voicetone.language import Spoken
from voicetone.pseudolabel import Journal, fill
from voicetone.pseudolabel.steps import Ear, TranscriptStep, audio_hash
from voicetone.types import Waveform


class Listener:
    """Hears the level of a sound."""

    source = "listener 1"
    languages = ("en",)

    def __init__(self) -> None:
        self.heard: list[tuple[float, float, str | None]] = []

    def transcribe(self, sound: Waveform, language: str | None) -> Spoken:
        level = float(sound.samples.max())
        self.heard.append((round(level, 3), sound.duration, language))
        return Spoken(f"level {level:.1f}", 0.5) if level else Spoken(problem="silent")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    samples = np.zeros((4000, 2), np.float32)
    samples[:2000, 0], samples[2000:, 1] = 0.2, 0.6
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 1000 * 8, "FLOAT")
    return path


def test_segments_channels_and_languages(recording: Path, tmp_path: Path) -> None:
    a = {"audio": recording, "language": "en"}
    manifest = rows(
        {**a, "channel": 1},
        {**a, "channel": 2, "start": 0.25},
        {**a, "language": None},
        {**a, "language": "de"},
        {**a, "transcript": "by a person"},
        {**a, "channel": 2, "end": 0.25},
    )
    listener = Listener()
    with Journal(tmp_path / "j.labels.jsonl") as journal:
        found = fill(manifest, [TranscriptStep(listener, "en-GB")], journal)
    assert listener.heard == [
        (0.2, 0.5, "en"), (0.6, 0.25, "en"), (0.3, 0.5, "en"), (0.0, 0.25, "en")
    ]  # fmt: skip
    assert [u.transcript for u in found.manifest] == [
        "level 0.2", "level 0.6", "level 0.3", None, "by a person", None
    ]  # fmt: skip
    assert dict(found.tallies[0].left) == {"language de, of which en is known": 1, "silent": 1}


def test_other_audio_is_another_question(recording: Path) -> None:
    (u,) = rows({"audio": recording}).utterances
    same = audio_hash(u)
    assert audio_hash(replace(u, transcript="x", id="other")) == same
    for other in (
        replace(u, start=0.1), replace(u, end=0.1), replace(u, channel=1),
        replace(u, sha256="00"), replace(u, audio=recording.with_name("gone.wav")),
    ):  # fmt: skip
        assert audio_hash(other) != same
    assert audio_hash(u, "de") != audio_hash(u, "en")


def test_a_recording_is_read_once_for_its_segments(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voicetone.audio import read_audio
    from voicetone.pseudolabel import steps

    read: list[object] = []
    monkeypatch.setattr(steps, "read_audio", lambda path: read.append(path) or read_audio(path))
    ear = Ear()
    for u in rows(*({"audio": recording, "start": t / 10} for t in range(4))):
        ear.hear(u)
    assert read == [recording]
