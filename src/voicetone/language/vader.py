"""Sentiment of English text by VADER: a lexicon and rules, on this machine, in microseconds.

C. J. Hutto and E. Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text, ICWSM 2014. It knows words, not voices: irony and what was left unsaid escape it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from voicetone.errors import MissingExtraError
from voicetone.language.answers import NO_WORDS, Opinion, has_words
from voicetone.types import Scores

CLEAR = 0.05  # of the compound score: the authors' border between neutral and the other two
LEAST = 0.51  # confidence at the border


class VaderLabeller:
    """VADER's compound score as scores of three sentiments.

    Raises:
        MissingExtraError: the package is not installed.
    """

    languages = ("en",)
    batch = 1000

    def __init__(self) -> None:
        try:
            from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
        except ModuleNotFoundError:
            raise MissingExtraError("sentiment by VADER", "label") from None
        self.source = f"vader {version('vaderSentiment')}"
        self._analyzer = SentimentIntensityAnalyzer()

    def label(self, texts: Sequence[str], language: str | None) -> list[Opinion]:
        """One opinion per text; a text without words has none."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Opinion:
        if not has_words(text):
            return Opinion(problem=NO_WORDS)
        return Opinion(scores_of(self._analyzer.polarity_scores(text)["compound"]))


def scores_of(compound: float) -> Scores:
    """Scores whose highest is what the authors' borders say.

    From the border to the end of the scale the score grows evenly from 0.51 to 1; within the
    borders that of neutral falls from 1 to 0.51. It ranks texts, and is no probability.

    Args:
        compound: in [-1, 1].
    """
    size = abs(compound)
    if size >= CLEAR:
        clear = LEAST + (1 - LEAST) * (size - CLEAR) / (1 - CLEAR)
    else:
        clear = (1 - LEAST) * size / CLEAR
    pair = (clear, 0.0) if compound > 0 else (0.0, clear)
    return {"positive": pair[0], "neutral": 1 - clear, "negative": pair[1]}
