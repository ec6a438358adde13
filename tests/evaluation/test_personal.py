"""Calibrating to one speaker: the methods, what they refuse, and how they are measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.tables import LABELS, made

from voicetone.errors import DataError
from voicetone.evaluation import personal_measured as measured
from voicetone.evaluation.personal import (
    PersonalCalibration,
    Reference,
    fit,
    read_personal,
    reference_of,
)
from voicetone.evaluation.personal_fits import METHODS, UNLABELLED, Clips, Others, centred, softmax
from voicetone.evaluation.personal_measured import Plan, measure
from voicetone.evaluation.personal_splits import (
    ALIKE,
    CALL,
    HALF,
    LABELLED,
    NONE,
    ONE,
    make_splits,
)
from voicetone.evaluation.personal_text import markdown
from voicetone.evaluation.table import PredictionTable

K = len(LABELS)
BIAS = np.array([1.5, -0.5, -1.0, 0.0])
SMALL = Plan(clips=(4,), per_label=(2,), splits=1, strengths=(4.0, np.inf), draws=20)


def speaker(
    n: int = 400, bias: np.ndarray = BIAS, number: int = 0, shares: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right but for a bias, and the labels."""
    rng = np.random.default_rng(number)
    truth = rng.choice(K, n, p=shares)
    z = rng.normal(size=(n, K)) + 2.0 * np.eye(K)[truth]
    return softmax(2.0 * z + bias), truth  # 2 z: Bayes' posterior of these Gaussians


def others() -> Reference:
    return reference_of(made(speakers=6, each=60, number=5))


def names(codes: np.ndarray) -> list[str]:
    return [LABELS[k] for k in codes]


def uar(p: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([(p[truth == k].argmax(1) == k).mean() for k in range(K)]))


@pytest.mark.parametrize("method", METHODS)
def test_a_bias_of_the_voice_is_taken_off(method: str) -> None:
    p, truth = speaker()
    labelled = names(truth[:200]) if method not in UNLABELLED else None
    found = fit(p[:200], LABELS, labelled, method, others() if method == "means" else None)
    before, after = uar(p[200:], truth[200:]), uar(found.apply(p[200:]), truth[200:])
    if method == "prior":  # takes the bias for how the speaker is
        assert after < before
    else:
        assert after > before + 0.02


def test_match_gives_the_mean_that_is_wanted() -> None:
    p, _ = speaker()
    reference = others()
    found = fit(p, LABELS, method="match", reference=reference, strength=1e-9)
    assert found.apply(p).mean(0) == pytest.approx(reference.others.shares, abs=1e-3)


def test_prior_finds_how_often_a_speaker_has_each_label() -> None:
    shares = np.array([0.7, 0.1, 0.1, 0.1])
    p, truth = speaker(4000, np.zeros(K), shares=shares)
    found = fit(p, LABELS, method="prior", strength=1e-6)
    corrected = found.apply(p)
    assert corrected.mean(0) == pytest.approx(shares, abs=0.03)
    right = [(q.argmax(1) == truth).mean() for q in (p, corrected)]
    assert right[1] > right[0]


def test_bias_is_at_the_least_penalised_loss() -> None:
    p, truth = speaker(30)
    found = fit(p, LABELS, names(truth), "bias", strength=2.0)
    z = centred(p)

    def loss(factor: float, bias: np.ndarray) -> float:
        q = softmax(factor * z + bias)
        penalty = (factor - 1) ** 2 + (bias**2).sum()
        return float(-np.log(q[np.arange(30), truth]).sum() + penalty)

    factor = found.weights[0, 0]
    least = loss(factor, found.bias)
    rng = np.random.default_rng(0)
    for _ in range(50):
        step = 0.01 * rng.normal(size=K + 1)
        assert loss(factor + step[0], found.bias + step[1:]) > least


def test_means_are_the_nearest_mean_with_many_clips() -> None:
    p, truth = speaker(300)
    found = fit(p, LABELS, names(truth), "means", others(), strength=1e-9)
    z = centred(p)
    own = np.array([z[truth == k].mean(0) for k in range(K)])
    nearest = ((z[:, None] - own) ** 2).sum(-1).argmin(1)
    assert (found.apply(p).argmax(1) == nearest).all()


