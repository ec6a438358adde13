"""What a provider is asked and what it answers: the two protocols of this room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from voicetone.types import SENTIMENTS, Scores, Waveform

NO_WORDS = "no words in the transcript"
NAMES = {"english": "en", "german": "de", "polish": "pl", "french": "fr", "spanish": "es"}


@dataclass(frozen=True, slots=True)
class Spoken:
    """The words of one stretch of audio.

    Attributes:
        text: empty where no word was heard, or something went wrong.
        confidence: in [0, 1]; None from a provider that tells none.
        problem: why there are no words, in a few of ours.
        failed: something went wrong, and asking again may help.
    """

    text: str = ""
    confidence: float | None = None
    problem: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Opinion:
    """The sentiment of one text.

    Attributes:
        scores: of positive, neutral and negative, each in [0, 1]; None where there is no answer.
        problem: why there is none, in a few words.
        failed: something went wrong, and asking again may help.
    """

    scores: Scores | None = None
    problem: str = ""
    failed: bool = False

    @property
    def sentiment(self) -> str | None:
        """The sentiment with the highest score, the first of `SENTIMENTS` among equals."""
        if self.scores is None:
            return None
        scores = self.scores
        return max(SENTIMENTS, key=lambda name: scores[name])

    @property
    def confidence(self) -> float | None:
        """The highest score."""
        return None if self.scores is None else max(self.scores[name] for name in SENTIMENTS)


class Transcriber(Protocol):
    """Turns audio into words."""

    @property
    def source(self) -> str:
        """Provider, model and version, as the provenance names them."""

    @property
    def languages(self) -> tuple[str, ...] | None:
        """The languages that it knows, as `en`; None is any."""

    def transcribe(self, sound: Waveform, language: str | None) -> Spoken:
        """The words of one utterance, of any rate and number of channels.

        Raises:
            DataError: no utterance will be answered, whichever it is.
        """


class TextLabeller(Protocol):
    """Says how texts read."""

    @property
    def source(self) -> str:
        """Provider, model and version, as the provenance names them."""

    @property
    def languages(self) -> tuple[str, ...] | None:
        """The languages that it knows, as `en`; None is any."""

    @property
    def batch(self) -> int:
        """How many texts at most are handed over at once."""

    def label(self, texts: Sequence[str], language: str | None) -> list[Opinion]:
        """One opinion per text, in their order; all texts are of one language.

        Raises:
            DataError: no text will be answered, whichever it is.
        """


def primary(language: str | None) -> str | None:
    """`en` of `en-GB`, `EN_us` or `English`; None of nothing."""
    if not language or not language.strip():
        return None
    word = language.strip().lower().replace("_", "-").partition("-")[0]
    return NAMES.get(word, word)


def has_words(text: str) -> bool:
    """Is there any letter or digit?"""
    return any(letter.isalnum() for letter in text)
