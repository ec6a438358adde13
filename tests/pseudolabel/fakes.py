"""Providers that answer what they are told to, and rows to ask about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.language import Opinion
from voicetone.types import Utterance


def opinion(sentiment: str, confidence: float = 0.9) -> Opinion:
    """An opinion of that confidence."""
    rest = (1 - confidence) / 2
    scores = dict.fromkeys(("positive", "neutral", "negative"), rest)
    return Opinion({**scores, sentiment: confidence})


class Fake:
    """Sentiment by a table of texts; remembers what it is asked.

    Args:
        answers: text → opinion; a text that is not there is positive.
        batch: texts at once.
        most: after so many texts it breaks.
        languages: that it says it knows.
    """

    def __init__(
        self,
        answers: Mapping[str, Opinion] | None = None,
        batch: int = 2,
        most: int = 10**9,
        languages: tuple[str, ...] | None = None,
    ) -> None:
        self.answers = answers or {}
        self.batch = batch
        self.most = most
        self.languages = languages
        self.source = "fake 1"
        self.asked: list[tuple[str, str | None]] = []

    def label(self, texts: Sequence[str], language: str | None) -> list[Opinion]:
        if len(self.asked) + len(texts) > self.most:
            raise DataError("fake is broken: mend it")
        assert len(texts) <= self.batch
        self.asked += [(text, language) for text in texts]
        return [self.answers.get(text, opinion("positive")) for text in texts]

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.asked]


def rows(*changes: Mapping[str, object]) -> Manifest:
    """A manifest of utterances u0, u1, … with these fields."""
    utterances = tuple(
        Utterance(**{"id": f"u{i}", "audio": Path(f"u{i}.wav"), "corpus": "toy", **more})  # type: ignore[arg-type]
        for i, more in enumerate(changes)
    )
    return Manifest("toy", "1", "CC0", "nobody", utterances)
