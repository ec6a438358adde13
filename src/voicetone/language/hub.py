"""Recognisers and text classifiers of the transformers library, on this machine.

Weights are safetensors only, a hub's are pinned to a revision, and no code comes with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voicetone.errors import DataError, MissingExtraError, UsageError
from voicetone.language.answers import Opinion, Spoken
from voicetone.types import SENTIMENTS, Waveform

RATE = 16_000  # Hz, of the recognisers
SHORTEST = 0.1  # s
WORDS: Mapping[str, str] = {
    "pos": "positive",
    "positive": "positive",
    "neu": "neutral",
    "neutral": "neutral",
    "neg": "negative",
    "negative": "negative",
}


def pinned(model: str, option: str) -> tuple[str, str | None]:
    """A folder, or a name and its revision.

    Raises:
        UsageError: a name alone, under which other weights may lie tomorrow.
    """
    if Path(model).is_dir():
        return model, None
    name, _, revision = model.rpartition("@")
    if not name or not revision:
        raise UsageError(f"{option} {model}: give a folder, or NAME@REVISION of the hub")
    return name, revision


def _pipeline(task: str, model: str, option: str, **more: Any) -> Any:
    """A pipeline of that library.

    Raises:
        MissingExtraError: the library is not installed.
        DataError: there is no such model, or it can't be fetched.
    """
    try:
        from transformers import pipeline
    except ModuleNotFoundError:
        raise MissingExtraError(f"{option} {model}", "ssl,train") from None
    name, revision = pinned(model, option)
    try:
        return pipeline(
            task, model=name, revision=revision, model_kwargs={"use_safetensors": True}, **more
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{model}: can't be loaded ({reason}): check the name") from None


class HubTranscriber:
    """A recogniser; it tells no confidence.

    Args:
        model: a folder, or NAME@REVISION.

    Raises:
        MissingExtraError, UsageError, DataError: as `_pipeline`.
    """

    languages = None

    def __init__(self, model: str) -> None:
        self._pipeline = _pipeline("automatic-speech-recognition", model, "--asr-model")
        self.source = f"transformers {model}"

    def transcribe(self, sound: Waveform, language: str | None) -> Spoken:
        """The words."""
        if sound.duration < SHORTEST:
            return Spoken(problem="shorter than 0.1 s")
        samples = sound.mono().resample(RATE).samples[0]
        try:
            found = self._pipeline({"raw": samples, "sampling_rate": RATE})
        except (ValueError, RuntimeError) as error:
            return Spoken(problem=" ".join(str(error).split())[:100], failed=True)
        text = str(found["text"]).strip()
        return Spoken(text) if text else Spoken(problem="no words heard")


class HubLabeller:
    """A text classifier whose classes are sentiments; one without neutral never says neutral.

    Args:
        model: a folder, or NAME@REVISION.

    Raises:
        MissingExtraError, UsageError, DataError: as `_pipeline`; also for other classes.
    """

    languages = None
    batch = 16

    def __init__(self, model: str) -> None:
        self._pipeline = _pipeline("text-classification", model, "--model", top_k=None)
        names = sorted(map(str, self._pipeline.model.config.id2label.values()))
        found = {WORDS.get(name.lower()) for name in names}
        if None in found or not {"positive", "negative"} <= found:
            raise DataError(
                f"{model}: its classes are {', '.join(names[:9])}: take a model whose classes are "
                "positive, neutral and negative"
            )
        self.source = f"transformers {model}"

    def label(self, texts: Sequence[str], language: str | None) -> list[Opinion]:
        """One opinion per text."""
        found = [
            Opinion()
            if any(c.isalnum() for c in text)
            else Opinion(problem="no words in the transcript")
            for text in texts
        ]
        fit = [i for i, opinion in enumerate(found) if not opinion.problem]
        if not fit:
            return found
        try:
            answers = self._pipeline([texts[i] for i in fit], truncation=True)
        except (ValueError, RuntimeError, IndexError) as error:
            problem = " ".join(str(error).split())[:100]
            answers = [Opinion(problem=problem, failed=True)] * len(fit)
        for i, answer in zip(fit, answers, strict=True):
            found[i] = answer if isinstance(answer, Opinion) else _opinion(answer)
        return found


def _opinion(answer: Sequence[Mapping[str, Any]]) -> Opinion:
    scores = dict.fromkeys(SENTIMENTS, 0.0)
    for item in answer:
        scores[WORDS[str(item["label"]).lower()]] += float(item["score"])
    return Opinion(scores)
