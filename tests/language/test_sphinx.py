"""Pocketsphinx: digits of real speakers, silence, and what decoding must not depend on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from voicetone.audio import read_audio
from voicetone.errors import MissingExtraError
from voicetone.language import Spoken
from voicetone.language.sphinx import SphinxTranscriber
from voicetone.types import Waveform


@pytest.fixture(scope="module")
def transcriber() -> SphinxTranscriber:
    return SphinxTranscriber()


def digit(data_folder: Path, name: str) -> Waveform:
    return read_audio(data_folder / "fsdd" / "audio" / f"{name}.flac")


def test_silence_and_nothing_give_no_words(transcriber: SphinxTranscriber) -> None:
    silence = Waveform(np.zeros((1, 16_000), np.float32), 16_000)
    assert transcriber.transcribe(silence, "en") == Spoken(problem="silent")
    short = transcriber.transcribe(silence.slice(0, 0.05), "en")
    assert (short.text, short.problem) == ("", "shorter than 0.1 s")
    assert not short.failed


@pytest.mark.realdata
def test_words_and_confidence_do_not_depend_on_what_was_heard_before(
    transcriber: SphinxTranscriber, data_folder: Path
) -> None:
    first = transcriber.transcribe(digit(data_folder, "7_jackson_0"), "en")
    transcriber.transcribe(digit(data_folder, "3_theo_1"), "en")
    again = transcriber.transcribe(digit(data_folder, "7_jackson_0"), "en")
    assert first == again
    assert first.text
    assert first.confidence is not None
    assert 0 <= first.confidence <= 1


def test_source_names_the_version(transcriber: SphinxTranscriber) -> None:
    assert transcriber.source.startswith("pocketsphinx 5")
    assert transcriber.languages == ("en",)


def test_absence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(MissingExtraError, match=r"voicetone\[label\]"):
        SphinxTranscriber()
