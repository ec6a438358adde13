"""Scores of predictions, and how sure one can be of them. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.evaluation import counts
from voicetone.evaluation.bootstrap import FEWEST_SPEAKERS, draws, interval

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric with its 95 % interval; without one where there are too few speakers."""

    value: float
    low: float | None
    high: float | None


def uar(truth: Labels, predicted: Labels) -> float:
    """Unweighted average recall (= UA, balanced accuracy) over the classes in `truth` `[n]`."""
    classes = np.unique(truth)
    return float(np.mean([(predicted[truth == c] == c).mean() for c in classes]))


def wa(truth: Labels, predicted: Labels) -> float:
    """Weighted accuracy, the share of right answers."""
    return float((truth == predicted).mean())


def macro_f1(truth: Labels, predicted: Labels) -> float:
    """F1 averaged over the classes in `truth`."""
    scores = []
    for c in np.unique(truth):
        hits = float(((predicted == c) & (truth == c)).sum())
        scores.append(2 * hits / float((predicted == c).sum() + (truth == c).sum()))
    return float(np.mean(scores))


def weighted_f1(truth: Labels, predicted: Labels) -> float:
    """F1 averaged over the classes in `truth`, each by its number of cases."""
    classes, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    found = counts.count(codes[: len(truth)], codes[len(truth) :], len(classes))
    return float(counts.weighted_f1(found))


_OF_COUNTS: dict[Callable[[Labels, Labels], float], Callable[[counts.Counts], counts.Counts]] = {
    uar: counts.uar,
    wa: counts.wa,
    macro_f1: counts.macro_f1,
    weighted_f1: counts.weighted_f1,
}


def by_speakers(
    metric: Callable[[Labels, Labels], float],
    truth: Labels,
    predicted: Labels,
    speakers: Sequence[str],
    *,
    bootstraps: int = 1000,
    seed: int = 0,
) -> Score:
    """A metric with a bootstrap interval over speakers, not over utterances alone.

    Scores of confusion counts (those of this module) are quick; any other metric is called for
    each draw. Below five speakers there is no interval: resampling so few says nothing.

    Raises:
        DataError: nothing to score, or arrays of different lengths.
    """
    if not len(truth) or not len(truth) == len(predicted) == len(speakers):
        raise DataError("predictions, labels and speakers must be as many as each other, and some")
    value = metric(truth, predicted)
    _, ids = np.unique(np.asarray(speakers), return_inverse=True)
    if ids.max() < FEWEST_SPEAKERS - 1:
        return Score(value, None, None)
    drawn = draws(ids.astype(np.int64), bootstraps, seed)
    of_counts = _OF_COUNTS.get(metric)
    if of_counts is not None:
        classes, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
        labels = len(classes)
        cells = codes[: len(truth)] * labels + codes[len(truth) :]
        tables = [np.bincount(cells, weights=w, minlength=labels**2) for w in drawn]
        values = of_counts(np.reshape(tables, (-1, labels, labels)))
    else:
        rows = (np.repeat(np.arange(len(truth)), w.astype(int)) for w in drawn)
        values = np.array([metric(truth[r], predicted[r]) for r in rows])
    return Score(value, *interval(values))


def proportion(hits: int, total: int) -> Score:
    """A share with its Wilson 95 % interval (Wilson, JASA 1927).

    Raises:
        DataError: `total` is zero.
    """
    if total == 0:
        raise DataError("no cases: a share of nothing has no value")
    z, p = 1.959964, hits / total
    middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    return Score(p, max(0.0, middle - half), min(1.0, middle + half))


def expected_calibration_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al., ICML 2017)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (place == b).mean() * abs(confidence[place == b].mean() - right[place == b].mean())
        for b in np.unique(place)
    ]
    return float(np.sum(gaps))
