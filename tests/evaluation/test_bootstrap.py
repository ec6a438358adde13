"""The bootstrap over speakers: against the package whose scheme it is, and against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from confidence_intervals import Bootstrap
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_recall_fscore_support

from voicetone.evaluation import counts, metrics
from voicetone.evaluation.bootstrap import draws, interval, no_interval, resample
from voicetone.evaluation.table import PredictionTable

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]


def answers(speakers: int = 12, each: int = 40, labels: int = 4, seed: int = 0) -> Pair:
    """Speakers who differ in how well they are understood, with sizes that differ too."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(each // 2, each * 2, speakers)
    who = np.repeat(np.arange(speakers), sizes)
    truth = rng.integers(0, labels, len(who))
    right = rng.random(len(who)) < rng.beta(6, 3, speakers)[who]
    return truth, np.where(right, truth, rng.integers(0, labels, len(who))), who


def test_counts_against_scikit_learn() -> None:
    truth, predicted, _ = answers()
    predicted[predicted == 3] = 0  # a label that is never said
    found = counts.count(truth, predicted, 5)  # and one that never occurs
    p, r, f, _ = precision_recall_fscore_support(truth, predicted, zero_division=np.nan)
    np.testing.assert_allclose(counts.recall(found)[:4], r)
    np.testing.assert_allclose(counts.precision(found)[:4], p)
    np.testing.assert_allclose(counts.f1(found)[:4], np.nan_to_num(f))
    assert np.isnan(counts.recall(found)[4])
    assert counts.uar(found) == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert counts.wa(found) == pytest.approx((truth == predicted).mean())
    for average, score in (("macro", counts.macro_f1), ("weighted", counts.weighted_f1)):
        assert score(found) == pytest.approx(f1_score(truth, predicted, average=average))


@pytest.mark.parametrize("name", list(counts.HEADLINE))
def test_counts_are_the_metrics(name: str) -> None:
    truth, predicted, _ = answers(seed=3)
    found = counts.count(truth, predicted, 4)
    assert counts.HEADLINE[name](found) == pytest.approx(getattr(metrics, name)(truth, predicted))


def test_a_draw_takes_whole_speakers_and_their_number_of_utterances() -> None:
    _, _, who = answers(speakers=6)
    sizes = np.bincount(who)
    seen = set()
    for weights in draws(who, 50):
        per_speaker = np.bincount(who, weights=weights)
        times = per_speaker / sizes
        assert (times == np.round(times)).all()
        assert times.sum() == 6
        assert (weights >= 0).all()
        seen.add(tuple(times))
    assert len(seen) > 20


def test_rows_may_stand_in_any_order() -> None:
    truth, predicted, who = answers()
    mixed = np.random.default_rng(1).permutation(len(who))
    for weights in draws(who[mixed], 5):
        times = np.bincount(who[mixed], weights=weights) / np.bincount(who)
        assert (times == np.round(times)).all()
    a = metrics.by_speakers(metrics.uar, truth, predicted, [str(i) for i in who])
    b = metrics.by_speakers(
        metrics.uar, truth[mixed], predicted[mixed], [str(i) for i in who[mixed]]
    )
    assert a.value == pytest.approx(b.value)
    assert a.low == pytest.approx(b.low, abs=0.01)


@pytest.mark.parametrize("metric", [metrics.uar, metrics.wa, metrics.macro_f1])
def test_against_the_package(metric: object) -> None:
    """The same distribution of scores, to what the chance of 1,000 draws allows.

    The package seeds each speaker's draw alike, so its rows are mixed first.
    """
    truth, predicted, who = answers(speakers=15, each=30, seed=7)
    mixed = np.random.default_rng(2).permutation(len(who))
    truth, predicted, who = truth[mixed], predicted[mixed], who[mixed]
    theirs = Bootstrap(1000, metric).run(predicted, truth, who)
    low, high = np.percentile(theirs, (2.5, 97.5))
    ours = metrics.by_speakers(metric, truth, predicted, [str(i) for i in who])  # type: ignore[arg-type]
    assert ours.low is not None
    assert ours.high is not None
    width = high - low
    assert ours.low == pytest.approx(low, abs=0.12 * width)
    assert ours.high == pytest.approx(high, abs=0.12 * width)


def test_any_metric_can_be_drawn() -> None:
    truth, predicted, who = answers()

    def the_same(a: np.ndarray, b: np.ndarray) -> float:
        return float((a == b).mean())

    speakers = [str(i) for i in who]
    assert metrics.by_speakers(the_same, truth, predicted, speakers, bootstraps=50) == (
        metrics.by_speakers(metrics.wa, truth, predicted, speakers, bootstraps=50)
    )


def test_seeds_share_their_draws() -> None:
    truth, predicted, who = answers()
    n = len(truth)
    names = np.array(["a", "b", "c", "d"])
    both = PredictionTable(
        id=np.tile(np.array([f"u{i}" for i in range(n)]), 2),
        truth=np.tile(names[truth], 2),
        labels=tuple(names),
        scores=np.eye(4)[np.tile(predicted, 2)],
        speaker=np.tile(who.astype(str), 2),
        seed=np.repeat([3, 8], n),
    )
    found = resample(both, 20)
    assert found.seeds == (3, 8)
    assert found.drawn is not None
    np.testing.assert_array_equal(found.drawn[:, 0], found.drawn[:, 1])
    np.testing.assert_array_equal(found.whole[0], counts.count(truth, predicted, 4))
    assert found.drawn.sum((1, 2, 3)) == pytest.approx(2 * n, rel=0.4)


def test_where_there_is_no_interval() -> None:
    assert no_interval(np.array(["a", "b", "c", "d"])) is not None
    assert "4 speakers are too few" in str(no_interval(np.array(["a", "b", "c", "d"])))
    assert "name no speaker" in str(no_interval(np.array(["a", "b", "c", "d", "e", ""])))
    assert no_interval(np.array(["a", "b", "c", "d", "e"])) is None


def test_interval_is_of_the_middle_95_percent() -> None:
    low, high = interval(np.append(np.arange(1001.0), np.nan))
    assert (low, high) == (25.0, 975.0)
