"""New vectors of the same kind pass; copies, narrow vectors and wrong classes are found out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from voicetone.errors import DataError
from voicetone.models.gmm_aae import Doubles
from voicetone.training import gmm_quality
from voicetone.training.gmm_quality import Quality, quality, words

LABELS = np.array(["anger", "joy", "sadness"])
FEATURES = 80
_RNG = np.random.default_rng(0)
WEIGHTS = _RNG.normal(size=(8, FEATURES)) / 2
MEANS = 2 * _RNG.normal(size=(3, 8))


def made(count: int, seed: int) -> tuple[Doubles, np.ndarray]:
    """Vectors of eight hidden dimensions, with classes, and noise."""
    rng = np.random.default_rng([9, seed])
    classes = np.arange(count) % 3
    x = (rng.normal(size=(count, 8)) + MEANS[classes]) @ WEIGHTS
    return x + 0.5 * rng.normal(size=(count, FEATURES)), LABELS[classes]


TRAIN, OF_TRAIN = made(300, 1)
HELD, OF_HELD = made(150, 2)


def judged(synthetic: Doubles, labels: Any, seed: int = 0) -> Quality:
    return quality(synthetic, labels, TRAIN, HELD, OF_TRAIN, OF_HELD, seed)


def test_new_vectors_of_the_same_kind_pass() -> None:
    found = judged(*made(400, 3))
    s = found.synthetic
    assert s.rows == 150
    assert 0.42 < s.auc < 0.58
    assert s.p > 0.05
    assert 0.4 < s.neighbours < 0.6
    assert s.ks_rejected == 0
    assert s.ks_median < 0.15
    assert s.variance_ratio == pytest.approx(1, abs=0.1)
    assert not found.closeness.memorised
    assert found.closeness.too_near < 0.05
    assert found.closeness.ratio == pytest.approx(1, abs=0.05)
    assert found.closeness.spread == pytest.approx(found.closeness.real_spread, rel=0.05)
    assert found.classes.uar > 0.9
    assert found.classes.uar == pytest.approx(found.classes.held_out_uar, abs=0.08)


def test_it_can_be_repeated_and_written_as_json() -> None:
    one = judged(*made(60, 3))
    assert one == judged(*made(60, 3))
    assert one != judged(*made(60, 3), seed=1)
    read = json.loads(json.dumps(asdict(one)))
    assert read["synthetic"]["auc"] == one.synthetic.auc
    assert set(read["classes"]["recalls"]) == set(LABELS)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_copies_of_training_are_found_out(noise: float) -> None:
    rng = np.random.default_rng(4)
    copies = TRAIN[:120] + noise * rng.normal(size=(120, FEATURES))
    found = judged(copies, OF_TRAIN[:120])
    assert found.closeness.memorised
    assert found.closeness.copied > 0.95
    assert found.closeness.nearest_to_second < 0.5 < found.closeness.real_nearest_to_second
    assert words(found)[3].startswith("Synthetic vectors are copies of training vectors: 100 %")


def test_some_copies_among_new_vectors_are_counted() -> None:
    new, labels = made(120, 5)
    new[:30], labels[:30] = TRAIN[:30], OF_TRAIN[:30]
    found = judged(new, labels)
    assert found.closeness.copied == pytest.approx(0.25, abs=0.03)
    assert found.closeness.memorised


def test_copies_of_repeated_training_vectors_are_copies() -> None:
    train, names = np.concatenate([TRAIN, TRAIN]), np.concatenate([OF_TRAIN, OF_TRAIN])
    found = quality(TRAIN[:50], OF_TRAIN[:50], train, HELD, names, OF_HELD, 0)
    assert found.closeness.copied == 1


def test_copies_of_held_out_vectors_have_neighbours_of_the_other_kind() -> None:
    found = judged(HELD + 1e-4, OF_HELD)
    assert found.synthetic.neighbours < 0.05
    assert "follow single real vectors" in words(found)[1]
    assert not found.closeness.memorised


def test_smooth_vectors_are_told_apart_but_no_copies() -> None:
    """What is without noise lies near the training vectors, each as near to several."""
    rng = np.random.default_rng(6)
    classes = np.arange(200) % 3
    smooth = (rng.normal(size=(200, 8)) + MEANS[classes]) @ WEIGHTS
    found = judged(smooth, LABELS[classes])
    assert found.synthetic.auc > 0.95
    assert found.synthetic.p < 0.002
    assert found.closeness.ratio < 0.95
    assert found.closeness.too_near > 0.1
    assert found.closeness.copied == 0


def test_shrunken_variance_is_seen() -> None:
    new, labels = made(200, 7)
    middle = TRAIN.mean(0)
    found = judged(middle + 0.5 * (new - middle), labels)
    assert found.synthetic.variance_ratio == pytest.approx(0.25, abs=0.04)
    assert found.synthetic.ks_rejected > 0.8
    assert found.synthetic.auc > 0.9  # with the same means: seen by squares and remainder
    assert found.synthetic.neighbours_own > found.synthetic.neighbours_held_out
    assert found.closeness.spread < 0.6 * found.closeness.real_spread
    said = " ".join(words(found))
    assert "narrower than real ones" in said
    assert "nearer to each other than real ones" in said


def test_other_speakers_differ_in_training_as_well() -> None:
    """Real training vectors are told from held-out ones: synthetic ones needn't do better."""
    new, labels = made(300, 8)
    others = np.full(8, 0.6) @ WEIGHTS
    found = quality(new + others, labels, TRAIN + others, HELD, OF_TRAIN, OF_HELD, 0)
    assert 0.65 < found.real.auc < 0.95
    assert found.real.p < 0.01
    assert found.synthetic.auc == pytest.approx(found.real.auc, abs=0.08)
    wide = quality(new + 3, labels, TRAIN + 3, HELD, OF_TRAIN, OF_HELD, 0)
    assert min(wide.real.ks_rejected, wide.synthetic.ks_rejected) > 0.9


