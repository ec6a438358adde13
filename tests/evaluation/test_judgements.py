"""Calibration, votes, not knowing, fairness, robustness, significance: against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ttest_ind
from sklearn.metrics import brier_score_loss, log_loss
from tests.evaluation.tables import LABELS, made

from voicetone.errors import DataError
from voicetone.evaluation import calibration as cal
from voicetone.evaluation import counts
from voicetone.evaluation.dimensions import ccc, concordances
from voicetone.evaluation.fairness import fairness
from voicetone.evaluation.robustness import (
    BACKGROUND,
    SMALL_CHANGE,
    TELEPHONE,
    Condition,
    robustness,
)
from voicetone.evaluation.selective import conformal_sets, coverage_curve
from voicetone.evaluation.significance import better_over_seeds, difference, seed_scores
from voicetone.evaluation.soft_labels import divergence, soft_labels
from voicetone.evaluation.table import DimensionTable, PredictionTable

DRAWS = 200


# Calibration


def test_proper_scores_against_scikit_learn() -> None:
    t = made()
    p = t.scores.astype(float)
    p /= p.sum(1, keepdims=True)
    assert cal.nll(t.scores, t.truth_codes) == pytest.approx(log_loss(t.truth_codes, p), abs=1e-5)
    by_label = [brier_score_loss(t.truth_codes == k, p[:, k]) for k in range(4)]
    assert cal.brier(t.scores, t.truth_codes) == pytest.approx(sum(by_label), abs=1e-5)


def test_a_model_that_is_too_sure_is_cooled() -> None:
    t = made(speakers=20, each=100)
    honest = cal.temperature(t.scores, t.truth_codes)
    sure = cal.scale(t.scores, 0.4)
    assert cal.temperature(sure, t.truth_codes) == pytest.approx(honest / 0.4, rel=0.01)
    found = cal.calibration(made(speakers=20, each=100, scores=sure))
    assert found is not None
    assert found.nll_scaled is not None
    assert found.ece_scaled is not None
    assert found.nll_scaled < found.nll
    assert found.ece_scaled < found.ece / 2
    assert sum(b.cases for b in found.bins) == len(t)


def test_calibration_needs_probabilities_and_for_scaling_speakers() -> None:
    t = made()
    assert cal.calibration(made(scores=np.log(t.scores))) is None
    found = cal.calibration(made(speaker=None))
    assert found is not None
    assert found.nll_scaled is None


def test_reliability_bins_hold_their_cases() -> None:
    p = np.array([[0.85, 0.15], [0.85, 0.15], [0.25, 0.75], [1.0, 0.0]], dtype=np.float32)
    bins = cal.reliability(p, np.array([0, 1, 1, 0]))
    assert [(b.low, b.cases, b.accuracy) for b in bins] == [(0.7, 1, 1), (0.8, 2, 0.5), (0.9, 1, 1)]


# Votes


def test_divergence_against_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.dirichlet(np.ones(4), 20).astype(np.float32) for _ in range(2))
    a[0] = b[0] = (1, 0, 0, 0)
    a[1], b[1] = (1, 0, 0, 0), (0, 1, 0, 0)
    wanted = [jensenshannon(x, y, base=2) ** 2 for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(divergence(a, b), np.nan_to_num(wanted), atol=1e-6)
    assert divergence(a, b)[1] == pytest.approx(1.0)


def test_strata_of_votes() -> None:
    votes = np.array([[5, 0, 0, 0]] * 4 + [[3, 2, 0, 0]] * 4 + [[2, 1, 1, 1]] * 4 + [[0] * 4] * 4)
    t = made(speakers=4, each=4, votes=votes)
    found = soft_labels(t)
    assert found is not None
    assert found.cases == 12
    assert [s.cases for s in found.strata] == [4, 4, 4]
    assert soft_labels(made(votes=None)) is None


# Not knowing


def test_the_surest_are_right_more_often() -> None:
    t = made(speakers=20, each=50)
    curve = coverage_curve(t)
    assert curve[0].coverage == 1.0
    whole = counts.count(t.truth_codes, t.predicted_codes, 4)
    assert curve[0].wa == pytest.approx(counts.wa(whole))
    assert curve[0].uar == pytest.approx(counts.uar(whole))
    assert curve[-1].wa > curve[0].wa + 0.1
    half = next(p for p in curve if p.coverage == pytest.approx(0.5, abs=0.01))
    kept = t.scores.max(1) >= half.threshold
    assert half.wa == pytest.approx((t.truth == t.predicted)[kept].mean())


def test_equal_confidences_are_answered_together() -> None:
    p = np.tile([0.7, 0.1, 0.1, 0.1], (40, 1))
    assert [x.coverage for x in coverage_curve(made(speakers=4, each=10, scores=p))] == [1.0]


def test_labels_alone_have_no_curve() -> None:
    assert coverage_curve(made(scores=np.eye(4)[made().predicted_codes])) == []
    assert coverage_curve(made(scores=np.log(made().scores))) != []


def test_sets_cover_the_truth_of_other_speakers() -> None:
    found = conformal_sets(made(speakers=40, each=50))
    for sets in found:
        assert sets.coverage == pytest.approx(sets.target, abs=0.03)
        assert sets.lowest <= sets.coverage <= sets.highest
    assert [s.size for s in found] == sorted(s.size for s in found)
    assert conformal_sets(made(speakers=4)) == []
    assert conformal_sets(made(scores=np.log(made().scores))) == []


def test_calibration_speakers_are_not_judged() -> None:
    """Were the same rows calibrated and judged, speakers as unlike as these would be covered."""
    t = made(speakers=8, each=50)
    p = t.scores.copy()
    odd = np.isin(t.speaker, ("sp01", "sp03"))
    p[odd] = p[odd][:, [1, 2, 3, 0]]
    spread = conformal_sets(made(speakers=8, each=50, scores=p))[1]
    assert spread.highest - spread.lowest > 0.15


# Groups


def test_a_group_that_is_served_worse_is_found() -> None:
    t = made(speakers=20, each=80)
    assert [(f.kind, f.passed) for f in fairness(t, DRAWS)] == [("sex", True)]
    p = t.scores.copy()
    men = np.flatnonzero(t.groups["sex"] == "male")[::2]
    p[men] = p[men][:, [1, 2, 3, 0]]
    worse = fairness(made(speakers=20, each=80, scores=p), DRAWS)[0]
    female, male = worse.groups
    assert not worse.passed
    assert not male.passed
    assert male.gap < -0.1 < 0.1 < female.gap
    assert male.high is not None
    assert male.high < 0
    assert (male.speakers, male.cases) == (10, 800)
    assert male.beyond.startswith("UAR; precision of ")
    assert male.certain
    assert worse.certain
    for gap in male.labels:
        assert gap.precision_low is not None
        assert gap.precision_high is not None
        assert gap.precision is not None
        assert gap.precision_low < gap.precision < gap.precision_high


def test_groups_are_balanced_by_truth() -> None:
    """Groups alike but for how often each label occurs: the same precision once balanced."""
    rng = np.random.default_rng(0)
    n = 20_000
    sex = np.repeat(["female", "male"], n)
    truth = np.concatenate([rng.choice(2, n, p=(0.9, 0.1)), rng.choice(2, n, p=(0.1, 0.9))])
    said = np.where(rng.random(2 * n) < 0.8, truth, 1 - truth)
    t = PredictionTable(
        id=np.arange(2 * n).astype(str),
        truth=np.array(["a", "b"])[truth],
        labels=("a", "b"),
        scores=np.eye(2)[said],
        speaker=np.arange(2 * n).astype(str),
        groups={"sex": sex},
    )
    (found,) = fairness(t, number=0)
    assert found.passed
    for group in found.groups:
        assert group.gap == pytest.approx(0, abs=0.02)
        for label in group.labels:
            assert label.precision == pytest.approx(0, abs=0.02)


def test_a_gap_that_chance_can_make_is_no_finding() -> None:
    """One model, one skill: of few cases a label's precision leaves the limits by itself."""
    (found,) = fairness(made(speakers=10, each=12), DRAWS)
    assert not found.passed
    assert not found.certain
    far = [x for g in found.groups for x in g.labels if not x.passed]
    assert far
    for group in found.groups:
        assert (group.beyond == "") == group.passed
        assert not group.certain
    (none,) = fairness(made(speakers=7, each=12), DRAWS)  # 4 and 3: too few for intervals
    assert not none.certain
    assert none.groups[0].labels[0].precision_low is None


