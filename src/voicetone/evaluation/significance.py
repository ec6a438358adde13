"""Is one model better than another? A paired bootstrap over speakers, a t-test over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from voicetone.errors import DataError, MissingExtraError
from voicetone.evaluation.bootstrap import DRAWS, Codes, draws, interval, no_interval
from voicetone.evaluation.counts import HEADLINE, Counts
from voicetone.evaluation.table import PredictionTable, Texts


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the first model's score lies above the second's.

    Args:
        metric: its name in `HEADLINE`.
        value: the difference over the utterances that both have.
        low, high: 95 % interval, None where there can be none.
        p: two-sided, of no difference, by the paired bootstrap over speakers.
        utterances: that both tables have.
        left_out: that one of them only has.
        reason: why there is no interval.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    utterances: int
    left_out: int
    reason: str | None


def difference(
    first: PredictionTable,
    second: PredictionTable,
    metric: str = "uar",
    number: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """The difference of two models' scores, both drawn with the same speakers and utterances.

    Each model's score is the mean over its seeds.

    Raises:
        DataError: no utterance in common, or one with two true labels.
    """
    score = HEADLINE[metric]
    ids = np.intersect1d(first.id, second.id)
    if not len(ids):
        raise DataError("the runs have no utterance in common: compare runs on the same corpus")
    left_out = len(np.union1d(first.id, second.id)) - len(ids)
    one, two = (table.select(np.isin(table.id, ids)) for table in (first, second))
    speakers = _agreed(one, two, ids)
    counted = [_counter(table, ids) for table in (one, two)]

    def apart(weights: Counts | None) -> float:
        a, b = (float(score(_count(cells, weights)).mean()) for cells in counted)
        return a - b

    value = apart(None)
    reason = no_interval(speakers)
    if reason is not None:
        return Difference(metric, value, None, None, None, len(ids), left_out, reason)
    _, codes = np.unique(speakers, return_inverse=True)
    values = np.array([apart(w) for w in draws(codes.astype(np.int64), number, seed)])
    tail = 1 + min(int((values <= 0).sum()), int((values >= 0).sum()))
    p = min(1.0, 2 * tail / (number + 1))
    low, high = interval(values)
    return Difference(metric, value, low, high, p, len(ids), left_out, None)


def better_over_seeds(first: Sequence[float], second: Sequence[float]) -> float | None:
    """p of a one-tailed t-test that the first model's scores over seeds are higher.

    Which model comes first must not depend on the scores: putting the better one first doubles the
    chance of a small p. Welch's, as the runs of two models are not paired; None with fewer than two
    seeds for either, or where no score differs from another.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    return _welch(first, second, "greater")


def different_over_seeds(first: Sequence[float], second: Sequence[float]) -> float | None:
    """p of the same t-test, two-sided: that the two models' scores over seeds differ.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    return _welch(first, second, "two-sided")


def _welch(
    first: Sequence[float], second: Sequence[float], side: Literal["greater", "two-sided"]
) -> float | None:
    if min(len(first), len(second)) < 2 or max(np.ptp(first), np.ptp(second)) == 0:
        return None
    try:
        from scipy.stats import ttest_ind_from_stats
    except ImportError as error:
        raise MissingExtraError("a t-test", "report") from error
    # From the moments: given the scores, SciPy warns of each run that its seeds don't change.
    moments = [m for v in (first, second) for m in (np.mean(v), np.std(v, ddof=1), len(v))]
    return float(ttest_ind_from_stats(*moments, equal_var=False, alternative=side).pvalue)


def seed_scores(table: PredictionTable, metric: str = "uar") -> list[float]:
    """A metric of each seed, by ascending seeds."""
    ids = np.unique(table.id)
    return [float(v) for v in HEADLINE[metric](_count(_counter(table, ids), None))]


def _agreed(one: PredictionTable, two: PredictionTable, ids: Texts) -> Texts:
    """The speaker of each shared utterance, once it is sure that both mean the same truth."""
    _, first = np.unique(one.id, return_index=True)
    _, second = np.unique(two.id, return_index=True)
    truth, speakers = one.truth[first], one.speaker[first]
    other, others = two.truth[second], two.speaker[second]
    wrong = truth != other
    if wrong.any():
        name = str(ids[int(wrong.argmax())])
        raise DataError(
            f"{name}: its true label is {truth[wrong][0]} in one run and {other[wrong][0]} in "
            "another: compare runs under one label rule"
        )
    return np.asarray(np.where(speakers == "", others, speakers))


def _counter(table: PredictionTable, ids: Texts) -> tuple[Codes, Codes, tuple[int, int, int]]:
    """Each row's cell, its place in `ids`, and the shape of the counts."""
    labels = len(table.labels)
    seeds, place = np.unique(table.seed, return_inverse=True)
    cells = (place * labels + table.truth_codes) * labels + table.predicted_codes
    return cells, np.searchsorted(ids, table.id).astype(np.int64), (len(seeds), labels, labels)


def _count(counter: tuple[Codes, Codes, tuple[int, int, int]], weights: Counts | None) -> Counts:
    cells, rows, shape = counter
    of_row = None if weights is None else weights[rows]
    found = np.bincount(cells, weights=of_row, minlength=int(np.prod(shape)))
    return found.reshape(shape).astype(np.float64)
