"""Codes that follow their mixture pass, others are found out; stretching is monotone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from voicetone.errors import DataError
from voicetone.models.gmm_aae import Doubles, Mixture
from voicetone.training.gmm_match import Match, cautions, match, separability, split, stretch

LABELS = ("anger", "joy", "neutral", "sadness")
MIXTURE = Mixture(4)
TRUTH = np.arange(160, dtype=np.int64) % 4


def samples(seed: int, truth: np.ndarray = TRUTH) -> Doubles:
    return MIXTURE.sample(truth, (77, seed))


def radii(codes: Doubles) -> Doubles:
    return np.linalg.norm(codes, axis=1)


def test_separability_of_the_same_and_of_others() -> None:
    same = [separability(samples(i), samples(100 + i), i) for i in range(10)]
    assert 0.46 < np.mean(same) < 0.54
    assert min(same) < 0.5  # as it is: an estimate that is never below 0.5 is too high
    assert separability(samples(0), samples(1) + 30) == 1
    assert 0.6 < separability(samples(0), 0.6 * samples(1)) < 1


def test_separability_ignores_scale_and_constant_columns() -> None:
    one, other = samples(0), 0.6 * samples(1)
    plain = separability(one, other)
    scaled = np.array([1000.0, 0.001])
    assert separability(one * scaled, other * scaled) == pytest.approx(plain)
    padded = [np.column_stack([x, np.full(len(x), 7.0)]) for x in (one, other)]
    assert separability(*padded) == pytest.approx(plain)


def test_separability_of_unequal_counts_is_fair() -> None:
    rng = np.random.default_rng(0)
    aucs = [
        separability(samples(i, rng.integers(0, 4, 40)), samples(50 + i, rng.integers(0, 4, 160)))
        for i in range(20)
    ]
    assert 0.46 < np.mean(aucs) < 0.54


def test_equal_counts_of_classes_do_not_hide_a_difference() -> None:
    truth = TRUTH[:40]
    pairs = [(samples(i, truth), samples(50 + i, truth)) for i in range(20)]
    told = [separability(one, other, i, (truth, truth)) for i, (one, other) in enumerate(pairs)]
    left = [separability(one, other, i) for i, (one, other) in enumerate(pairs)]
    assert np.mean(left) < 0.42  # what `split` is there for
    assert 0.46 < np.mean(told) < 0.54


@pytest.mark.parametrize("counts", [(10, 0, 0), (17, 12, 3), (3, 3, 4)])
def test_split_is_the_same_on_both_sides(counts: tuple[int, ...]) -> None:
    classes = np.tile(np.repeat(np.arange(3), counts), 2)
    side = np.repeat([0, 1], len(classes) // 2)
    folds = split(side, classes, 4)
    table = np.zeros((2, 3, 5), int)
    np.add.at(table, (side, classes, folds), 1)
    np.testing.assert_array_equal(table[0], table[1])
    assert np.ptp(table.sum(1), axis=1).max() <= 1
    assert np.ptp(table, axis=2).max() <= 1
    assert (folds != split(side, classes, 5)).any()


@pytest.mark.parametrize("count", [0, 9])
def test_separability_of_too_few_is_nan(count: int) -> None:
    assert math.isnan(separability(samples(0)[:count], samples(1)))
    assert not math.isnan(separability(samples(0)[:10], samples(1)[:10]))


def test_separability_wants_the_same_columns_and_numbers() -> None:
    with pytest.raises(DataError, match="can't be compared"):
        separability(samples(0), samples(1)[:, :1])
    broken = samples(0)
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="1 of 320 codes to compare are no numbers"):
        separability(broken, samples(1))


def test_codes_from_the_mixture_match() -> None:
    found = match(samples(0), TRUTH, LABELS, MIXTURE, 5)
    assert not found.fails
    assert cautions(found) == []
    assert set(found.components) == set(LABELS)
    assert found.mean_distance == pytest.approx(found.prior_distance, rel=0.06)
    assert found == match(samples(0), TRUTH, LABELS, MIXTURE, 5)
    assert found != match(samples(0), TRUTH, LABELS, MIXTURE, 6)


def test_uneven_classes_are_no_difference() -> None:
    truth = np.repeat(np.arange(4), [100, 30, 20, 12])
    assert match(samples(0, truth), truth, LABELS, MIXTURE, 0).auc < 0.6


def test_the_class_that_strays_is_named() -> None:
    codes = samples(0)
    codes[TRUTH == 2] *= 0.2
    found = match(codes, TRUTH, LABELS, MIXTURE, 0)
    others = [auc for label, auc in found.components.items() if label != "neutral"]
    assert found.components["neutral"] > 0.9 > max(others)
    assert found.mean_distance < found.prior_distance


def test_shrunken_codes_fail_in_one_sentence() -> None:
    found = match(0.5 * samples(0), TRUTH, LABELS, MIXTURE, 0)
    assert found.fails
    (said,) = cautions(found)
    worst = max(found.components, key=lambda label: found.components[label])
    assert f"AUC of {found.auc:.2f}" in said
    assert "limit 0.65" in said
    assert f"worst in {worst} (" in said


def test_swapped_classes_fail() -> None:
    """The cloud as a whole looks right, and no class is at its place."""
    codes = samples(0, (TRUTH + 1) % 4)
    found = match(codes, TRUTH, LABELS, MIXTURE, 0)
    assert found.auc < 0.6
    assert found.within > 0.95
    assert found.fails
    assert min(found.components.values()) > 0.95


def test_rare_classes_are_not_judged() -> None:
    truth = np.repeat(np.arange(3), [40, 40, 9])
    found = match(samples(0, truth), truth, LABELS, MIXTURE, 0)
    assert math.isnan(found.components["neutral"])
    assert math.isnan(found.components["sadness"])
    assert not math.isnan(found.components["anger"])
    few = match(samples(0)[:8], TRUTH[:8], LABELS, MIXTURE, 0)
    assert math.isnan(few.auc)
    assert not few.fails
    assert "fewer than 10" in cautions(few)[0]


def test_cautions_do_without_components() -> None:
    (said,) = cautions(Match(0.9, {"anger": math.nan}, 4.0, 9.0))
    assert "nan" not in said
    assert "worst" not in said


def test_stretch_gives_strangers_the_distances_of_the_mixture() -> None:
    bent = [x * (0.3 + 0.02 * radii(x))[:, None] for x in (samples(1), samples(2))]
    found = stretch(bent[0], bent[1], TRUTH, MIXTURE)
    wanted = np.quantile(radii(samples(3)), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(np.quantile(radii(found), [0.25, 0.5, 0.75]), wanted, rtol=0.15)
    before = match(bent[0], TRUTH, LABELS, MIXTURE, 0)
    after = match(found, TRUTH, LABELS, MIXTURE, 0)
    assert before.fails
    assert after.auc < 0.6 < before.auc


def test_stretch_maps_quantiles_of_the_reference_itself() -> None:
    reference = 0.4 * samples(2)
    found = stretch(reference, reference, TRUTH, MIXTURE)
    wanted = np.median(radii(MIXTURE.sample(np.repeat(TRUTH, 100), (9,))))
    assert np.median(radii(found)) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("count", [1, 7, 12, 35, 160])
def test_stretch_is_strictly_monotone_and_keeps_directions(count: int) -> None:
    line = np.linspace(0, 60, 2000)[:, None] * np.array([[0.6, -0.8]])
    found = stretch(line, 0.5 * samples(4)[:count], TRUTH[:count], MIXTURE)
    assert (np.diff(radii(found)) > 0).all()
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1:] / radii(found)[1:, None], [[0.6, -0.8]] * 1999)


def test_stretch_of_few_or_equal_references_is_one_factor() -> None:
    codes = samples(0)
    few = stretch(codes, 0.5 * samples(1)[:9], TRUTH[:9], MIXTURE)
    ratio = radii(few) / radii(codes)
    assert ratio == pytest.approx(ratio[0])
    assert ratio[0] == pytest.approx(2, rel=0.4)
    equal = stretch(codes, np.full((30, 2), 3.0), TRUTH[:30], MIXTURE)
    ratio = radii(equal) / radii(codes)
    assert ratio == pytest.approx(ratio[0])


def test_stretch_with_references_in_the_middle() -> None:
    half = samples(1)[:40].copy()
    half[:20] = 0
    assert (
        np.diff(radii(stretch(np.array([[1.0, 0], [2, 0]]), half, TRUTH[:40], MIXTURE))) > 0
    ).all()
    with pytest.raises(DataError, match="30 reference codes lie in the middle"):
        stretch(samples(0), np.zeros((30, 2)), TRUTH[:30], MIXTURE)


def test_arrays_that_do_not_fit() -> None:
    codes = samples(0)
    with pytest.raises(DataError, match="don't fit a mixture in 2 dimensions"):
        match(codes[:, :1], TRUTH, LABELS, MIXTURE, 0)
    with pytest.raises(DataError, match="160 codes with 3 classes"):
        match(codes, TRUTH[:3], LABELS, MIXTURE, 0)
    with pytest.raises(DataError, match="leave utterances without a label out"):
        match(codes, TRUTH - 1, LABELS, MIXTURE, 0)
    with pytest.raises(DataError, match="3 labels for a mixture of 4"):
        match(codes, TRUTH, LABELS[:3], MIXTURE, 0)
    with pytest.raises(DataError, match="one code at least"):
        stretch(codes, codes[:0], TRUTH[:0], MIXTURE)
    with pytest.raises(DataError, match="160 of 160 codes are no numbers"):
        stretch(codes * np.nan, codes, TRUTH, MIXTURE)


def test_more_dimensions_than_the_circle() -> None:
    mixture = Mixture(4, size=5)
    codes = mixture.sample(TRUTH, (1,))
    assert not match(codes, TRUTH, LABELS, mixture, 0).fails
    assert (
        match(stretch(0.5 * codes, 0.5 * codes, TRUTH, mixture), TRUTH, LABELS, mixture, 0).auc
        < 0.62
    )