def test_kinds_of_groups() -> None:
    t = made(speakers=10, each=8)
    age = np.array(["22", "35.5", "50", "", "elderly"])[np.arange(80) % 5]
    found = {
        f.kind: f
        for f in fairness(
            made(
                speakers=10,
                each=8,
                groups={"age": age, "race": np.full(80, "")},
                corpus=np.array(["a", "b"])[np.arange(80) // 40],
            ),
            DRAWS,
        )
    }
    assert set(found) == {"age", "corpus"}
    assert [g.name for g in found["age"].groups] == [
        "30 to 49",
        "50 and over",
        "elderly",
        "under 30",
    ]
    assert found["age"].unknown == 16
    assert len(t) == 80


def test_a_group_of_few_speakers_has_no_interval() -> None:
    t = made(speakers=7)
    (found,) = fairness(t, DRAWS)
    assert [(g.speakers, g.low is None) for g in found.groups] == [(4, True), (3, True)]


# Robustness


def test_limits_of_robustness() -> None:
    clean = made(speakers=10, each=40)
    changed = clean.scores.copy()
    changed[:24] = changed[:24][:, [1, 2, 3, 0]]  # 6 %
    noisy = made(scores=changed)
    found = robustness(
        clean,
        [
            Condition("gain", clean, SMALL_CHANGE),
            Condition("cropped", noisy, SMALL_CHANGE),
            Condition("babble", noisy, BACKGROUND),
            Condition("telephone", noisy, TELEPHONE),
            Condition("5 dB", noisy),
        ],
        DRAWS,
    )
    assert [e.passed for e in found] == [True, False, True, True, None]
    assert found[0].delta_uar == 0
    assert found[0].unchanged == 1
    assert found[1].unchanged == pytest.approx(0.94, abs=0.005)
    assert -0.06 < found[1].delta_uar < 0
    assert found[1].low is not None


def test_robustness_needs_the_same_utterances() -> None:
    clean = made()
    with pytest.raises(DataError, match="babble: utterance utt00000 is not among"):
        robustness(clean, [Condition("babble", clean.select(np.arange(1, len(clean))))])
    with pytest.raises(DataError, match="babble: it has 1 predictions more"):
        robustness(clean.select(np.arange(1, len(clean))), [Condition("babble", clean)])


# Significance


def test_a_better_model_is_told_from_an_equal_one() -> None:
    a, b, c = made(skill=3.0, number=1), made(skill=3.0, number=1), made(skill=1.2, number=1)
    same = difference(a, b, number=DRAWS)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    apart = difference(a, c, number=DRAWS)
    assert apart.low is not None
    assert apart.p is not None
    assert 0 < apart.low < apart.value
    assert apart.p < 0.02
    back = difference(c, a, number=DRAWS)
    assert back.value == pytest.approx(-apart.value)
    assert back.high == pytest.approx(-apart.low)


def test_pairing_makes_the_interval_narrower() -> None:
    t = made(speakers=10, each=60)
    p = t.scores.copy()
    p[::20] = p[::20][:, [1, 2, 3, 0]]
    found = difference(t, made(speakers=10, each=60, scores=p), number=DRAWS)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low < 0.05


def test_only_shared_utterances_are_compared() -> None:
    t = made()
    found = difference(t, t.select(np.arange(100, 400)), number=DRAWS)
    assert (found.utterances, found.left_out, found.value) == (300, 100, 0)
    few = difference(made(speakers=4), made(speakers=4))
    assert few.low is None
    assert "too few" in str(few.reason)


def test_runs_that_can_not_be_compared() -> None:
    t = made()
    with pytest.raises(DataError, match="no utterance in common"):
        difference(t, made(id=np.array([f"x{i}" for i in range(len(t))])))
    other = t.truth.copy()
    other[3] = next(label for label in LABELS if label != other[3])
    with pytest.raises(DataError, match=r"utt00003: its true label is .* one label rule"):
        difference(t, made(truth=other))


def test_seeds() -> None:
    good, bad = made(seeds=(0, 1, 2, 3), skill=2.2), made(seeds=(0, 1, 2), skill=1.5)
    a, b = seed_scores(good), seed_scores(bad)
    assert (len(a), len(b)) == (4, 3)
    p = better_over_seeds(a, b)
    assert p == pytest.approx(ttest_ind(a, b, equal_var=False, alternative="greater").pvalue)
    assert p is not None
    assert p < 0.05
    assert better_over_seeds(a, b[:1]) is None
    assert better_over_seeds([0.5, 0.5], [0.5, 0.5]) is None
    assert better_over_seeds([0.1] * 3, [0.2] * 3) is None  # their SD is not quite 0


# Dimensions


def dimension_table(speakers: int = 8, each: int = 50, offset: float = 0.0) -> DimensionTable:
    rng = np.random.default_rng(0)
    n = speakers * each
    who = np.repeat(np.arange(speakers), each)
    truth = np.clip(0.5 + 0.2 * rng.normal(size=(n, 2)), 0, 1)
    bias = offset * rng.normal(size=(speakers, 2))[who]
    predicted = 0.8 * truth + 0.1 + 0.1 * rng.normal(size=(n, 2)) + bias
    truth[0, 1] = np.nan
    return DimensionTable(
        id=np.arange(n).astype(str),
        dimensions=("arousal", "valence"),
        truth=truth,
        predicted=predicted,
        speaker=np.array([f"s{i}" for i in who]),
    )


def test_ccc_by_its_definition() -> None:
    t = dimension_table()
    x, y = t.truth[:, 0].astype(float), t.predicted[:, 0].astype(float)
    wanted = 2 * np.corrcoef(x, y)[0, 1] * x.std() * y.std()
    wanted /= x.var() + y.var() + (x.mean() - y.mean()) ** 2
    assert ccc(x, y) == pytest.approx(wanted)
    assert ccc(x, x) == pytest.approx(1)
    assert ccc(x, -x) < 0
    assert np.isnan(ccc(np.ones(3), np.ones(3)))


def test_ccc_overall_and_per_speaker() -> None:
    t = dimension_table(offset=0.2)
    arousal, valence = concordances(t, DRAWS)
    assert (arousal.cases, valence.cases) == (400, 399)
    x, y = t.truth[:, 0].astype(float), t.predicted[:, 0].astype(float)
    assert arousal.mean == pytest.approx(ccc(x, y), abs=1e-6)
    each = [ccc(x[t.speaker == s], y[t.speaker == s]) for s in t.speakers]
    assert arousal.speaker_mean == pytest.approx(np.mean(each), abs=1e-6)
    assert arousal.low is not None
    assert arousal.high is not None
    assert arousal.low < arousal.mean < arousal.high
    assert arousal.speaker_low is not None
    assert arousal.sd is None


def test_ccc_without_speakers() -> None:
    t = dimension_table()
    (one, _) = concordances(
        DimensionTable(id=t.id, dimensions=t.dimensions, truth=t.truth, predicted=t.predicted)
    )
    assert (one.low, one.speakers, one.speaker_mean) == (None, 0, None)
