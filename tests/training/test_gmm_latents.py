"""Codes on a mixture, read back: exported, matched, drawn and moving; and mistakes named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training import toy_aae, toy_corpus
from voicetone.cli.main import run as command
from voicetone.errors import DataError
from voicetone.training.gmm_latents import use_codes
from voicetone.training.gmm_latents_text import markdown
from voicetone.training.gmm_trained import open_codes
from voicetone.training.run import train

SYSTEM = """
[[systems]]
name = "{codes}"
codes = "{codes}"
size = {size}
hidden = [16]
dropout = 0.0
batch = 15
epochs = 25
rate = 3e-3
readout = [{{ name = "linear-svm", C = 0.1 }}]
[systems.features]
name = "mfcc"
"""
LABELS = ["anger", "happiness", "sadness"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("codes")
    corpus = toy_corpus.make(place / "toy", speakers=6, each=5)
    text = toy_aae.RECIPE.format(corpus=corpus).replace('kind = "aae"', 'kind = "gmm-aae"')
    for codes, size in (("gmm-aae", 2), ("autoencoder", 3), ("lda", 2)):
        text += SYSTEM.format(codes=codes, size=size)
    path = place / "toy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICETONE_CACHE", str(place / "cache"))
        train(path, [f"out={place / 'out'}"])
    return place


@pytest.fixture(autouse=True)
def _places(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICETONE_CACHE", str(made / "cache"))
    monkeypatch.setenv("VOICETONE_DATA", str(made))


@pytest.fixture
def system(made: Path) -> Path:
    return made / "out" / "emotion" / "gmm-aae"


@pytest.fixture
def copy(system: Path, tmp_path: Path) -> Path:
    """The folder of the system, to spoil."""
    shutil.copytree(system, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def written(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verb makes of all folds, with everything drawn."""
    out = tmp_path_factory.mktemp("all") / "l"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICETONE_CACHE", str(made / "cache"))
        patch.setenv("VOICETONE_DATA", str(made))
        return use_codes(made / "out" / "emotion" / "gmm-aae", out, moving=True, jobs=1)


def test_exported_codes_are_those_of_the_run(system: Path, written: Path) -> None:
    table = pq.read_table(written / "latents.parquet")
    head = ["id", "fold", "speaker", "corpus", "label", "sex", "age", "sentence", "split"]
    assert table.column_names == [*head, "code_0", "code_1", *(f"p_{k}" for k in LABELS)]
    rows = table.to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == 90  # every speaker is tested once
    for row in rows[::7]:
        assert row["label"] in row["id"]
        assert sum(row[f"p_{k}"] for k in LABELS) == pytest.approx(1, abs=1e-5)
    run = open_codes(system)
    for network in run.networks:
        kept = np.load(run.folder.part("codes", network.fold.name, 3, "npz"))
        mine = [row for row in rows if row["fold"] == network.fold.name]
        assert [row["id"] for row in mine] == list(network.fold.test)
        codes = np.array([[row["code_0"], row["code_1"]] for row in mine])
        assert np.abs(codes - kept["codes"]).max() < 1e-3
        assert [LABELS[t] for t in kept["truth"]] == [row["label"] for row in mine]
        mixture = network.checkpoint.config.mixture
        nearest = mixture.posterior(codes, np.full(3, 1 / 3)).argmax(1)
        said = np.array([[row[f"p_{k}"] for k in LABELS] for row in mine]).argmax(1)
        np.testing.assert_array_equal(said, nearest)
    assert b"same mixture" in table.schema.metadata[b"split"]