@pytest.mark.parametrize("method", METHODS)
def test_few_clips_and_strength_change_little(method: str) -> None:
    p, truth = speaker(4)
    truth = np.arange(4)
    labelled = names(truth) if method not in UNLABELLED else None
    moved = [
        np.abs(fit(p, LABELS, labelled, method, others(), strength).apply(p) - p).max()
        for strength in (1.0, 10.0, 1e3, np.inf)
    ]
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 1e-5 < moved[0]


@pytest.mark.parametrize("method", METHODS)
def test_many_speakers_at_once_are_as_one_by_one(method: str) -> None:
    reference = others().others
    both = [speaker(12, number=n) for n in (1, 2)]
    each = [METHODS[method](Clips(centred(p), np.ones(12), t), reference, 3.0) for p, t in both]
    logs = np.zeros((2, 15, K))
    logs[:, :12] = [centred(p) for p, _ in both]
    logs[:, 12:] = 5.0  # of no weight
    weights = np.repeat([[1.0] * 12 + [0.0] * 3], 2, axis=0)
    truth = np.array([[*t, 0, 0, 0] for _, t in both])
    fields = (reference.shares, reference.logs, reference.centres, reference.spread)
    stacked = Others(*(np.stack([v, v]) for v in fields))
    found = METHODS[method](Clips(logs, weights, truth), stacked, 3.0)
    for k in range(2):
        assert found.bias[k] == pytest.approx(each[k].bias, abs=1e-9)
        assert found.weights[k] == pytest.approx(each[k].weights, abs=1e-9)


def test_one_clip_is_changed_like_many() -> None:
    p, _ = speaker(10)
    found = fit(p, LABELS)
    assert (found.method, found.clips) == ("centre", 10)
    assert found.apply(p[0], LABELS) == pytest.approx(found.apply(p)[0])
    assert found.apply(p).sum(1) == pytest.approx(np.ones(10), abs=1e-6)


def test_it_is_written_and_read(tmp_path: Path) -> None:
    p, truth = speaker(20)
    found = fit(p, LABELS, names(truth))
    found.write(tmp_path / "me.json")
    again = read_personal(tmp_path / "me.json")
    assert (again.labels, again.method, again.clips) == (LABELS, "bias", 20)
    assert again.apply(p) == pytest.approx(found.apply(p), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "not of format 1"),
        ({"labels": ["a"]}, "2 to 64 labels"),
        ({"labels": "anger"}, "no list of names"),
        ({"labels": ["a", "b", "c"]}, "3 by 3 weights"),
        ({"weights": [[1e9] * K] * K}, "no number, or huge"),
        ({"bias": [float("nan")] * K}, "no number, or huge"),
        ({"bias": None}, "biases"),
        ({"weights": "x"}, "could not convert"),
        ({"clips": -1}, "number of clips"),
        ({"method": "magic"}, "its method is unknown"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "me.json"
    fit(speaker(5)[0], LABELS).write(path)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(DataError, match=said) as caught:
        read_personal(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.count("fit it again") == 1
    assert "\n" not in line


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, " " * (2 << 20), "\xff"])
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "me.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="no personal calibration"):
        read_personal(path)
    with pytest.raises(DataError, match="can't be read as a personal calibration"):
        read_personal(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"probabilities": np.zeros((0, K))}, "no clips of this speaker"),
        ({"probabilities": np.full((3, K), np.nan)}, "clip 1: no probabilities"),
        ({"probabilities": np.array([[0.25] * K, [2.0, -1.0, 0.0, 0.0]])}, "clip 2: no prob"),
        ({"probabilities": np.full((3, 5), 0.2)}, "probabilities of 5 labels where 4 are wanted"),
        ({"labels": ("a", "a", "b", "c")}, "each of them once"),
        ({"truth": ["anger"] * 3}, "all labelled clips are anger"),
        ({"truth": ["anger", "rage", "neutral"]}, "'rage' is none of the model's labels"),
        ({"truth": ["anger"]}, "3 clips and 1 true labels"),
        ({"method": "bias"}, "bias needs the clips' true labels"),
        ({"method": "magic"}, "known are: centre"),
        ({"method": "match", "truth": ["anger", "neutral", "anger"]}, "takes no true labels"),
        ({"method": "means", "truth": ["anger", "neutral", "anger"]}, "give a reference"),
        ({"strength": 0.0}, "above 0"),
        ({"strength": float("nan")}, "above 0"),
    ],
)
def test_bad_clips_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit(**{"probabilities": np.full((3, K), 0.25), "labels": LABELS, **given})


