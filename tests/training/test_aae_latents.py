"""Codes of trained runs: read back as predicted, exported, and mistakes named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from training import toy_corpus
from training.toy_aae import SYSTEM, SYSTEMS, make_run
from voicetone.errors import DataError, UsageError, VoicetoneError
from voicetone.evaluation.table import read_predictions
from voicetone.training.aae_latents import use_latents
from voicetone.training.aae_trained import codes_of, heard, open_run, summed
from voicetone.training.run import train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("latents")
    make_run(place)
    return place


@pytest.fixture(autouse=True)
def _places(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICETONE_CACHE", str(made / "cache"))
    monkeypatch.setenv("VOICETONE_DATA", str(made))


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """The folder of the system `aae`, to spoil."""
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path / "out" / "emotion" / "aae"


@pytest.mark.parametrize("name", SYSTEMS)
def test_codes_are_those_of_the_training(made: Path, name: str) -> None:
    run = open_run(made / "out" / "emotion" / name)
    data = heard(run, jobs=1)
    assert [n.fold.name for n in run.networks] == list(run.folds)
    assert run.seed == 3
    for network in run.networks:
        codes, _ = codes_of(run, network, data)
        path = run.folder.predictions_path(network.fold.name, 3)
        table = read_predictions(path)
        assert table.id.tolist() == list(network.fold.test)
        assert np.abs(codes.ys[0][codes.test] - table.scores).max() < 1e-5
        assert (codes.z is None) == (name == "base")
        parts = [*codes.train, *codes.validation, *codes.test]
        assert sorted(parts) == list(range(54))


def test_everything_is_written(made: Path, tmp_path: Path) -> None:
    out = use_latents(made / "out" / "emotion" / "aae", tmp_path / "l", jobs=1)
    table = pq.read_table(out / "latents.parquet")
    head = ["id", "fold", "speaker", "corpus", "label", "sex", "age", "sentence", "split"]
    labels = ["anger", "happiness", "sadness"]
    style = [f"z_{i:03d}" for i in range(6)]
    assert table.column_names == [*head, *(f"y_{label}" for label in labels), *style]
    rows = table.to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == 54  # every speaker is tested once
    assert {row["split"] for row in rows} == {"test"}
    for row in rows[::7]:
        assert row["label"] in row["id"]
        assert row["age"] is None
        assert sum(row[f"y_{label}"] for label in labels) == pytest.approx(1, abs=1e-5)
    assert table.schema.metadata[b"seed"] == b"3"
    assert b"held-out" in table.schema.metadata[b"split"]

    found = json.loads((out / "latents.json").read_text("utf-8"))
    assert found["run"] == "toy/emotion/aae"
    assert found["exported"] == {"utterances": 54, "split": "test"}
    for network in found["networks"]:
        sides = [set(network[k]) for k in ("trained_on", "validated_on", "tested_on")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 6
    asked = {p["question"]: p for p in found["probes"]}
    assert set(asked) == {"emotion", "speaker", "sex", "sentence"}
    assert any(sentence.startswith("age is not asked") for sentence in found["not_asked"])
    assert asked["emotion"]["from"]["y"]["uar"]["mean"] > 0.8
    assert asked["emotion"]["from"]["y"]["held_out_uar"] > 0.8
    assert asked["emotion"]["from"]["y"]["shuffled"]["mean"] < 0.6
    assert asked["emotion"]["tested_on"] == "other speakers"
    assert set(asked["sex"]["from"]) == {"z", "y", "features"}
    assert len(asked["sex"]["from"]["z"]["uar"]["each"]) == 3

    swapped = json.loads((out / "swapped.json").read_text("utf-8"))["emotion"]
    assert (swapped["utterances"], swapped["classes"]) == (54, labels)
    assert len(swapped["between"]) == 3
    assert all(len(pair["features"]) == 10 for pair in swapped["between"])
    page = (out / "latents.md").read_text("utf-8")
    assert "Not finished" not in page
    for word in (
        "has not met",
        "strangers",
        "y swapped",
        "| anger → ",
        "z-pca.png",
        "- Age is not",
    ):
        assert word in page
    for name in ("curves", "z-pca", "z-lda"):
        assert (out / f"{name}.png").stat().st_size > 5_000
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_again(made: Path, tmp_path: Path) -> None:
    run = made / "out" / "emotion" / "optimized"
    names = ("latents.json", "swapped.json", "latents.parquet", "latents.md")
    made_twice = []
    for _ in range(2):  # the second time over its own
        out = use_latents(run, tmp_path / "l", fold="toy-s0-s1", figures=False, jobs=1)
        made_twice.append([(out / name).read_bytes() for name in names])
    assert made_twice[0] == made_twice[1]
    assert {p.name for p in out.iterdir()} == set(names)


def test_a_baseline_has_y_only(made: Path, tmp_path: Path) -> None:
    out = use_latents(made / "out" / "emotion" / "base", tmp_path / "l", jobs=1)
    names = pq.read_table(out / "latents.parquet").column_names
    assert [n for n in names if n.startswith(("y_", "z_"))] == [
        "y_anger",
        "y_happiness",
        "y_sadness",
    ]
    found = json.loads((out / "latents.json").read_text("utf-8"))
    assert set(found["probes"][0]["from"]) == {"y", "features"}
    assert {p.name for p in out.iterdir()} == {
        "curves.pdf",
        "curves.png",
        "latents.json",
        "latents.md",
        "latents.parquet",
    }
    assert "a baseline has no z" in (out / "latents.md").read_text("utf-8")


def test_one_fold(made: Path, tmp_path: Path) -> None:
    run = made / "out" / "emotion" / "frames"
    fold = open_run(run).folds[1]
    out = use_latents(run, tmp_path / "l", fold=fold, figures=False, jobs=1)
    assert set(pq.read_table(out / "latents.parquet")["fold"].to_pylist()) == {fold}
    page = (out / "latents.md").read_text("utf-8")
    assert "1 of 3 folds" in page
    assert " ± " not in page
    stem = open_run(run).networks[1].path.stem
    (only,) = open_run(run, fold=stem.rpartition("-")[0]).networks
    assert only.fold.name == fold


def test_frames_are_summed_where_there_is_speech() -> None:
    x = torch.tensor([[[[1.0], [3.0], [99.0]]]])
    mask = torch.tensor([[[1.0, 1.0, 0.0]]])
    assert summed(x, mask).tolist() == [[2.0, 1.0]]
    assert summed(x[:, :, 0], None).tolist() == [[1.0]]


def test_joint_networks(made: Path, tmp_path: Path) -> None:
    text = (made / "toy.toml").read_text("utf-8").partition("[[systems]]")[0]
    head = text.replace("seeds = [3]", "seeds = [3]\njoint = true").replace(
        "[[corpora]]", '[[targets]]\nname = "sentiment"\ntarget = "sentiment"\n[[corpora]]'
    )
    path = tmp_path / "joint.toml"
    path.write_text(head + SYSTEM.format(name="aae", epochs=4, more="", features=""), "utf-8")
    root = train(path, [f"out={tmp_path / 'out'}"])
    out = use_latents(root / "emotion" / "aae", tmp_path / "l", figures=False, jobs=1)
    names = pq.read_table(out / "latents.parquet").column_names
    assert "y_emotion_anger" in names
    assert "y_sentiment_negative" in names
    swapped = json.loads((out / "swapped.json").read_text("utf-8"))
    assert swapped["sentiment"]["classes"] == ["positive", "negative"]
    with pytest.raises(DataError, match="lie with its first target"):
        use_latents(root / "sentiment" / "aae")


def _with(rows: list[list[str]], column: int, value: str) -> list[list[str]]:
    """The rows with another value in the first."""
    return [[*rows[0][:column], value, *rows[0][column + 1 :]], *rows[1:]]


def test_what_is_no_run(made: Path, copy: Path) -> None:
    with pytest.raises(DataError, match="no system's folder of a run") as caught:
        open_run(copy.parents[1])
    assert str(copy.parent) in str(caught.value)  # it names one
    with pytest.raises(DataError, match=f"name one of its systems, such as {copy}"):
        open_run(copy.parent)
    for path in (copy / "predictions", copy / "nowhere"):
        with pytest.raises(DataError, match="name OUT/TARGET/SYSTEM"):
            open_run(path)
    (copy / "recipe.json").write_text('{"kind": "classifier"}', "utf-8")
    with pytest.raises(DataError, match="no system's folder of a run"):
        open_run(copy)


def test_weights_that_are_not_there(copy: Path) -> None:
    first, *others = sorted((copy / "checkpoints").iterdir())
    for path in others:
        path.unlink()
    assert [n.path for n in open_run(copy).networks] == [first]
    first.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no weights of an autoencoder"):
        open_run(copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(DataError, match="no weights in its checkpoints; a recipe keeps them"):
        open_run(copy)


def test_folds_and_seeds_that_are_not_there(copy: Path) -> None:
    with pytest.raises(
        UsageError, match="there are weights of these folds: toy s0-s1, toy s2-s3, toy s4-s5"
    ):
        open_run(copy, fold="toy s9")
    with pytest.raises(UsageError, match="--seed 4: there are weights of these seeds: 3"):
        open_run(copy, seed=4)


def test_data_that_lie_elsewhere(
    made: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOICETONE_DATA")
    with pytest.raises(DataError, match="toy: the run's corpus is not below VOICETONE_DATA"):
        open_run(copy)
    for place in (made, made / "toy"):
        assert len(open_run(copy, data=[tmp_path, place]).material.utterances) == 54


def test_data_that_have_changed(made: Path, copy: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "toy", tmp_path / "toy")
    line = "its corpora have other utterances, labels or folds now"
    rows = toy_corpus.rows(tmp_path / "toy")
    for changed in (_with(rows, 1, "sadness"), rows[1:]):
        toy_corpus.write(tmp_path / "toy", [tuple(row) for row in changed])
        with pytest.raises(DataError, match=line):
            use_latents(copy, tmp_path / "l", data=[tmp_path], figures=False, jobs=1)


def test_features_that_have_changed(copy: Path, tmp_path: Path) -> None:
    path = min((copy / "checkpoints").iterdir())
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    weights = load_file(path)
    weights["mean"] += 2 * weights["scale"]  # as if all recordings sounded otherwise now
    save_file(weights, path, facts)
    with pytest.raises(DataError, match="the weights give other probabilities now, by up to"):
        use_latents(copy, tmp_path / "l", figures=False, jobs=1)
    assert not (tmp_path / "l").exists()


def test_a_fold_that_diverged_is_told(copy: Path, tmp_path: Path) -> None:
    fold = open_run(copy).networks[1].fold.name
    open_run(copy).folder.predictions_path(fold, 3).unlink()
    out = use_latents(copy, tmp_path / "l", figures=False, jobs=1)
    found = json.loads((out / "latents.json").read_text("utf-8"))
    assert [n["finished"] for n in found["networks"]] == [True, False, True]
    page = (out / "latents.md").read_text("utf-8")
    assert f"Not finished: 1 of 3 networks (fold {fold}) have no predictions" in page


def test_a_folder_of_something_else_is_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(VoicetoneError, match="holds something else than latents"):
            use_latents(made / "out" / "emotion" / "aae", place, figures=False)
