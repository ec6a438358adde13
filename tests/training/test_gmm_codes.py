"""Codes by statistics, classifiers on codes, and made-up samples: who is looked at for what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from voicetone.evaluation.metrics import uar
from voicetone.models.gmm_aae import GmmAae, GmmConfig, Mixture
from voicetone.models.replicas import Draws
from voicetone.training.classifier_fit import Outcome
from voicetone.training.classifier_recipe import LinearSvm, RbfSvm
from voicetone.training.gmm_codes import Made, made_up, read_out, reference_codes, wanted
from voicetone.training.gmm_recipe import CodeSystem, Synthetic
from voicetone.training.replica_data import Job
from voicetone.types import Floats

COUNT, FEATURES, CLASSES = 150, 12, 3
ROWS = np.arange(COUNT)
TRUTH = ROWS % CLASSES
ONE = (LinearSvm("linear-svm", C=0.1),)
SEVERAL = (
    LinearSvm("linear-svm", C=(1e-4, 1e-2, 1.0)),
    RbfSvm("rbf-svm", C=(0.1, 10.0), gamma=0.3),
)


def features(seed: int = 0, apart: float = 1.0) -> Floats:
    """Rows whose class shows."""
    rng = np.random.default_rng(seed)
    centres = apart * rng.standard_normal((CLASSES, FEATURES))
    return (centres[TRUTH] + rng.standard_normal((COUNT, FEATURES))).astype(np.float32)


def noise(columns: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((COUNT, columns)).astype(np.float32)


def job(hidden: int = 0) -> Job:
    """90 rows train, of which the last have no label; 30 validate, 30 test."""
    cut = 90 - hidden
    return Job(0, 0, 3, ROWS[:cut], ROWS[cut:90], ROWS[90:120], ROWS[120:])


def system(codes: Any = "gmm-aae", **more: Any) -> CodeSystem:
    return CodeSystem("x", codes=codes, **{"readout": ONE, **more})


# Codes without a network.


def test_raw_codes_are_the_features() -> None:
    x = features()
    assert np.array_equal(reference_codes(system("raw"), 2, x, TRUTH, job()), x)


@pytest.mark.parametrize("size", [1, 2])
def test_lda_is_that_of_scikit_learn_on_labelled_rows(size: int) -> None:
    x, who = features(), job(hidden=20)
    found = reference_codes(system("lda"), size, x, TRUTH, who)
    model = LinearDiscriminantAnalysis(n_components=size)
    model.fit(x[:70].astype(np.float64), TRUTH[:70])
    assert found == pytest.approx(model.transform(x.astype(np.float64)), abs=1e-4)


@pytest.mark.parametrize("size", [1, 5])
def test_pca_is_that_of_scikit_learn_on_all_training_rows(size: int) -> None:
    x, who = features(), job(hidden=20)
    found = reference_codes(system("pca"), size, x, TRUTH, who)
    exact = x.astype(np.float64)
    assert found == pytest.approx(PCA(size).fit(exact[:90]).transform(exact), abs=1e-4)


@pytest.mark.parametrize("codes", ["lda", "pca"])
def test_who_does_not_train_has_no_say_in_the_codes(codes: str) -> None:
    x, who = features(), job(hidden=20)
    first = reference_codes(system(codes), 2, x, TRUTH, who)
    other, truth = x.copy(), TRUTH.copy()
    other[90:] = 5 * noise(FEATURES)[90:]
    truth[70:] = (truth[70:] + 1) % CLASSES
    again = reference_codes(system(codes), 2, other, truth, who)
    assert np.array_equal(first[:90], again[:90])
    assert not np.isclose(first[90:], again[90:]).any()
    other[:70] = features(seed=4)[:70]
    changed = reference_codes(system(codes), 2, other, truth, who)
    assert not np.allclose(first[70:90], changed[70:90])


# Classifiers on codes.


def read(
    by_size: dict[int, Floats], truth: Any = TRUTH, made: Made | None = None, **more: Any
) -> tuple[Outcome, int]:
    return read_out(system(**more), by_size, truth, CLASSES, job(), made)


def shuffled(part: slice) -> np.ndarray:
    truth = TRUTH.copy()
    truth[part] = (truth[part] + 1) % CLASSES
    return truth


def same(one: Outcome, other: Outcome) -> bool:
    return one.chosen == other.chosen and bool(np.array_equal(one.scores, other.scores))


@pytest.mark.parametrize("refit", [False, True])
def test_kernel_and_constants_are_those_that_do_best_on_validation_rows(refit: bool) -> None:
    """The same with scikit-learn by hand: training statistics, UAR on the rows that validate."""
    codes = features(apart=0.6)
    x = StandardScaler().fit(codes[:90]).transform(codes).astype(np.float64)
    tried: list[tuple[str, float, Any]] = [
        *(("linear-svm", c, LinearSVC(C=c, random_state=3)) for c in (1e-4, 1e-2, 1.0)),
        *(("rbf-svm", c, SVC(C=c, gamma=0.3)) for c in (0.1, 10.0)),
    ]
    for _, _, model in tried:
        model.fit(x[:90], TRUTH[:90])
    held = [uar(TRUTH[90:120], model.predict(x[90:120])) for *_, model in tried]
    assert len(set(held)) > 2
    outcome, _ = read({2: codes}, readout=SEVERAL, refit=refit)
    assert outcome.chosen["uar"] == pytest.approx(max(held))
    name, constant, best = tried[int(np.argmax(held))]
    assert (outcome.chosen["model"], outcome.chosen["C"]) == (name, constant)
    if refit:
        best.fit(x[:120], TRUTH[:120])
    assert outcome.scores == pytest.approx(best.decision_function(x[120:]), abs=1e-3)


def test_the_kernel_is_chosen_by_what_the_data_need() -> None:
    ring = noise(2)
    ring *= ((1 + 2 * TRUTH) / np.linalg.norm(ring, axis=1))[:, None].astype(np.float32)
    outcome, _ = read({2: ring}, readout=SEVERAL)
    assert outcome.chosen["model"] == "rbf-svm"
    assert uar(TRUTH[120:], outcome.scores.argmax(1)) > 0.9
    assert read({2: features(apart=2.0)}, readout=SEVERAL)[0].chosen["model"] == "linear-svm"


@pytest.mark.parametrize("refit", [False, True])
def test_labels_of_test_rows_change_nothing(refit: bool) -> None:
    codes = {2: features(apart=0.6), 3: features(seed=1, apart=0.6)}
    first, size = read(codes, readout=SEVERAL, refit=refit)
    again, other = read(codes, shuffled(slice(120, None)), readout=SEVERAL, refit=refit)
    assert size == other
    assert same(first, again)
    assert not same(first, read(codes, shuffled(slice(0, 90)), readout=SEVERAL, refit=refit)[0])


def test_codes_of_test_rows_have_no_say_in_the_others() -> None:
    codes = features(apart=0.6)
    other = codes.copy()
    other[120:] = 1e3
    one, two = (read({2: x}, readout=SEVERAL)[0] for x in (codes, other))
    assert one.chosen == two.chosen
    half = codes.copy()
    half[121:] = 1e3
    assert read({2: half}, readout=SEVERAL)[0].scores[0] == pytest.approx(one.scores[0], abs=1e-4)


def test_validation_rows_train_the_chosen_classifier_if_they_may() -> None:
    codes = {2: features(apart=0.6)}
    truth = shuffled(slice(90, 120))
    assert same(read(codes, refit=False)[0], read(codes, truth, refit=False)[0])
    assert not same(read(codes, refit=True)[0], read(codes, truth, refit=True)[0])


@pytest.mark.parametrize(
    ("readout", "order"),
    [
        (SEVERAL, (1, 2)),
        (SEVERAL, (2, 1)),
        (ONE, (1, 2)),
        (ONE, (2, 1)),
    ],
)
def test_the_size_is_the_one_that_does_best_on_validation_rows(
    readout: Any, order: tuple[int, int]
) -> None:
    """Codes of size 1 are noise for those who validate, those of size 2 for those who test."""
    good, bad = features(apart=2.0), noise(FEATURES)
    first, second = good.copy(), good.copy()
    first[90:120], second[120:] = bad[90:120], bad[120:]
    codes = {1: first, 2: second}
    outcome, size = read({k: codes[k] for k in order}, readout=readout)
    assert size == 2
    assert outcome.chosen["size"] == 2
    assert same(
        Outcome(outcome.scores, False, {}),
        Outcome(read({2: second}, readout=readout)[0].scores, False, {}),
    )


def test_of_one_size_nothing_is_said() -> None:
    outcome, size = read({7: features()})
    assert size == 7
    assert not outcome.chosen


def test_the_scale_of_codes_does_not_matter_that_of_features_does() -> None:
    codes = features(apart=0.6)
    plain = read({2: codes})[0].scores
    assert read({2: 50 * codes + 3})[0].scores == pytest.approx(plain, abs=1e-3)
    raw = read({0: codes}, codes="raw")[0].scores
    assert read({0: 50 * codes + 3}, codes="raw")[0].scores != pytest.approx(raw, abs=1e-2)
    constant = np.concatenate([codes, np.full((COUNT, 1), 4, np.float32)], axis=1)
    assert read({2: constant})[0].scores == pytest.approx(plain, abs=1e-3)


# Made-up samples.


def samples(shift: int = 0, each: int = 20) -> Made:
    """Of the classes of `features`, or of the next class with another shift."""
    truth = np.repeat(np.arange(CLASSES), each)
    centres = np.stack([features()[k == TRUTH].mean(0) for k in range(CLASSES)])
    values = centres[(truth + shift) % CLASSES] + 0.3 * noise(FEATURES)[: len(truth)]
    return Made(np.zeros((len(truth), 2)), values.astype(np.float32), truth)


def with_samples(made: Made, truth: Any = TRUTH, real: bool = True) -> Outcome:
    choice = Synthetic("gmm", 20, real)
    return read({0: features()}, truth, made, codes="raw", synthetic=choice)[0]


def test_synthetic_only_learns_from_nobody() -> None:
    first = with_samples(samples(), real=False)
    assert uar(TRUTH[120:], first.scores.argmax(1)) > 0.8
    assert same(first, with_samples(samples(), shuffled(slice(None)), real=False))
    astray = with_samples(samples(shift=1), real=False)
    assert uar(TRUTH[120:], astray.scores.argmax(1)) < 0.2


def test_synthetic_samples_join_the_real_ones() -> None:
    alone = read({0: features()}, codes="raw")[0]
    first = with_samples(samples())
    assert not same(alone, first)
    assert not same(first, with_samples(samples(shift=1)))
    assert not same(first, with_samples(samples(), shuffled(slice(0, 90))))
    assert same(first, with_samples(samples(), shuffled(slice(120, None))))
    assert uar(TRUTH[120:], first.scores.argmax(1)) > 0.8


def test_synthetic_samples_are_not_chosen_on() -> None:
    """Constants are those that do best on real rows, whatever the samples are."""
    choice = Synthetic("gmm", 20, real=False)
    made = samples(shift=1)
    changes: Any = {"codes": "raw", "synthetic": choice, "readout": SEVERAL}
    outcome, _ = read({0: features()}, TRUTH, made, **changes)
    assert float(outcome.chosen["uar"]) < 0.5


def test_how_many_are_wanted() -> None:
    truth = np.repeat(np.arange(4), [9, 4, 0, 2])
    assert wanted(Synthetic("x", 7), truth, 4) == [7, 7, 7, 7]
    assert wanted(Synthetic("x", "balanced"), truth, 4) == [0, 5, 9, 7]
    assert Synthetic("x").per_class == 100


def net() -> GmmAae:
    return GmmAae(GmmConfig(FEATURES, Mixture(CLASSES), (16, 16)), Draws([0]))


def test_made_up_samples_are_decoded_draws_of_their_components() -> None:
    maker = net()
    made = made_up(maker, [1500, 0, 40], [3, 1])
    assert np.bincount(made.truth).tolist() == [1500, 0, 40]
    assert made.codes.shape == (1540, 2)
    assert made.values.shape == (1540, FEATURES)
    for place in (0, 2):
        mine = made.codes[made.truth == place]
        assert mine.mean(0) == pytest.approx(maker.config.mixture.means[place], abs=1.5)
    with torch.no_grad():
        decoded = maker.eval().decode(torch.from_numpy(made.codes).float()[None])[0].numpy()
    assert made.values == pytest.approx(decoded, abs=1e-5)


def test_draws_repeat_and_other_seeds_differ() -> None:
    one = made_up(net(), [5, 5, 5], [3, 1])
    assert np.array_equal(one.values, made_up(net(), [5, 5, 5], [3, 1]).values)
    for seed in ([3, 2], [4, 1]):
        assert not np.isclose(one.codes, made_up(net(), [5, 5, 5], seed).codes).any()


def test_nobody_is_wanted() -> None:
    made = made_up(net(), [0, 0, 0], [0, 0])
    assert made.values.shape == (0, FEATURES)
    alone = read({0: features()}, codes="raw")[0]
    assert same(with_samples(made), alone)
