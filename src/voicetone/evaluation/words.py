"""Word and character error rates: what must be replaced, put in and left out to mend a text.

Rates are pooled: the errors of all texts over the words of all, so long texts count for more and
a rate may exceed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError, MissingExtraError
from voicetone.evaluation.bootstrap import DRAWS, draws, interval, no_interval
from voicetone.evaluation.metrics import Score

Unit = Literal["words", "characters"]


@dataclass(frozen=True, slots=True)
class TextErrors:
    """Errors of texts, each array `[n]`.

    Args:
        substitutions: words that another stands for.
        deletions: words that are missing.
        insertions: words that are too many.
        length: words that there should be.
    """

    substitutions: NDArray[np.int64]
    deletions: NDArray[np.int64]
    insertions: NDArray[np.int64]
    length: NDArray[np.int64]

    @property
    def errors(self) -> NDArray[np.int64]:
        """Of all three kinds `[n]`."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors of all texts over the words of all; not a number where there are none."""
        total = int(self.length.sum())
        return float(self.errors.sum() / total) if total else float("nan")

    def of(self, rows: NDArray[Any]) -> TextErrors:
        """Those of some texts, by numbers or a mask."""
        parts = (self.substitutions, self.deletions, self.insertions, self.length)
        return TextErrors(*(part[rows] for part in parts))


def text_errors(truth: Sequence[str], heard: Sequence[str], unit: Unit = "words") -> TextErrors:
    """The fewest changes that turn what was heard into the truth (Levenshtein), by text.

    Args:
        truth: the texts as they are.
        heard: as they were heard; both already in the same spelling.
        unit: words between spaces, or characters, spaces between words included.

    Raises:
        DataError: another number of texts heard than there are.
        MissingExtraError: the package rapidfuzz is not installed.
    """
    if len(truth) != len(heard):
        raise DataError(
            f"{len(heard)} texts were heard of {len(truth)}: give one for each, an empty one "
            "where nothing was heard"
        )
    try:
        from rapidfuzz.distance import Levenshtein
    except ModuleNotFoundError:
        raise MissingExtraError("error rates of texts", "report") from None
    names = {"replace": 0, "delete": 1, "insert": 2}
    table = np.zeros((len(truth), 4), dtype=np.int64)
    for row, (said, found) in enumerate(zip(truth, heard, strict=True)):
        words, given = _units(said, unit), _units(found, unit)
        for step in Levenshtein.editops(words, given):
            table[row, names[step.tag]] += 1
        table[row, 3] = len(words)
    return TextErrors(*table.T)


def error_rate(
    errors: TextErrors, speakers: Sequence[str], *, bootstraps: int = DRAWS, seed: int = 0
) -> Score:
    """The pooled rate with its 95 % interval over speakers.

    Speakers are drawn with replacement, then each one's texts; below five there is no interval.

    Raises:
        DataError: nothing to score, or another number of speakers than texts.
    """
    if not len(errors.length) or len(errors.length) != len(speakers):
        raise DataError("texts and speakers must be as many as each other, and some")
    names = np.asarray(speakers, dtype=np.str_)
    if no_interval(names) is not None:
        return Score(errors.rate, None, None)
    _, codes = np.unique(names, return_inverse=True)
    found = np.full(bootstraps, np.nan)
    for k, weights in enumerate(draws(codes.astype(np.int64), bootstraps, seed)):
        total = float(weights @ errors.length)
        found[k] = weights @ errors.errors / total if total else np.nan
    return Score(errors.rate, *interval(found))


def _units(text: str, unit: Unit) -> list[str]:
    return text.split() if unit == "words" else list(" ".join(text.split()))