def test_shuffled_labels_give_chance() -> None:
    new, labels = made(300, 9)
    found = judged(new, np.random.default_rng(0).permutation(labels))
    assert found.classes.uar == pytest.approx(1 / 3, abs=0.1)
    assert found.classes.held_out_uar > 0.9
    assert found.classes.chance == pytest.approx(1 / 3)


def test_a_wrong_class_is_named() -> None:
    new, labels = made(300, 10)
    joy = labels == "joy"
    new[joy] = made(900, 11)[0][::3][: joy.sum()]  # vectors of anger
    found = judged(new, labels)
    assert found.classes.recalls["joy"] < 0.1
    assert found.classes.recalls["anger"] > 0.9
    assert found.classes.recalls["sadness"] > 0.9
    assert "joy " in words(found)[-1]
    assert words(found)[-1].endswith("; samples of joy are not what they were drawn for.")
    assert "drawn for." not in words(judged(*made(300, 10)))[-1]


def test_shares_of_classes_make_no_difference() -> None:
    """Drawn evenly though classes of real speech are rare: that alone is not told apart."""
    keep = np.flatnonzero((OF_HELD == "anger") | (np.arange(len(HELD)) < 45))
    new, labels = made(400, 12)
    found = quality(new, labels, TRAIN, HELD[keep], OF_TRAIN, OF_HELD[keep], 0)
    assert found.synthetic.rows == len(keep)
    assert found.synthetic.p > 0.05
    assert found.synthetic.ks_rejected == 0


def test_probabilities_are_as_often_small_as_they_say() -> None:
    found = []
    for trial in range(60):
        x = np.random.default_rng([3, trial]).normal(size=(60, 12))
        side, classes = np.repeat([0, 1], 30), np.tile(np.arange(30) % 3, 2)
        found.append(gmm_quality._told(x, side, classes, trial))
    aucs, _, ps = np.array(found).T
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.04)
    assert 0.3 < np.mean(ps) < 0.7
    assert np.mean(ps < 0.1) < 0.25


