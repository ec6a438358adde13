"""How far raters agree beyond chance.

Small and here, rather than a dependency: the packages that compute Krippendorff's alpha bring
little else, and both measures are a few lines of numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voicetone.errors import DataError


def fleiss_kappa(counts: ArrayLike) -> float:
    """Fleiss' kappa (Psychological Bulletin 76(5), 1971).

    Where the number of raters differs between items, each item counts the same, which is the usual
    extension; Krippendorff's alpha is made for that case.

    Args:
        counts: `[items, labels]`, how many raters gave each label; items with fewer than two
            raters are left out.

    Returns:
        1 for full agreement, 0 for chance; NaN if everybody gave one and the same label.

    Raises:
        DataError: no item with two raters.
    """
    table = _table(counts)
    raters = table.sum(axis=1)
    observed = float(np.mean((table * (table - 1)).sum(axis=1) / (raters * (raters - 1))))
    shares = table.sum(axis=0) / raters.sum()
    expected = float((shares**2).sum())
    return float("nan") if expected >= 1 else (observed - expected) / (1 - expected)


def krippendorff_nominal(counts: ArrayLike) -> float:
    """Krippendorff's alpha for labels (Content Analysis, 4th edition, 2018).

    Args, Returns, Raises: as `fleiss_kappa`; items may have any number of raters.
    """
    table = _table(counts)
    raters = table.sum(axis=1)
    pairs = (raters**2 - (table**2).sum(axis=1)) / (raters - 1)
    totals = table.sum(axis=0)
    values = totals.sum()
    expected = (values**2 - (totals**2).sum()) / (values - 1)
    return float("nan") if expected == 0 else float(1 - pairs.sum() / expected)


def krippendorff_interval(ratings: Sequence[Sequence[float]]) -> float:
    """Krippendorff's alpha for numbers, where differences count by their square.

    Args:
        ratings: per item the raters' values; items with fewer than two are left out.

    Returns:
        As `fleiss_kappa`; NaN if all values are equal.

    Raises:
        DataError: no item with two raters.
    """
    items = [np.asarray(values, dtype=float) for values in ratings if len(values) > 1]
    if not items:
        raise DataError("agreement needs an utterance that two people rated")
    # The sum of squared differences of all ordered pairs of n values is 2n² times their variance.
    observed = sum(2 * len(x) ** 2 * float(x.var()) / (len(x) - 1) for x in items)
    pooled = np.concatenate(items)
    expected = 2 * len(pooled) ** 2 * float(pooled.var()) / (len(pooled) - 1)
    return float("nan") if expected == 0 else 1 - observed / expected


def _table(counts: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or not (kept := table.sum(axis=1) > 1).any():
        raise DataError("agreement needs an utterance that two people rated")
    several: NDArray[np.float64] = table[kept]
    return several
