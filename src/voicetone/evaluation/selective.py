"""Saying "don't know": accuracy against coverage, and sets of labels that hold the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.evaluation import counts
from voicetone.evaluation.bootstrap import no_interval
from voicetone.evaluation.calibration import halves
from voicetone.evaluation.table import PredictionTable

COVERAGES = tuple(k / 20 for k in range(20, 0, -1))
TARGETS = (0.8, 0.9, 0.95)
SPLITS = 20


@dataclass(frozen=True, slots=True)
class Point:
    """Answering only where the confidence is `threshold` or more."""

    threshold: float
    coverage: float
    wa: float
    uar: float


@dataclass(frozen=True, slots=True)
class Sets:
    """Conformal prediction sets that are meant to hold the truth in a `target` share of cases.

    The threshold comes from half of the speakers, everything else is measured on the other half,
    over several such splits: the mean, and for the coverage the lowest and highest split.
    """

    target: float
    coverage: float
    lowest: float
    highest: float
    size: float
    single: float
    empty: float
    splits: int


def confidence(table: PredictionTable) -> NDArray[np.float64] | None:
    """How sure each prediction is `[n]`; None where a table has labels alone.

    The highest probability, or for decision values their distance to the second.
    """
    if table.probabilities:
        return np.asarray(table.scores.max(1), dtype=np.float64)
    if np.isin(table.scores, (0, 1)).all():
        return None
    top = np.sort(table.scores.astype(np.float64), axis=1)
    return np.asarray(top[:, -1] - top[:, -2])


def coverage_curve(table: PredictionTable) -> list[Point]:
    """Accuracy of the surest part of the predictions, for parts of 100, 95, … 5 %.

    Predictions of one confidence are answered together, so a part may be larger than asked for.
    """
    sure = confidence(table)
    if sure is None or not len(table):
        return []
    order = np.argsort(-sure, kind="stable")
    ranked = sure[order]
    truth, predicted = table.truth_codes[order], table.predicted_codes[order]
    points: dict[float, Point] = {}
    for part in COVERAGES:
        threshold = float(ranked[max(1, round(part * len(ranked))) - 1])
        kept = int(np.searchsorted(-ranked, -threshold, side="right"))
        found = counts.count(truth[:kept], predicted[:kept], len(table.labels))
        points[threshold] = Point(
            threshold, kept / len(ranked), float(counts.wa(found)), float(counts.uar(found))
        )
    return list(points.values())


def conformal_sets(table: PredictionTable, seed: int = 0, splits: int = SPLITS) -> list[Sets]:
    """Prediction sets by split conformal prediction, calibrated on other speakers.

    The score is one minus the truth's probability (Sadinle, Lei and Wasserman, JASA 2019). The
    guarantee is for utterances that are drawn alike; those of new speakers are not, so what counts
    is the coverage measured on them. Empty where there are no probabilities or too few speakers.
    """
    if not table.probabilities or no_interval(table.speaker) is not None:
        return []
    found = []
    for target in TARGETS:
        rows = [_split(table, target, seed * splits + k) for k in range(splits)]
        coverage, size, single, empty = np.array([r for r in rows if r is not None]).T
        found.append(
            Sets(
                target=target,
                coverage=float(coverage.mean()),
                lowest=float(coverage.min()),
                highest=float(coverage.max()),
                size=float(size.mean()),
                single=float(single.mean()),
                empty=float(empty.mean()),
                splits=splits,
            )
        )
    return found


def _split(table: PredictionTable, target: float, seed: int) -> tuple[float, ...] | None:
    half = halves(table, seed)
    if half is None:
        return None
    strange = 1 - table.scores.astype(np.float64)
    of_truth = strange[np.arange(len(table)), table.truth_codes]
    known = np.sort(of_truth[half])
    place = int(np.ceil((len(known) + 1) * target)) - 1
    limit = known[place] if place < len(known) else np.inf
    sets = (strange <= limit)[~half]
    size = sets.sum(1)
    covered = (of_truth <= limit)[~half].mean()
    return float(covered), float(size.mean()), float((size == 1).mean()), float((size == 0).mean())
