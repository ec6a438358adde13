"""Scores against hand-made and independent answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from voicetone.errors import DataError
from voicetone.evaluation.metrics import (
    by_speakers,
    expected_calibration_error,
    macro_f1,
    proportion,
    uar,
    wa,
)


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    assert uar(truth, predicted) == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert macro_f1(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert wa(truth, predicted) == pytest.approx((truth == predicted).mean())


def test_speakers_make_the_interval_wider_than_utterances() -> None:
    rng = np.random.default_rng(1)
    speakers = [f"s{i}" for i in range(8) for _ in range(25)]
    hit = np.repeat(rng.random(8), 25)  # speakers differ far more than utterances do
    truth = rng.integers(0, 2, 200)
    predicted = np.where(rng.random(200) < hit, truth, 1 - truth)
    by_speaker = by_speakers(wa, truth, predicted, speakers, bootstraps=100)
    alone = by_speakers(wa, truth, predicted, [str(i) for i in range(200)], bootstraps=100)
    assert by_speaker.low is not None
    assert by_speaker.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert by_speaker.low < by_speaker.value < by_speaker.high
    assert by_speaker.high - by_speaker.low > 2 * (alone.high - alone.low)
    assert by_speakers(wa, truth, predicted, speakers, bootstraps=100) == by_speaker


def test_the_global_generator_is_left_alone() -> None:
    truth = np.array([0, 1] * 10)
    np.random.seed(5)  # noqa: NPY002
    wanted = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    by_speakers(wa, truth, truth, [str(i % 5) for i in range(20)])
    assert np.random.random() == wanted  # noqa: NPY002


def test_four_speakers_get_no_interval() -> None:
    truth = np.array([0, 1, 0, 1])
    score = by_speakers(uar, truth, truth, ["a", "b", "c", "d"])
    assert (score.value, score.low, score.high) == (1.0, None, None)


def test_nothing_to_score() -> None:
    with pytest.raises(DataError):
        by_speakers(uar, np.zeros(0, int), np.zeros(0, int), [])
    with pytest.raises(DataError):
        proportion(0, 0)


def test_wilson() -> None:
    score = proportion(0, 28)
    assert score.low == 0.0
    assert score.high == pytest.approx(0.1206, abs=1e-3)
    half = proportion(50, 100)
    assert (half.low, half.high) == (
        pytest.approx(0.4038, abs=1e-3),
        pytest.approx(0.5962, abs=1e-3),
    )


def test_calibration_error() -> None:
    confidence = np.array([0.8] * 10)
    right = np.array([True] * 8 + [False] * 2)
    assert expected_calibration_error(confidence, right) == pytest.approx(0.0, abs=1e-9)
    assert expected_calibration_error(confidence, ~right) == pytest.approx(0.6)
