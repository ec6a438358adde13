"""Classes that are not equally frequent: weights for the loss, or rows drawn more or less often.

Everything here sees the labels of training rows alone: what validates or tests is never given.
Labels are places of classes `[n]`; one below zero is unknown, and its row gets no weight and is
never drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import UsageError
from voicetone.types import Floats

Rows = NDArray[np.int64]


def class_weights(truth: Rows, classes: int) -> Floats:
    """Weight per class `[classes]`, inverse to its frequency, mean one over the labelled rows;
    0 for a class without a row."""
    counts = np.bincount(truth[truth >= 0], minlength=classes)
    weights = np.zeros(classes, dtype=np.float32)
    there = counts > 0
    weights[there] = counts.sum() / (there.sum() * counts[there])
    return weights


def inverse_frequency(truth: Rows, groups: NDArray[np.str_]) -> Floats:
    """Weight per row `[n]`, inverse to its class's frequency in its own group, mean one over
    the labelled rows of each group; 0 for rows without a label.

    Groups are corpora, mostly. Frequencies over all of them would tell a class's corpus from its
    weight: one that a single corpus labels would weigh several times what its rivals there do.
    """
    weights = np.zeros(len(truth), dtype=np.float32)
    for rows in _rows_of_groups(truth, groups):
        known = truth[rows]
        weights[rows] = class_weights(known, int(known.max()) + 1)[known]
    return weights


def oversampled(
    truth: Rows,
    rng: np.random.Generator,
    *,
    groups: NDArray[np.str_] | None = None,
    most: int | None = None,
) -> Rows:
    """Rows `[m]`, ascending, with which every class is as frequent as the largest one was.

    Each row is there as often as any other of its class, or once more, by draw.

    Args:
        truth: labels `[n]`.
        rng: decides which rows come once more.
        groups: speakers or corpora `[n]`; classes are then made equal within each.
        most: no row comes more often than this, so that a rare class stays rarer and is not
            learnt by heart.

    Raises:
        UsageError: `most` is under 1.
    """
    if most is not None and most < 1:
        raise UsageError(f"{most} repetitions at most: give a number from 1 on, or none")
    found = []
    for classes in _classes_of_groups(truth, groups):
        largest = max(len(rows) for rows in classes)
        for rows in classes:
            wanted = largest if most is None else min(largest, most * len(rows))
            whole, rest = divmod(wanted, len(rows))
            found += [np.tile(rows, whole), rng.choice(rows, rest, replace=False)]
    return _sorted(found)


def undersampled(
    truth: Rows, rng: np.random.Generator, *, groups: NDArray[np.str_] | None = None
) -> Rows:
    """Rows `[m]`, ascending and each once, with which every class is as frequent as the smallest
    one was.

    Args:
        truth: labels `[n]`.
        rng: decides which rows stay.
        groups: speakers or corpora `[n]`; classes are then made equal within each, among those
            that occur there.
    """
    found = []
    for classes in _classes_of_groups(truth, groups):
        smallest = min(len(rows) for rows in classes)
        found += [rng.choice(rows, smallest, replace=False) for rows in classes]
    return _sorted(found)


def _sorted(parts: list[Rows]) -> Rows:
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)


def _rows_of_groups(truth: Rows, groups: NDArray[np.str_] | None) -> Iterator[Rows]:
    """The labelled rows of each group that has some; all of them without groups."""
    known = np.flatnonzero(truth >= 0)
    for name in [None] if groups is None else np.unique(groups):
        rows = known if groups is None else known[groups[known] == name]
        if len(rows):
            yield rows


def _classes_of_groups(truth: Rows, groups: NDArray[np.str_] | None) -> Iterator[list[Rows]]:
    """For each group, the rows of each class that occurs in it."""
    for rows in _rows_of_groups(truth, groups):
        yield [rows[truth[rows] == k] for k in np.unique(truth[rows])]
