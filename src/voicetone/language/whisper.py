"""Words in many languages by faster-whisper, on this machine."""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from voicetone.errors import DataError, MissingExtraError
from voicetone.language.answers import Spoken
from voicetone.language.hub import pinned
from voicetone.types import Waveform

RATE = 16_000  # Hz, of all its models
SHORTEST = 0.1  # s


class WhisperTranscriber:
    """A Whisper model in CTranslate2's format.

    Args:
        model: a folder, or NAME@REVISION on the Hugging Face hub, which is fetched once.

    Raises:
        MissingExtraError: the package is not installed.
        UsageError: a name without a revision.
        DataError: there is no such model, or it can't be fetched.
    """

    languages = None

    def __init__(self, model: str) -> None:
        try:
            from faster_whisper import WhisperModel
        except ModuleNotFoundError:
            raise MissingExtraError("transcripts by faster-whisper", "whisper") from None
        name, revision = pinned(model, "--asr-model")
        more = {"revision": revision} if revision else {}
        try:
            self._model: Any = WhisperModel(name, **more)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{model}: can't be loaded ({reason}): check the name") from None
        try:
            made = version("faster-whisper")
        except PackageNotFoundError:
            made = "unknown"
        self.source = f"faster-whisper {made} {model}"

    def transcribe(self, sound: Waveform, language: str | None) -> Spoken:
        """The words; the confidence is the mean probability of their pieces, by length."""
        if sound.duration < SHORTEST:
            return Spoken(problem="shorter than 0.1 s")
        samples = sound.mono().resample(RATE).samples[0]
        try:
            found, _ = self._model.transcribe(
                samples, language=language, condition_on_previous_text=False
            )
            parts = list(found)
        except (ValueError, RuntimeError) as error:
            return Spoken(problem=" ".join(str(error).split())[:100], failed=True)
        text = " ".join(part.text.strip() for part in parts).strip()
        if not text:
            return Spoken(problem="no words heard")
        lengths = [max(part.end - part.start, 1e-3) for part in parts]
        weighted = sum(p.avg_logprob * n for p, n in zip(parts, lengths, strict=True))
        return Spoken(text, min(math.exp(weighted / sum(lengths)), 1.0))