def test_match_and_probes_are_told(system: Path, written: Path) -> None:
    found = json.loads((written / "latents.json").read_text("utf-8"))
    assert found["run"] == "toy/emotion/gmm-aae"
    told = json.loads((system / "metrics.json").read_text("utf-8"))["convergence"]
    for kind in ("codes", "stretched"):
        assert found["match"][kind]["auc"] == pytest.approx(told[f"match_{kind}"]["auc"], abs=1e-5)
        assert set(found["match"][kind]["components"]) == set(LABELS)
    assert (found["sizes"], found["classifiers_use"]) == ([2], "codes")
    assert found["mixture"]["radius"] == 9
    likely = found["likeliest_component"]
    assert sum(row["utterances"] for row in likely["components"].values()) == 90
    recalls = [row["recall"] for row in likely["components"].values()]
    assert likely["uar"] == pytest.approx(np.mean(recalls), abs=1e-4)
    for network in found["networks"]:
        sides = [set(network[k]) for k in ("trained_on", "validated_on", "tested_on")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 6
        assert network["finished"]
        assert set(network["reached"]) == set(LABELS)
    asked = {p["question"]: p for p in found["probes"]}
    assert set(asked) == {"emotion", "speaker", "sex", "sentence"}
    assert set(asked["emotion"]["from"]) == {"codes", "features"}
    assert asked["emotion"]["from"]["codes"]["held_out_uar"] > 0.6
    page = (written / "latents.md").read_text("utf-8")
    auc = told["match_codes"]["auc"]
    fails = "**they fail to follow" if told["match_codes"]["fails"] else "they follow the"
    assert f"- The codes as they are: {fails}" in page
    assert f"AUC of {auc:.2f} " in page
    assert "| emotion | codes | " in page


def test_figures_are_made(written: Path) -> None:
    for name in ("curves", "plane", "plane-strangers"):
        with Image.open(written / f"{name}.png") as image:
            assert image.width > 600
        assert (written / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f"![{name}.png]" in (written / "latents.md").read_text("utf-8")
    with Image.open(written / "plane.gif") as image:
        assert 10 < image.n_frames <= 45


def test_what_is_drawn(system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def plane(codes: Any, labels: Any, known: Any, *rest: Any) -> None:
        drawn[rest[-1]] = (codes, labels, known)

    def moves(epochs: Any, codes: Any, truth: Any, labels: Any, known: Any, *rest: Any) -> None:
        drawn["gif"] = (epochs, codes, truth, known)

    monkeypatch.setattr("voicetone.training.gmm_latents.draw_plane", plane)
    monkeypatch.setattr("voicetone.training.gmm_latents.animate", moves)
    use_codes(system, tmp_path / "l", moving=True, jobs=1)
    run = open_codes(system)
    fold = run.networks[0].fold
    codes, labels, known = drawn["plane"]
    assert len(codes) == len(labels) == 90
    np.testing.assert_array_equal(np.flatnonzero(known), np.sort(run.material.rows(fold.train)))
    strangers, labels, known = drawn["plane-strangers"]
    assert known.all()
    rows = pq.read_table(tmp_path / "l" / "latents.parquet").to_pylist()
    assert labels == [row["label"] for row in rows]
    np.testing.assert_array_equal(strangers[:, 0], [row["code_0"] for row in rows])
    epochs, moved, truth, known = drawn["gif"]
    assert epochs == sorted(epochs)
    assert epochs[-1] == 25
    np.testing.assert_allclose(moved[-1], codes, atol=1e-3)  # the last weights are kept
    np.testing.assert_array_equal(truth, run.material.truth)
    np.testing.assert_array_equal(known, drawn["plane"][2])


def test_without_figures_and_twice_the_same(system: Path, tmp_path: Path) -> None:
    names = ("latents.json", "latents.parquet", "latents.md")
    twice = []
    for _ in range(2):  # the second time over its own
        out = use_codes(system, tmp_path / "l", fold="toy-s0-s1", figures=False, jobs=1)
        twice.append([(out / name).read_bytes() for name in names])
    assert twice[0] == twice[1]
    assert {p.name for p in out.iterdir()} == set(names)
    assert "1 of 3 folds" in (out / "latents.md").read_text("utf-8")


def test_a_run_that_has_not_ended(copy: Path, tmp_path: Path) -> None:
    (copy / "metrics.json").unlink()
    name = open_codes(copy).networks[0].fold.name
    for kind, suffix in (("predictions", "parquet"), ("codes", "npz")):
        open_codes(copy).folder.part(kind, name, 3, suffix).unlink()
    out = use_codes(copy, tmp_path / "l", figures=False, jobs=1)
    found = json.loads((out / "latents.json").read_text("utf-8"))
    assert found["match"] is None
    assert [n["finished"] for n in found["networks"]] == [False, True, True]
    page = (out / "latents.md").read_text("utf-8")
    assert f"Not finished: 1 of 3 networks (fold {name})" in page
    assert "Not known: the run has no match" in page


def test_what_fails_is_said(written: Path) -> None:
    found = json.loads((written / "latents.json").read_text("utf-8"))
    match = {
        "auc": 0.9,
        "components": dict.fromkeys(LABELS, 0.9),
        "limit": 0.65,
        "fails": True,
        "within": 0.9,
    }
    match |= {"mean_distance": 2.0, "prior_distance": 9.0}
    good = match | {"auc": 0.5, "components": {"anger": 0.5, "sadness": None}, "fails": False}
    found["match"] = {"codes": match, "stretched": good}
    found["networks"][0]["reached"] = {"anger": 1.0, "happiness": 0.9, "sadness": 0.02}
    for network in found["networks"][1:]:
        network["reached"] = dict.fromkeys(LABELS, 0.9)
    page = markdown(found, [])
    assert "- The codes as they are: **they fail to follow the mixture.** They can be told" in page
    assert "- Stretched on validation speakers: they follow the mixture." in page
    assert "| anger | 30 | 0.900 | **fails** | 0.500 | follows |" in page
    assert "| sadness | 30 | 0.900 | **fails** | – | too few to tell |" in page
    assert page.count("not even the training speakers' codes") == 1
    assert "own components: sadness (2 %). Samples" in page
    found["match"]["codes"] = match | {"auc": None, "fails": False}
    assert "- The codes as they are: there are too few of them to tell." in markdown(found, [])


def test_systems_without_a_mixture(made: Path, tmp_path: Path) -> None:
    for name, line in (
        ("autoencoder", "a plain autoencoder has no mixture"),
        ("lda", "a system that trains no network of its own"),
    ):
        with pytest.raises(DataError, match=line):
            use_codes(made / "out" / "emotion" / name, tmp_path / "l", jobs=1)


def test_nothing_to_animate(copy: Path, tmp_path: Path) -> None:
    (snapshot,) = (copy / "snapshots").iterdir()
    with pytest.raises(DataError, match=f"no snapshots .* choose others: .*{snapshot.stem}"):
        use_codes(copy, tmp_path / "l", fold=open_codes(copy).folds[1], moving=True)
    snapshot.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no codes of a run"):
        use_codes(copy, tmp_path / "l", moving=True)
    snapshot.unlink()
    with pytest.raises(DataError, match="leave --animate out, or train again"):
        use_codes(copy, tmp_path / "l", moving=True)
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"codes": 1.0}, "the weights give other codes now, by up to 1.00"),
        ({"truth": 1}, "other utterances, labels or folds now"),
    ],
)
def test_codes_that_have_changed(
    copy: Path, tmp_path: Path, change: dict[str, float], line: str
) -> None:
    path = min((copy / "codes").iterdir())
    kept = dict(np.load(path))
    np.savez(path, **(kept | {name: kept[name] + by for name, by in change.items()}))
    with pytest.raises(DataError, match=line):
        use_codes(copy, tmp_path / "l", figures=False, jobs=1)


