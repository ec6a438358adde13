"""Agreement, against the examples of its inventors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.corpora.agreement import (
    fleiss_kappa,
    krippendorff_interval,
    krippendorff_nominal,
)
from voicetone.errors import DataError

# 14 raters, 10 items, 5 labels: a much printed example of Fleiss' kappa, 0.210.
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: nominal 0.743,
# interval 0.849. Rows are four observers, 0 is missing.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]


def test_fleiss() -> None:
    assert fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)


def test_krippendorff() -> None:
    items = [[v for v in column if v] for column in zip(*OBSERVERS, strict=True)]
    counts = [[item.count(label) for label in range(1, 6)] for item in items]
    assert krippendorff_nominal(counts) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_interval(items) == pytest.approx(0.849, abs=5e-4)


@given(st.integers(2, 6), st.integers(2, 5), st.data())
def test_full_agreement_is_one(raters: int, labels: int, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, labels - 1), min_size=2, max_size=9))
    counts = raters * np.eye(labels)[chosen]
    for measure in (fleiss_kappa, krippendorff_nominal):
        value = measure(counts)
        assert math.isnan(value) if len(set(chosen)) == 1 else value == pytest.approx(1)
    numbers = krippendorff_interval([[float(c)] * raters for c in chosen])
    assert math.isnan(numbers) if len(set(chosen)) == 1 else numbers == pytest.approx(1)


def test_chance_is_about_zero() -> None:
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 4, (3000, 5))
    counts = np.stack([(drawn == label).sum(axis=1) for label in range(4)], axis=1)
    assert abs(fleiss_kappa(counts)) < 0.02
    assert abs(krippendorff_nominal(counts)) < 0.02
    assert abs(krippendorff_interval(drawn.astype(float).tolist())) < 0.02


def test_lone_ratings_are_left_out_and_some_are_needed() -> None:
    assert fleiss_kappa([*FLEISS, [1, 0, 0, 0, 0]]) == fleiss_kappa(FLEISS)
    for wrong in ([[1, 0], [0, 1]], [], [1, 2]):
        with pytest.raises(DataError, match="two people rated"):
            fleiss_kappa(wrong)
    with pytest.raises(DataError, match="two people rated"):
        krippendorff_interval([[1.0], []])
