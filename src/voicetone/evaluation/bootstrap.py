"""Drawing speakers with replacement, then each drawn speaker's utterances.

The scheme is that of the confidence_intervals package (Ferrer and Riera): as many speakers as there
are, and of each as many utterances as it has. Here a draw is a number of times for each row, which
makes any score of counts or moments quick to repeat: see docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.evaluation.counts import Counts
from voicetone.evaluation.table import DimensionTable, PredictionTable, Texts

FEWEST_SPEAKERS = 5
"""Below this there is no interval: resampling so few says nothing."""
DRAWS = 1000
Weights = NDArray[np.float64]
Codes = NDArray[np.int64]


def draws(speakers: Codes, number: int = DRAWS, seed: int = 0) -> Iterator[Weights]:
    """How often each row is in each of `number` draws.

    Args:
        speakers: the speaker of each row, numbered from 0 without gaps `[n]`.
        number: of draws.
        seed: of the generator; the same seed gives the same draws.

    Yields:
        `[n]`, times that a row was drawn.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(speakers, kind="stable")
    sizes = np.bincount(speakers)
    size_of_row = np.repeat(sizes, sizes)
    start_of_row = np.repeat(np.cumsum(sizes) - sizes, sizes)
    for _ in range(number):
        times = np.bincount(rng.integers(len(sizes), size=len(sizes)), minlength=len(sizes))
        times_of_row = np.repeat(times, sizes)
        rows = np.flatnonzero(times_of_row)
        places = start_of_row[rows] + (rng.random(len(rows)) * size_of_row[rows]).astype(np.int64)
        drawn = np.empty(len(speakers))
        drawn[order] = np.bincount(places, weights=times_of_row[rows], minlength=len(speakers))
        yield drawn


def interval(values: Counts) -> tuple[float, float] | tuple[None, None]:
    """The 2.5 and 97.5 percentiles of a score's draws `[draws]`; None where no draw has a score."""
    if not np.isfinite(values).any():
        return None, None
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def no_interval(speakers: Texts) -> str | None:
    """Why there can be no interval over these speakers `[n]`, or None if there can."""
    known = np.unique(speakers)
    if (known == "").any():
        return "no intervals: some utterances name no speaker"
    if len(known) < FEWEST_SPEAKERS:
        are = "1 speaker is" if len(known) == 1 else f"{len(known)} speakers are"
        return f"no intervals: {are} too few, {FEWEST_SPEAKERS} are needed"
    return None


@dataclass(frozen=True, eq=False)
class Resampled:
    """A table's confusion counts, whole and in each draw.

    Args:
        seeds: the seeds, ascending.
        whole: `[seeds, labels, labels]`.
        drawn: `[draws, seeds, labels, labels]`, None where there can be no interval.
        reason: why there can be none.
    """

    seeds: tuple[int, ...]
    whole: Counts
    drawn: Counts | None
    reason: str | None


def resample(table: PredictionTable, number: int = DRAWS, seed: int = 0) -> Resampled:
    """Confusion counts of a table and of its draws; all seeds share a draw's utterances."""
    seeds, place = np.unique(table.seed, return_inverse=True)
    labels = len(table.labels)
    cells = (place * labels + table.truth_codes) * labels + table.predicted_codes
    shape = (len(seeds), labels, labels)
    size = int(np.prod(shape))
    whole = np.bincount(cells, minlength=size).reshape(shape).astype(np.float64)
    found = tuple(int(s) for s in seeds)
    reason = no_interval(table.speaker)
    if reason is not None or number == 0:
        return Resampled(found, whole, None, reason)
    utterance, speakers = utterances(table)
    drawn = np.empty((number, size))
    for k, weights in enumerate(draws(speakers, number, seed)):
        drawn[k] = np.bincount(cells, weights=weights[utterance], minlength=size)
    return Resampled(found, whole, drawn.reshape(number, *shape), None)


def utterances(table: PredictionTable | DimensionTable) -> tuple[Codes, Codes]:
    """Which utterance each row is of `[n]`, and the speaker of each utterance."""
    _, first, place = np.unique(table.id, return_index=True, return_inverse=True)
    _, speakers = np.unique(table.speaker[first], return_inverse=True)
    return place.astype(np.int64), speakers.astype(np.int64)