def test_aucs_of_columns() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (40, 3)).astype(float)  # with ties
    labels = np.stack([rng.permutation(np.repeat([0.0, 1.0], 20)) for _ in range(3)], axis=1)
    wanted = [roc_auc_score(labels[:, i], values[:, i]) for i in range(3)]
    np.testing.assert_allclose(gmm_quality._aucs(values, labels), wanted)


def test_words_measure_by_the_training_speakers() -> None:
    found = judged(*made(60, 13))
    told = replace(found.synthetic, auc=0.7, p=0.001)
    for real, wanted in ((0.8, "no better than real ones of the training"), (0.6, "speakers: AUC")):
        said = words(replace(found, synthetic=told, real=replace(found.real, auc=real)))[0]
        assert wanted in said
        assert "can't tell" not in said


def test_words_name_the_numbers() -> None:
    found = judged(*made(200, 13))
    said = words(found)
    assert len(said) == 6
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in said)
    assert f"AUC {found.synthetic.auc:.2f}" in said[0]
    assert f"AUC {found.real.auc:.2f}" in said[0]
    assert "no copies of training vectors" in said[3]
    assert f"UAR of {100 * found.classes.uar:.0f} %" in said[5]


def test_one_class_has_no_consistency() -> None:
    def one(x: Doubles) -> list[str]:
        return ["all"] * len(x)

    new = made(60, 14)[0]
    found = quality(new, one(new), TRAIN, HELD, one(TRAIN), one(HELD), 0)
    assert np.isnan(found.classes.uar)
    assert found.classes.recalls == {}
    assert len(words(found)) == 5


def test_constant_features_and_tiny_sets() -> None:
    def padded(x: Doubles) -> Doubles:
        return np.column_stack([x, np.full(len(x), 3.0)])

    new, labels = made(10, 15)
    found = quality(
        padded(new), labels, padded(TRAIN[:12]), padded(HELD[:10]), OF_TRAIN[:12], OF_HELD[:10], 0
    )
    assert found.synthetic.rows == 10
    assert np.isfinite(list(asdict(found.synthetic).values())).all()
    assert np.isfinite(list(asdict(found.closeness).values())).all()


def test_a_generator_that_always_says_the_same() -> None:
    found = judged(np.tile(TRAIN.mean(0), (40, 1)), np.resize(LABELS, 40))
    assert found.synthetic.auc > 0.9
    assert found.synthetic.variance_ratio == pytest.approx(0, abs=1e-9)
    assert found.closeness.spread == pytest.approx(0, abs=1e-4)


NEW, OF_NEW = made(40, 16)


def _broken() -> Doubles:
    out = HELD.copy()
    out[2, 5] = np.inf
    return out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"synthetic": NEW[:9], "labels_s": OF_NEW[:9]}, "9 synthetic vectors are too few"),
        ({"real_held_out": HELD[:3], "labels_h": OF_HELD[:3]}, "3 held-out vectors are too few"),
        ({"real_held_out": HELD[:, :4]}, "held-out vectors of shape"),
        ({"synthetic": NEW[0]}, "synthetic vectors of shape"),
        ({"labels_t": OF_TRAIN[:-1]}, "300 training vectors with 299 labels"),
        ({"real_held_out": _broken()}, "1 of 150 held-out vectors have values"),
        ({"labels_s": ["disgust"] * 40}, "synthetic vectors have classes .*: disgust"),
        ({"real_held_out": np.ones_like(HELD)}, "all held-out vectors are the same"),
        (
            {"labels_s": ["anger"] * 40, "labels_h": ["joy"] * 145 + ["anger"] * 5},
            "5 pairs of synthetic and held-out vectors of the same class are too few",
        ),
    ],
)
def test_what_can_not_be_judged(changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "synthetic": NEW,
        "labels_s": OF_NEW,
        "real_train": TRAIN,
        "real_held_out": HELD,
        "labels_t": OF_TRAIN,
        "labels_h": OF_HELD,
        "seed": 0,
    }
    with pytest.raises(DataError, match=message):
        quality(**(given | changed))
