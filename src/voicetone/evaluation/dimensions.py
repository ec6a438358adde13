"""Concordance of predicted with rated dimensions (arousal, valence, dominance)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.evaluation.bootstrap import DRAWS, draws, interval, no_interval, utterances
from voicetone.evaluation.table import DimensionTable

Values = NDArray[np.float64]


def ccc(truth: Values, predicted: Values) -> float:
    """Lin's concordance correlation coefficient (Lin, Biometrics 1989) of two arrays `[n]`.

    NaN where it is not defined: fewer than two values, or both arrays constant.
    """
    x, y = truth.astype(np.float64), predicted.astype(np.float64)
    return float(_concordance(_moments(x, y).sum(0)))


@dataclass(frozen=True, slots=True)
class Concordance:
    """The concordance of one dimension.

    `mean` and `sd` are over seeds, `low` and `high` the 95 % interval over speakers. The
    `speaker_` ones are of each speaker's concordance, averaged over the `speakers` that have two or
    more rated utterances.
    """

    dimension: str
    cases: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    speakers: int
    speaker_mean: float | None
    speaker_sd: float | None
    speaker_low: float | None
    speaker_high: float | None


def concordances(table: DimensionTable, number: int = DRAWS, seed: int = 0) -> list[Concordance]:
    """The concordance of each dimension over the utterances that have a rating."""
    found = []
    for k, name in enumerate(table.dimensions):
        rated = table.select(np.isfinite(table.truth[:, k]))
        if len(rated):
            found.append(_one(rated, name, k, number, seed))
    return found


def _one(table: DimensionTable, name: str, k: int, number: int, seed: int) -> Concordance:
    x, y = table.truth[:, k].astype(np.float64), table.predicted[:, k].astype(np.float64)
    seeds, place = np.unique(table.seed, return_inverse=True)
    utterance, speaker_of = utterances(table)
    speakers = int(speaker_of.max()) + 1
    cells = place * speakers + speaker_of[utterance]
    moments = _moments(x, y)
    shape = (len(seeds), speakers, moments.shape[1])

    def both(weights: Values | None) -> tuple[Values, Values]:
        rows = moments if weights is None else moments * weights[utterance][:, None]
        size = shape[0] * speakers
        found = [np.bincount(cells, weights=m, minlength=size).astype(np.float64) for m in rows.T]
        sums = np.stack(found, -1).reshape(shape)
        each = _concordance(sums)
        times = np.ones(speakers) if weights is None else _times(weights, speaker_of)
        known = np.isfinite(each) * times
        total = known.sum(-1)
        mean = np.where(known > 0, each, 0.0) * known
        averaged = np.divide(mean.sum(-1), total, out=np.full(len(total), np.nan), where=total > 0)
        return _concordance(sums.sum(1)), averaged

    overall, average = both(None)
    named = not (table.speaker == "").any()
    low = high = speaker_low = speaker_high = None
    if number and no_interval(table.speaker) is None:
        drawn = [both(weights) for weights in draws(speaker_of, number, seed)]
        low, high = interval(np.array([a.mean() for a, _ in drawn]))
        speaker_low, speaker_high = interval(np.array([b.mean() for _, b in drawn]))
    return Concordance(
        dimension=name,
        cases=len(np.unique(utterance)),
        mean=float(overall.mean()),
        sd=_sd(overall),
        low=low,
        high=high,
        speakers=int((np.bincount(speaker_of) > 1).sum()) if named else 0,
        speaker_mean=float(average.mean()) if named and np.isfinite(average).all() else None,
        speaker_sd=_sd(average) if named else None,
        speaker_low=speaker_low,
        speaker_high=speaker_high,
    )


def _moments(x: Values, y: Values) -> Values:
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _concordance(sums: Values) -> Values:
    """From the sums of the moments `[..., 6]`."""
    n = np.where(sums[..., 0] > 0, sums[..., 0], np.nan)
    x, y, xx, yy, xy = (sums[..., i] / n for i in range(1, 6))
    below = (xx - x * x) + (yy - y * y) + (x - y) ** 2
    known = (below > 1e-12) & (sums[..., 0] >= 2)
    return np.where(known, 2 * (xy - x * y) / np.where(known, below, 1.0), np.nan)


def _times(weights: Values, speaker_of: NDArray[np.int64]) -> Values:
    return np.bincount(speaker_of, weights=weights) / np.bincount(speaker_of)


def _sd(values: Values) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