def test_another_label_space_is_refused() -> None:
    found = fit(speaker(5)[0], LABELS)
    with pytest.raises(DataError, match="in this order"):
        found.apply(np.full((1, K), 0.25), LABELS[::-1])
    with pytest.raises(DataError, match="probabilities of 3 labels"):
        found.apply(np.full((1, 3), 1 / 3))
    with pytest.raises(DataError, match="in this order"):
        fit(np.full((3, 2), 0.5), ("a", "b"), reference=others())
    with pytest.raises(DataError, match="4 by 4 weights"):
        PersonalCalibration(LABELS, np.eye(3), np.zeros(4))


def test_a_reference_needs_probabilities() -> None:
    table = made(speakers=3, each=10)
    with pytest.raises(DataError, match="decision values"):
        reference_of(replace(table, scores=3 * table.scores, probabilities=False))
    with pytest.raises(DataError, match="the table has none"):
        reference_of(table.select(np.zeros(len(table), dtype=bool)))


def split_of(seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray]:
    table = made(speakers=5, each=40)
    who = np.unique(table.speaker, return_inverse=True)[1]
    return make_splits(table.truth_codes, who, K, 3, seed), table.truth_codes, who


def test_enrolment_and_test_never_share_a_clip() -> None:
    splits, truth, who = split_of()
    for split in splits:
        for kind in (ALIKE, HALF, ONE, CALL, LABELLED):
            places = split.enrolment(kind, 8)
            for speaker_, own in enumerate(places):
                own = own[own != NONE]
                assert len(set(own.tolist())) == len(own) > 0
                assert (who[own] == speaker_).all()
                assert not split.tested[own].any()
        assert (split.of_call <= split.tested).all()
        assert sorted(split.wrong.tolist()) == [0, 1, 2, 3, 4]
        assert (split.wrong != np.arange(5)).all()
        halves = [np.bincount(truth[o[o != NONE]], minlength=K).max() for o in
                  split.enrolment(HALF, 4)]  # fmt: skip
        assert min(halves) >= 2
        one = split.enrolment(ONE, 4)
        assert all(len(set(truth[o[o != NONE]].tolist())) == 1 for o in one)
        labelled = split.enrolment(LABELLED, 2)
        assert (np.sort(truth[labelled], axis=1) == [0, 0, 1, 1, 2, 2, 3, 3]).all()
    again, *_ = split_of()
    assert all((a.tested == b.tested).all() for a, b in zip(splits, again, strict=True))
    assert (splits[0].tested != split_of(1)[0][0].tested).any()


def biased(size: float, **changes: Any) -> PredictionTable:
    """Speakers each with a bias of their own on the outputs."""
    table = made(speakers=8, each=48, **changes)
    rng = np.random.default_rng(3)
    who = np.unique(table.speaker, return_inverse=True)[1]
    bias = size * rng.normal(size=(8, K))
    return rescored(table, softmax(centred(table.scores) + bias[who]), True)


def rescored(table: PredictionTable, scores: np.ndarray, probabilities: bool) -> PredictionTable:
    """The same clips with other scores, and what is predicted by them."""
    best = np.array(table.labels)[scores.argmax(1)]
    return replace(
        table,
        scores=scores.astype(np.float32),
        predicted=best,
        probabilities=probabilities,
    )


def rows(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["method"], r["enrolment"]): r for r in found["rows"]}


def test_what_the_speaker_adds_is_found() -> None:
    plan = replace(SMALL, clips=(16,), per_label=(4,), splits=2, draws=100)
    found = rows(measure(biased(1.5), plan))
    for key in (("centre", ALIKE), ("match", ALIKE), ("bias", LABELLED)):
        row = found[key]
        assert row["verdict"] == "better"
        assert row["difference"] > 0.05
        assert row["over_control"] > row["difference"]
        assert row["nll"] < row["nll_without"]
        assert row["speakers"] == 8


def test_where_there_is_nothing_to_gain_nothing_is_claimed() -> None:
    found = measure(biased(0.0), replace(SMALL, splits=2, draws=100))
    assert all(r["verdict"] != "better" or r["difference"] < 0.02 for r in found["rows"])
    prior = rows(found)["prior", ALIKE]
    assert prior["verdict"] in ("no change", "open")
    assert abs(prior["difference"]) < 0.01


