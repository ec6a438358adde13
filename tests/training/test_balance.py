"""Balancing: equal classes, nothing of unlabelled rows, bounded repetition, seeded."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from voicetone.errors import UsageError
from voicetone.training.balance import (
    class_weights,
    inverse_frequency,
    oversampled,
    undersampled,
)

TRUTH = np.array([0] * 10 + [1] * 3 + [-1] * 2 + [3] * 5)


def counts(truth: np.ndarray, rows: np.ndarray) -> dict[int, int]:
    names, found = np.unique(truth[rows], return_counts=True)
    return dict(zip(names.tolist(), found.tolist(), strict=True))


def test_class_weights() -> None:
    weights = class_weights(TRUTH, 5)
    known = TRUTH[TRUTH >= 0]
    assert weights.dtype == np.float32
    assert weights[[2, 4]].tolist() == [0.0, 0.0]
    assert weights[known].mean() == pytest.approx(1.0)
    np.testing.assert_allclose(
        weights[[0, 1, 3]],
        compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=known),
        rtol=1e-6,
    )
    assert class_weights(np.full(3, -1), 2).tolist() == [0.0, 0.0]
    assert class_weights(np.zeros(0, dtype=np.int64), 2).tolist() == [0.0, 0.0]


def test_weights_of_rows_are_those_of_their_corpus() -> None:
    truth = np.array([0, 0, 0, 1, -1, 2, 1, -1])
    corpus = np.array(["a"] * 5 + ["b"] * 2 + ["c"])
    weights = inverse_frequency(truth, corpus)
    np.testing.assert_allclose(weights[:4], class_weights(truth[:4], 3)[truth[:4]])
    assert weights[4:].tolist() == [0.0, 1.0, 1.0, 0.0]


def test_oversampled() -> None:
    rows = oversampled(TRUTH, np.random.default_rng(0))
    assert counts(TRUTH, rows) == {0: 10, 1: 10, 3: 10}
    often = np.bincount(rows, minlength=len(TRUTH))
    assert (often[:10] == 1).all()
    assert sorted(often[10:13].tolist()) == [3, 3, 4]
    assert (often[15:] == 2).all()
    assert (np.diff(rows) >= 0).all()
    np.testing.assert_array_equal(rows, oversampled(TRUTH, np.random.default_rng(0)))
    assert len({tuple(oversampled(TRUTH, np.random.default_rng(s))) for s in range(20)}) == 3


@pytest.mark.parametrize(("most", "wanted"), [(1, [10, 3, 5]), (2, [10, 6, 10]), (9, [10] * 3)])
def test_repetition_is_bounded(most: int, wanted: list[int]) -> None:
    rows = oversampled(TRUTH, np.random.default_rng(0), most=most)
    assert list(counts(TRUTH, rows).values()) == wanted
    assert np.bincount(rows).max() <= max(most, 1)


def test_undersampled() -> None:
    rows = undersampled(TRUTH, np.random.default_rng(0))
    assert counts(TRUTH, rows) == {0: 3, 1: 3, 3: 3}
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(rows, undersampled(TRUTH, np.random.default_rng(0)))
    assert len({tuple(undersampled(TRUTH, np.random.default_rng(s))) for s in range(20)}) > 10


def test_groups_are_balanced_each_for_itself() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 4, 300)
    speakers = np.array(["s0", "s1", "s2"])[rng.integers(0, 3, 300)]
    truth[(speakers == "s2") & (truth == 3)] = -1  # one speaker lacks a class
    for take, pick in ((oversampled, max), (undersampled, min)):
        rows = take(truth, np.random.default_rng(1), groups=speakers)
        for speaker in np.unique(speakers):
            own = counts(truth, np.flatnonzero((speakers == speaker) & (truth >= 0)))
            found = counts(truth, rows[speakers[rows] == speaker])
            assert found == dict.fromkeys(own, pick(own.values()))
            assert len(own) == (3 if speaker == "s2" else 4)


def test_only_labelled_rows_and_nothing_from_nothing() -> None:
    for take in (oversampled, undersampled):
        assert (TRUTH[take(TRUTH, np.random.default_rng(0))] >= 0).all()
        for empty in (np.zeros(0, dtype=np.int64), np.full(4, -1)):
            rows = take(empty, np.random.default_rng(0))
            assert rows.dtype == np.int64
            assert len(rows) == 0


def test_no_bound_under_one() -> None:
    with pytest.raises(UsageError, match="0 repetitions at most: give a number from 1 on"):
        oversampled(TRUTH, np.random.default_rng(0), most=0)
