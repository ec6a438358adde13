"""`voicetone synthesize`: what is written, that nobody takes it for data, and mistakes."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.cli.conftest import Run

from training import toy_corpus
from voicetone.features.extract import extract
from voicetone.features.sets import FeatureConfig
from voicetone.training import gmm_synthesis
from voicetone.training.gmm_synthesis import synthesize
from voicetone.training.gmm_trained import open_codes
from voicetone.training.run import train

RECIPE = """
kind = "gmm-aae"
name = "toy"
jobs = 1
seeds = [3]
[protocol]
name = "groups"
groups = 3
[[corpora]]
name = "{corpus}"
licence = "CC0"
"""
SYSTEM = """
[[systems]]
name = "{name}"
codes = "{codes}"
hidden = [24, 24]
dropout = 0.0
batch = 12
epochs = {epochs}
rate = 3e-3
[systems.features]
name = "mfcc"
normalise = "{normalise}"
"""
SYSTEMS = (
    ("gmm", "gmm-aae", 150, "global"),
    ("plain", "autoencoder", 1, "global"),
    ("lda", "lda", 1, "global"),
    ("speaker", "gmm-aae", 1, "speaker"),
)
HEAD = ["id", "label", "synthetic", "source", "code_0", "code_1"]
LABELS = ["anger", "happiness", "sadness"]
FOLD = "toy s0-s1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("synthesize")
    corpus = toy_corpus.make(place / "toy", speakers=6, each=6)
    text = RECIPE.format(corpus=corpus)
    for name, codes, epochs, normalise in SYSTEMS:
        text += SYSTEM.format(name=name, codes=codes, epochs=epochs, normalise=normalise)
    (place / "toy.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICETONE_CACHE", str(place / "cache"))
        train(place / "toy.toml", [f"out={place / 'out'}"])
    return place


@pytest.fixture
def run(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICETONE_CACHE", str(made / "cache"))
    monkeypatch.setenv("VOICETONE_DATA", str(made))
    return made / "out" / "emotion" / "gmm"


def draw(run: Path, out: Path, per_class: int = 4, **more: Any) -> dict[str, np.ndarray]:
    """Columns of what is drawn without a comparison."""
    synthesize(run, out, per_class=per_class, fold=FOLD, measure=False, jobs=1, **more)
    table = pq.read_table(out)
    return {name: table[name].to_numpy() for name in table.column_names}


def numbers(columns: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([columns[name] for name in list(columns)[6:]], axis=1)


def test_what_is_written(run: Path, tmp_path: Path, voicetone: Run) -> None:
    out = tmp_path / "new" / "s.parquet"
    done = voicetone("synthesize", run, "--out", out, "--per-class", 30, "--fold", FOLD)
    assert done.code == 0, done.err
    assert done.out.startswith("# Synthetic samples of toy/emotion/gmm\n")
    assert done.out.endswith(f"{out}\n")
    names = {p.name for p in out.parent.iterdir()}
    assert names == {"s.parquet", "s.parquet.quality.json", "s.parquet.quality.md"}

    table = pq.read_table(out)
    features = [f"mfcc_{i}_{kind}" for kind in ("mean", "sd") for i in range(13)]
    assert table.column_names[:6] == HEAD
    assert set(table.column_names[6:]) == set(features)
    assert table["label"].to_pylist() == [label for label in LABELS for _ in range(30)]
    assert set(table["synthetic"].to_pylist()) == {True}
    assert set(table["source"].to_pylist()) == {"toy/emotion/gmm, fold toy s0-s1, seed 3, draws 0"}
    ids = table["id"].to_pylist()
    assert len(set(ids)) == 90
    assert ids[0] == "synthetic/toy-s0-s1-3/anger-0001"
    assert ids[-1] == "synthetic/toy-s0-s1-3/sadness-0030"

    facts = json.loads(table.schema.metadata[b"voicetone_synthetic"])
    weights = run / "checkpoints" / "toy-s0-s1-3.safetensors"
    assert facts["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (facts["run"], facts["fold"], facts["seed"]) == ("toy/emotion/gmm", FOLD, 3)
    assert facts["per_class"] == dict.fromkeys(LABELS, 30)
    assert facts["corpora"][0]["licence"] == "CC0"
    assert facts["tested_on"] == ["toy/s0", "toy/s1"]
    sides = [set(facts[key]) for key in ("trained_on", "validated_on", "tested_on")]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 6

    told = json.loads((out.parent / "s.parquet.quality.json").read_text("utf-8"))
    assert told["voicetone_synthetic"] == facts
    assert told["quality"]["synthetic"]["rows"] == 36
    assert told["quality"]["classes"]["held_out_uar"] > 0.9
    assert told["quality"]["classes"]["uar"] > 0.9  # the toy's classes are easily learnt
    page = (out.parent / "s.parquet.quality.md").read_text("utf-8")
    assert done.out.startswith(page)
    assert "compared with 54 utterances of training and 36 of held-out" in page
    assert "not met: toy/s0, toy/s1" in page


def test_samples_are_codes_decoded_to_features_as_extracted(run: Path, tmp_path: Path) -> None:
    columns = draw(run, tmp_path / "s.parquet", 60)
    network = open_codes(run, fold=FOLD).networks[0].checkpoint
    codes = np.stack([columns["code_0"], columns["code_1"]], axis=1)
    place = np.array([LABELS.index(label) for label in columns["label"]])
    apart = codes - network.config.mixture.means[place]
    assert np.linalg.norm([apart[place == c].mean(0) for c in range(3)], axis=1).max() < 1.5
    with torch.no_grad():
        decoded = network.net.decode(torch.from_numpy(codes).float()[None])[0].double()
    values = numbers(columns)
    assert np.allclose(values, decoded * network.scale + network.mean, rtol=1e-4, atol=1e-4)
    # The sound of a class is where its real one is, in the units of openSMILE's or ours.
    opened = open_codes(run)
    real = extract(opened.material.utterances, FeatureConfig("mfcc", "functionals"), jobs=1).values
    truth = opened.material.truth
    heard = np.stack([real[u.id] for u in opened.material.utterances])
    means = np.stack([heard[truth == c].mean(0) for c in range(3)])
    spread = heard.std(0)
    distance = [((values.mean(0, where=(place == c)[:, None]) - means) / spread) for c in range(3)]
    assert np.linalg.norm(distance, axis=2).argmin(1).tolist() == [0, 1, 2]


def test_draws(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = draw(run, tmp_path / "a.parquet", 4)
    again = draw(run, tmp_path / "b.parquet", 4)
    other = draw(run, tmp_path / "c.parquet", 4, draw_seed=5)
    monkeypatch.setattr(gmm_synthesis, "_PART", 6)
    more = draw(run, tmp_path / "d.parquet", 10, classes=["happiness"])
    assert all((few[name] == again[name]).all() for name in few)
    assert not np.isin(other["code_0"], few["code_0"]).any()
    assert not np.isin(other["id"], few["id"]).any()
    assert len(set(few["code_0"])) == 12
    assert more["label"].tolist() == ["happiness"] * 10
    assert len(set(more["code_0"])) == len(set(more["id"])) == 10  # parts don't repeat each other
    assert (more["code_0"][:4] == few["code_0"][4:8]).all()  # fewer are the first of more
    assert np.allclose(numbers(more)[:4], numbers(few)[4:8], rtol=1e-5, atol=1e-5)


def test_csv_says_the_same(run: Path, tmp_path: Path) -> None:
    columns = draw(run, tmp_path / "s.parquet")
    synthesize(run, tmp_path / "s.csv", per_class=4, fold=FOLD, measure=False, jobs=1)
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(columns)
    assert {row["synthetic"] for row in rows} == {"true"}
    assert [row["id"] for row in rows] == columns["id"].tolist()
    found = np.array([[float(row[name]) for name in list(row)[4:]] for row in rows])
    wanted = np.stack([columns[name] for name in list(columns)[4:]], axis=1)
    assert (found.astype(np.float32) == wanted).all()
    told = json.loads((tmp_path / "s.csv.json").read_text("utf-8"))["voicetone_synthetic"]
    stored = pq.read_schema(tmp_path / "s.parquet").metadata[b"voicetone_synthetic"]
    assert told == json.loads(stored)


def test_without_a_comparison_nothing_is_extracted(
    run: Path, tmp_path: Path, voicetone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "s.csv"
    assert voicetone("synthesize", run, "--out", out, "--per-class", 15).code == 0
    assert (tmp_path / "s.csv.quality.md").is_file()
    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path / "cache"))
    done = voicetone("synthesize", run, "--out", out, "--per-class", 2, "--no-quality")
    assert done.code == 0, done.err
    assert "were not compared" in done.out
    assert not list((tmp_path / "cache").rglob("*.npy"))
    # What was measured of the older samples is gone with them.
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {"s.csv", "s.csv.json"}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_no_reader_takes_it_for_a_corpus(
    run: Path, tmp_path: Path, voicetone: Run, ending: str
) -> None:
    out = tmp_path / f"s.{ending}"
    synthesize(run, out, per_class=2, measure=False, jobs=1)
    recipe = tmp_path / "toy.toml"
    system = SYSTEM.format(name="gmm", codes="gmm-aae", epochs=1, normalise="global")
    recipe.write_text(RECIPE.format(corpus=out) + system, encoding="utf-8")
    for words in (
        ("corpus", "check", out),
        ("corpus", "stats", out),
        ("corpus", "prepare", "table", out, "--licence", "CC0", "--out", tmp_path / "p"),
        ("features", out, "--set", "mfcc"),
        ("train", recipe, f"out={tmp_path / 'out'}"),
    ):
        done = voicetone(*words)
        assert done.code == 3, words
        (error,) = done.err.splitlines()
        assert f"{out}: synthetic samples" in error
    assert voicetone("evaluate", out).code == 3


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--per-class", "0"], 2, "--per-class 0: give a number of samples from 1 to 100000"),
        (["--per-class", "100001"], 2, "give a number of samples from 1 to 100000"),
        (["--draw-seed", "-1"], 2, "--draw-seed -1: give a whole number from 0 on"),
        (["--jobs", "-1"], 2, "--jobs -1: give a number from 0 on"),
        (["--classes", "anger,joy"], 2, "--classes joy: the network's classes are anger, "),
        (["--classes", ","], 2, "--classes ,: names no class"),
        (["--fold", "nobody"], 2, "--fold nobody: there are weights of these folds: toy s0-s1"),
        (["--seed", "9"], 2, "--seed 9: there are weights of these seeds: 3"),
        (["--out", "{tmp}/s.npz"], 2, "s.npz: samples are written as .parquet or .csv"),
        (["--per-class", "2"], 3, "give 10 at least; or leave the comparison out with --no-qual"),
    ],
)
def test_mistakes(
    run: Path, tmp_path: Path, voicetone: Run, words: list[str], code: int, line: str
) -> None:
    given = [w.format(tmp=tmp_path) for w in words]
    done = voicetone("synthesize", run, "--out", tmp_path / "s.csv", *given)
    assert done.code == code
    (error,) = done.err.splitlines()
    assert line in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("plain", 'a system with codes = "autoencoder" has no mixture to draw from'),
        ("lda", 'a system with codes = "lda" has no mixture to draw from'),
        ("speaker", "normalised per speaker or corpus, and samples of nobody"),
        ("nowhere", "no system's folder of a run of kind"),
        ("..", "name one of its systems, such as"),
    ],
)
def test_other_runs(run: Path, tmp_path: Path, voicetone: Run, name: str, line: str) -> None:
    done = voicetone("synthesize", run.parent / name, "--out", tmp_path / "s.csv")
    assert done.code == 3
    (error,) = done.err.splitlines()
    assert line in error


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", "id,speaker\n1,2\n"),
        ("s.csv.json", "{}"),
        ("s.csv.quality.json", "none"),
        ("s.csv.quality.md", "# Notes\n"),
        ("s.parquet", "none"),
    ],
)
def test_other_files_stay(run: Path, tmp_path: Path, voicetone: Run, name: str, text: str) -> None:
    there = tmp_path / name
    there.write_text(text, encoding="utf-8")
    out = tmp_path / ("s.parquet" if name == "s.parquet" else "s.csv")
    done = voicetone("synthesize", run, "--out", out, "--no-quality")
    assert done.code == 3
    assert f"{there}: holds something else than synthetic samples" in done.err
    assert there.read_text("utf-8") == text
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_a_file(run: Path, tmp_path: Path, voicetone: Run) -> None:
    (tmp_path / "f").write_text("")
    done = voicetone("synthesize", run, "--out", tmp_path / "f" / "s.csv", "--no-quality")
    assert done.code != 0
    assert "can't be written" in done.err
    (tmp_path / "d.csv").mkdir()
    done = voicetone("synthesize", run, "--out", tmp_path / "d.csv", "--no-quality")
    assert "holds something else" in done.err


def test_runs_that_are_spoilt(made: Path, run: Path, tmp_path: Path, voicetone: Run) -> None:
    def error(*words: object) -> str:
        done = voicetone("synthesize", copy, "--out", tmp_path / "s.csv", "--no-quality", *words)
        assert done.code == 3
        return done.err

    shutil.copytree(run, copy := tmp_path / "emotion" / "gmm")
    weights = copy / "checkpoints" / "toy-s0-s1-3.safetensors"
    state = load_file(weights)
    with safe_open(weights, "pt") as file:
        facts = file.metadata()
    state["mean"] = state["mean"] * np.nan
    save_file(state, weights, facts)
    assert "makes up features that are no numbers" in error("--fold", FOLD)
    assert [p.name for p in tmp_path.iterdir()] == ["emotion"]  # nothing half-written is left
    (copy / "predictions" / "toy-s0-s1-3.parquet").unlink()
    assert "fold toy s0-s1 has no predictions" in error("--fold", FOLD)
    recipe = json.loads((copy / "recipe.json").read_text("utf-8"))
    (copy / "recipe.json").write_text(json.dumps({**recipe, "labelled_data": "x"}))
    assert "other utterances, labels or folds now" in error()


def test_an_extra_that_lacks(
    run: Path, tmp_path: Path, voicetone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = voicetone("synthesize", run, "--out", tmp_path / "s.parquet", "--no-quality")
    assert done.code == 4
    assert "needs an extra" in done.err


def test_help(voicetone: Run) -> None:
    done = voicetone("synthesize", "--help")
    assert done.code == 0
    assert "OUT/TARGET/SYSTEM" in done.out
    assert "synthesize" in voicetone().out
