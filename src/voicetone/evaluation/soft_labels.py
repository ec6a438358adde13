"""Judging against all raters' votes instead of one label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.evaluation import counts
from voicetone.evaluation.table import PredictionTable
from voicetone.types import Floats

STRATA = ((0.0, 1e-6, "all raters agree"), (1e-6, 1.0, "up to 1 bit"), (1.0, np.inf, "over 1 bit"))


@dataclass(frozen=True, slots=True)
class Stratum:
    """Utterances whose raters disagree to some degree (entropy of their votes)."""

    name: str
    cases: int
    uar: float
    wa: float
    divergence: float | None


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """Votes against probabilities; `divergence` is None where scores are no probabilities."""

    cases: int
    divergence: float | None
    entropy: float
    strata: list[Stratum]


def soft_labels(table: PredictionTable) -> SoftLabels | None:
    """The judgement of a table by its votes; None where it has none."""
    if table.votes is None:
        return None
    table = table.select(np.asarray(table.votes.sum(1) > 0))
    if table.votes is None or not len(table):
        return None
    apart = divergence(table.votes, table.scores) if table.probabilities else None
    uncertain = entropy(table.votes)
    strata = []
    for low, high, name in STRATA:
        rows = (uncertain >= low) & (uncertain < high) if high < np.inf else uncertain >= low
        if rows.any():
            part = table.select(rows)
            found = counts.count(part.truth_codes, part.predicted_codes, len(table.labels))
            strata.append(
                Stratum(
                    name=name,
                    cases=len(part),
                    uar=float(counts.uar(found)),
                    wa=float(counts.wa(found)),
                    divergence=None if apart is None else float(apart[rows].mean()),
                )
            )
    mean = None if apart is None else float(apart.mean())
    return SoftLabels(len(table), mean, float(uncertain.mean()), strata)


def divergence(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Jensen–Shannon divergence of the rows of two arrays of shares, in bits: 0 to 1 `[n]`."""
    p, q = a.astype(np.float64), b.astype(np.float64)
    middle = (p + q) / 2
    return np.maximum(0.0, entropy(middle) - (entropy(p) + entropy(q)) / 2)


def entropy(shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy of each row, in bits `[n]`."""
    p = shares.astype(np.float64)
    return np.asarray(-(p * np.log2(np.where(p > 0, p, 1.0))).sum(1) + 0.0)
