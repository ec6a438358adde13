"""Are 80 % sure predictions right in 80 % of cases? Functions of probabilities `[n, labels]`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.evaluation.metrics import expected_calibration_error
from voicetone.evaluation.table import PredictionTable
from voicetone.types import Floats

Codes = NDArray[np.int64]
LEAST = 1e-12
"""A probability of zero given to the truth would cost infinitely much; this costs 27.6 nats."""
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar of the reliability diagram: predictions with a confidence from `low` to `high`."""

    low: float
    high: float
    cases: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities can be taken at their word.

    `temperature` is what the log-probabilities are best divided by: above 1 the model is too sure.
    `nll_scaled` and `ece_scaled` are with a temperature from other speakers than those judged,
    None where there are too few.
    """

    nll: float
    brier: float
    ece: float
    temperature: float
    nll_scaled: float | None
    ece_scaled: float | None
    bins: list[Bin]


def calibration(table: PredictionTable, seed: int = 0) -> Calibration | None:
    """The calibration of a table; None where its scores are no probabilities."""
    if not table.probabilities or not len(table):
        return None
    p, truth = table.scores, table.truth_codes
    scaled = _cross_scaled(table, seed)
    return Calibration(
        nll=nll(p, truth),
        brier=brier(p, truth),
        ece=ece(p, truth),
        temperature=temperature(p, truth),
        nll_scaled=None if scaled is None else nll(scaled, truth),
        ece_scaled=None if scaled is None else ece(scaled, truth),
        bins=reliability(p, truth),
    )


def nll(probabilities: Floats, truth: Codes) -> float:
    """Mean negative log-likelihood of the truth, in nats."""
    given = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(given, LEAST)).mean())


def brier(probabilities: Floats, truth: Codes) -> float:
    """Mean squared distance to the truth's one-hot, summed over labels (Brier 1950): 0 to 2."""
    apart = probabilities.astype(np.float64)
    apart[np.arange(len(truth)), truth] -= 1
    return float((apart**2).sum(1).mean())


def ece(probabilities: Floats, truth: Codes) -> float:
    """Expected calibration error of the highest probability, over ten bins."""
    confidence = probabilities.max(1).astype(np.float64)
    return expected_calibration_error(confidence, probabilities.argmax(1) == truth, BINS)


def reliability(probabilities: Floats, truth: Codes, bins: int = BINS) -> list[Bin]:
    """The reliability diagram: bins of equal width that hold at least one case."""
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        Bin(
            low=b / bins,
            high=(b + 1) / bins,
            cases=int((place == b).sum()),
            confidence=float(confidence[place == b].mean()),
            accuracy=float(right[place == b].mean()),
        )
        for b in np.unique(place).tolist()
    ]


def temperature(probabilities: Floats, truth: Codes) -> float:
    """What log-probabilities are divided by for the least NLL (Guo et al., ICML 2017).

    Between 0.05 and 20, by golden section: the loss has one minimum.
    """
    logs = np.log(np.maximum(probabilities.astype(np.float64), LEAST))

    def loss(x: float) -> float:
        z = logs / np.exp(x)
        top = z.max(1, keepdims=True)
        total = np.log(np.exp(z - top).sum(1)) + top[:, 0]
        return float((total - z[np.arange(len(truth)), truth]).mean())

    low, high = np.log(0.05), np.log(20.0)
    ratio = (5**0.5 - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-3:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(b)
    return float(np.exp((low + high) / 2))


def scale(probabilities: Floats, by: float) -> Floats:
    """Probabilities with their logarithms divided by a temperature."""
    z = np.log(np.maximum(probabilities.astype(np.float64), LEAST)) / by
    z = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(z / z.sum(1, keepdims=True), dtype=np.float32)


def halves(table: PredictionTable, seed: int) -> NDArray[np.bool_] | None:
    """A mask of the rows of half the speakers; None with fewer than two of them."""
    names = np.array(table.speakers)
    if len(names) < 2 or (table.speaker == "").any():
        return None
    chosen = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
    return np.isin(table.speaker, chosen)


def _cross_scaled(table: PredictionTable, seed: int) -> Floats | None:
    half = halves(table, seed)
    if half is None:
        return None
    scaled = np.empty_like(table.scores)
    for judged in (half, ~half):
        fitted = temperature(table.scores[~judged], table.truth_codes[~judged])
        scaled[judged] = scale(table.scores[judged], fitted)
    return scaled
