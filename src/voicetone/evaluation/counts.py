"""Scores of confusion counts `[..., labels, labels]`: rows are true labels, columns predicted ones.

Any number of leading axes (draws of a bootstrap, seeds) is scored at once. A label without any true
case has no recall; averages over labels are over those that have true cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]


def count(truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: int) -> Counts:
    """Confusion counts `[labels, labels]` of two arrays of places in the labels `[n]`."""
    cells = np.bincount(truth * labels + predicted, minlength=labels * labels)
    return cells.reshape(labels, labels).astype(np.float64)


def recall(counts: Counts) -> Counts:
    """Share of each label's true cases that are found, NaN where it has none `[..., labels]`."""
    return _ratio(_hits(counts), counts.sum(-1))


def precision(counts: Counts) -> Counts:
    """Share of each label's predictions that are right, NaN where there are none."""
    return _ratio(_hits(counts), counts.sum(-2))


def f1(counts: Counts) -> Counts:
    """Harmonic mean of precision and recall of each label, NaN where it has no true cases."""
    scores = _ratio(2 * _hits(counts), counts.sum(-1) + counts.sum(-2))
    return np.where(counts.sum(-1) > 0, scores, np.nan)


def uar(counts: Counts) -> Counts:
    """Unweighted average recall (= UA, balanced accuracy) `[...]`."""
    return _mean(recall(counts))


def wa(counts: Counts) -> Counts:
    """Weighted accuracy, the share of right answers `[...]`."""
    return _ratio(_hits(counts).sum(-1), counts.sum((-1, -2)))


def macro_f1(counts: Counts) -> Counts:
    """F1 averaged over labels `[...]`."""
    return _mean(f1(counts))


def weighted_f1(counts: Counts) -> Counts:
    """F1 averaged over labels, each by its number of true cases `[...]`."""
    scores = np.nan_to_num(f1(counts)) * counts.sum(-1)
    return _ratio(scores.sum(-1), counts.sum((-1, -2)))


HEADLINE: Mapping[str, Callable[[Counts], Counts]] = {
    "uar": uar,
    "wa": wa,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
}
"""The scores that stand at the top of each report, by their names in JSON."""

NAMES = {
    "uar": "UAR (= UA, balanced accuracy)",
    "wa": "WA (= accuracy)",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
}


def _hits(counts: Counts) -> Counts:
    return np.asarray(np.diagonal(counts, axis1=-2, axis2=-1))


def _ratio(above: Counts, below: Counts) -> Counts:
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.asarray(np.divide(above, below, out=np.full(shape, np.nan), where=below > 0))


def _mean(values: Counts) -> Counts:
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(-1), known.sum(-1).astype(np.float64))
