"""How far machines agree with people, where both have answered."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voicetone.corpora.agreement import fleiss_kappa
from voicetone.evaluation.metrics import uar, wa


@dataclass(frozen=True, slots=True)
class Agreement:
    """Machine against person on one field.

    Attributes:
        compared: utterances with both.
        accuracy: share of equal answers; None for transcripts.
        uar: mean recall over the people's labels; None for transcripts.
        kappa: Fleiss' for two raters; None for transcripts or where all say the same.
        wer: wrong, missing and added words per word of the people's; None for labels.
    """

    compared: int
    accuracy: float | None = None
    uar: float | None = None
    kappa: float | None = None
    wer: float | None = None

    def __str__(self) -> str:
        measures = {
            "accuracy": self.accuracy,
            "UAR": self.uar,
            "kappa": self.kappa,
            "WER": self.wer,
        }
        said = [f"{name} {value:.3f}" for name, value in measures.items() if value is not None]
        return f"{', '.join(said)} on {self.compared:,} labelled by people"


def of_labels(truth: Sequence[str], answers: Sequence[str]) -> Agreement:
    """Agreement of labels, at least one of each."""
    names = sorted({*truth, *answers})
    index = {name: i for i, name in enumerate(names)}
    a = np.array([index[name] for name in truth], dtype=np.int64)
    b = np.array([index[name] for name in answers], dtype=np.int64)
    counts = np.zeros((len(a), len(names)))
    np.add.at(counts, (np.arange(len(a)), a), 1)
    np.add.at(counts, (np.arange(len(b)), b), 1)
    kappa = fleiss_kappa(counts)
    return Agreement(len(a), wa(a, b), uar(a, b), None if math.isnan(kappa) else kappa)


def of_transcripts(truth: Sequence[str], answers: Sequence[str]) -> Agreement:
    """Word error rate over all texts together; None if the people's hold no word."""
    wrong = spoken = 0
    for said, heard in zip(truth, answers, strict=True):
        words = words_of(said)
        wrong += word_errors(words, words_of(heard))
        spoken += len(words)
    return Agreement(len(truth), wer=wrong / spoken if spoken else None)


def words_of(text: str) -> list[str]:
    """Words in small letters without punctuation; apostrophes within words stay."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in folded)
    return [word for part in kept.split() if (word := part.strip("'"))]


def word_errors(truth: Sequence[str], heard: Sequence[str]) -> int:
    """The least number of words to change, drop or add."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(truth, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            here = min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
            diagonal, row[j] = row[j], here
    return row[-1]