def test_the_same_numbers_whatever_the_order_of_rows() -> None:
    table = biased(1.0, seeds=(0, 1))
    first = measure(table, SMALL)
    order = np.random.default_rng(0).permutation(len(table))
    assert json.dumps(measure(table.select(order), SMALL)) == json.dumps(first)
    assert first["seeds"] == 2
    other = measure(table, replace(SMALL, seed=1))
    assert json.dumps(other["rows"]) != json.dumps(first["rows"])


def test_a_judged_speaker_chooses_nothing() -> None:
    """Other labels and other tested clips of a group: what is said of its other clips stays."""
    corpus, _ = measured._corpus(biased(1.0))
    group = measured._groups(corpus.speakers)[0]
    splits = make_splits(corpus.truth, corpus.who, corpus.labels, 1, 0)
    tested = splits[0].tested & group[corpus.who]
    marked = int(np.flatnonzero(tested)[0])
    changed = tested.copy()
    changed[marked] = False
    truth = np.where(tested, (corpus.truth + 1) % K, corpus.truth)
    scores = corpus.scores.copy()
    scores[:, changed] = np.roll(scores[:, changed], 1, axis=2)
    cell = measured._Cell("bias", LABELLED, 2)
    results = []
    for one in (corpus, replace(corpus, truth=truth, scores=scores)):
        said = {cell: measured._Said(1, 1, len(one.truth), K)}
        plain = np.full((1, 1, *one.scores.shape[1:]), np.nan, np.float32)
        measured._judge_group(one, 0, group, splits, said, plain, SMALL)
        results.append(said[cell].own[0, 0, marked])
    assert np.isfinite(results[0]).all()
    assert results[1] == pytest.approx(results[0], abs=1e-7)


def test_harm_is_told() -> None:
    """Speakers with one label each: matching their means to others' takes what is true."""
    table = made(speakers=8, each=60)
    who = np.unique(table.speaker, return_inverse=True)[1]
    mostly = (table.truth_codes == who % K) | (np.arange(len(table)) % 5 == 0)
    found = measure(table.select(mostly), replace(SMALL, strengths=(0.01,), per_label=()))
    assert rows(found)["match", ALIKE]["verdict"] == "worse"
    assert any("makes it worse" in line for line in found["cautions"])
    assert found["evenness"] < 0.9
    assert "**worse**" in markdown(found, "harm")


def test_decision_values_are_measured_too() -> None:
    table = biased(1.0)
    values = rescored(table, centred(table.scores), False)
    given, wanted = (rows(measure(t, SMALL))["centre", ALIKE] for t in (values, table))
    for key in ("uar", "uar_without", "ece_without", "nll"):
        assert given[key] == pytest.approx(wanted[key], abs=1e-3)


def test_who_has_too_little_is_left_out_and_told() -> None:
    table = made(speakers=6, each=12)
    short = np.ones(len(table), dtype=bool)
    short[2:12] = False
    found = measure(table.select(short), SMALL)
    assert found["speakers"] == 5
    assert found["cautions"][0].startswith("2 utterances were left out")
    with pytest.raises(DataError, match="3 or more with 4 or more clips each are needed"):
        measure(made(speakers=2), SMALL)
    with pytest.raises(DataError, match="here are 0"):
        measure(replace(table, speaker=np.full(len(table), "")), SMALL)
    with pytest.raises(DataError, match="ask for fewer clips"):
        measure(table, replace(SMALL, clips=(100,), per_label=(100,)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"splits": 0}, "1 to 50"),
        ({"clips": (), "per_label": ()}, "between 1 and 1000"),
        ({"clips": (0,)}, "between 1 and 1000"),
        ({"strengths": (-1.0,)}, "above 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        measure(made(), replace(SMALL, **change))


def test_three_speakers_have_no_interval() -> None:
    found = measure(made(speakers=3), SMALL)
    assert all(r["low"] is None and r["p"] is None for r in found["rows"])
    text = markdown(found, "three")
    assert text.startswith("# three\n\n120 utterances, 3 speakers, 1 seed, 1 split.")
    assert "## Unlabelled clips as they come" in text
    assert "2 per label" in text