def test_a_folder_of_something_else_is_left_alone(system: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(DataError, match="holds something else than latents"):
        use_codes(system, tmp_path, figures=False)


def _call(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    try:
        code = command(["latents", *map(str, words)])
    except SystemExit as stop:
        code = int(stop.code or 0)
    done = capfd.readouterr()
    return code, done.out, done.err


def test_the_verb_finds_the_kind(
    system: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--out", tmp_path / "l", "--fold", "toy s0-s1", "--no-figures", "--jobs", 1)
    code, out, err = _call(capfd, system, *words)
    assert code == 0, err
    assert out.startswith("# Latents of toy/emotion/gmm-aae\n")
    assert "## Do strangers' codes follow the mixture?" in out


def test_an_aae_run_cannot_move(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = json.loads((copy / "recipe.json").read_text("utf-8"))
    (copy / "recipe.json").write_text(json.dumps(told | {"kind": "aae"}), "utf-8")
    code, _, err = _call(capfd, copy, "--animate")
    assert code == 2
    assert "is an aae run, which keeps no codes of its training" in err
    (copy / "recipe.json").write_text(json.dumps(told | {"kind": "classifier"}), "utf-8")
    code, _, err = _call(capfd, copy)
    assert code == 3
    assert 'no system\'s folder of a run of kind = "aae" or "gmm-aae"' in err
