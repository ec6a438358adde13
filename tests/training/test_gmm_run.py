"""Runs of codes on a mixture: folders, resuming, the table, reading back, and mistakes named."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training import toy_aae, toy_corpus, toy_gmm
from training.toy_gmm import SYSTEMS, recipe, system
from voicetone.errors import DataError, UsageError
from voicetone.evaluation.table import concatenate, read_predictions
from voicetone.models import aae
from voicetone.training import gmm_match, gmm_run, systems_data
from voicetone.training.gmm_recipe import CodesRecipe, CodeSystem
from voicetone.training.gmm_run import baseline_of
from voicetone.training.gmm_trained import open_codes
from voicetone.training.replica_checkpoint import read_codes_checkpoint
from voicetone.training.run import train
from voicetone.training.systems_recipe import SystemFeatures

GOES_ON = ("gmm-aae", "pca", "raw", "synthetic-only")
FOLDS = [f"toy-s{i}" for i in range(5)]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Codes of so few epochs are told from samples with two draws, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gmm_match, "_DRAWS", 2)
        yield


@pytest.fixture(scope="module")
def whole(made: Path) -> Path:
    """A run of all systems with seed 0, beside its corpus; tests that go on take a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICETONE_CACHE", str(made.parent / "cache"))
        return train(recipe(made, made.parent, names=list(SYSTEMS)))


@pytest.fixture
def root(whole: Path, corpus: Path, tmp_path: Path) -> Path:
    """A copy of the run, beside a copy of its corpus and of its recipe."""
    shutil.copytree(whole, tmp_path / "run")
    recipe(corpus, tmp_path, names=GOES_ON)
    return tmp_path / "run"


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gmm_run, "fit_codes", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(gmm_run, "read_out", lambda *_: pytest.fail("it trained"))


def read(path: Path) -> Any:
    """JSON as every program reads it: without NaN."""

    def refuse(word: str) -> None:
        pytest.fail(f"{path}: {word}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def scores(folder: Path) -> dict[str, np.ndarray]:
    table = concatenate([read_predictions(p) for p in sorted((folder / "predictions").iterdir())])
    return {f"{i} {s}": row for i, s, row in zip(table.id, table.seed, table.scores, strict=True)}


def rows(root: Path) -> dict[str, Any]:
    (target,) = read(root / "table.json")["targets"]
    return {row["system"]: row for row in target["rows"]}


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_a_run_leaves(whole: Path, name: str) -> None:
    folder = whole / "emotion" / name
    there = {"folds.json", "log.txt", "metrics.json", "predictions", "recipe.json", "report.html"}
    assert there <= {p.name for p in folder.iterdir()}

    def stems(kind: str) -> list[str]:
        return sorted(p.stem for p in folder.glob(f"{kind}/*"))

    each = [f"{fold}-0" for fold in FOLDS]
    assert stems("predictions") == each
    networks = each if name in ("gmm-aae", "autoencoder") else []
    assert stems("checkpoints") == stems("curves") == stems("codes") == networks
    assert stems("snapshots") == (each[:1] if name == "gmm-aae" else [])
    assert not list(folder.glob("**/.*"))
    metrics = read(folder / "metrics.json")
    assert metrics["utterances"] == 60
    assert 0 <= metrics["uar"]["mean"] <= 1
    assert len(scores(folder)) == 60


def test_the_features_tell_the_classes(whole: Path) -> None:
    found = rows(whole)
    for name in ("raw", "lda", "autoencoder", "real+5", "real+balanced"):
        assert found[name]["uar"]["mean"] > 0.8, name


def test_the_table_has_differences_against_the_features(whole: Path) -> None:
    found = rows(whole)
    assert list(found) == list(SYSTEMS)
    for name, row in found.items():
        assert row["baseline"] == (None if name == "raw" else "raw")
        assert ("difference" in row) == (name != "raw")
    apart = found["synthetic-only"]["uar"]["mean"] - found["raw"]["uar"]["mean"]
    assert found["synthetic-only"]["difference"]["value"] == pytest.approx(apart, abs=1e-6)
    assert "2-d codes by gmm-aae" in found["gmm-aae"]["model"]
    assert "2/4-d codes by pca" in found["pca"]["model"]
    assert "only synthetic samples, 20 per class" in found["synthetic-only"]["model"]
    text = (whole / "table.md").read_text(encoding="utf-8")
    for name in SYSTEMS:
        assert f"\n| {name} | " in text


def test_chosen_settings_are_kept(whole: Path) -> None:
    table = read_predictions(whole / "emotion" / "pca" / "predictions" / "toy-s0-0.parquet")
    chosen = json.loads(table.meta["chosen"])
    assert chosen["size"] in (2, 4)
    assert chosen["C"] in (0.01, 0.1)
    assert "chosen on validation speakers" in table.meta["selection"]


def test_balanced_samples_of_balanced_classes_are_none(whole: Path) -> None:
    one, other = (scores(whole / "emotion" / name) for name in ("raw", "real+balanced"))
    assert all(np.array_equal(one[key], other[key]) for key in one)
    few = scores(whole / "emotion" / "real+5")
    assert not all(np.array_equal(one[key], few[key]) for key in one)


def test_codes_of_few_epochs_are_said_to_have_failed(whole: Path) -> None:
    folder = whole / "emotion" / "gmm-aae"
    told = read(folder / "metrics.json")["convergence"]
    for kind in ("match_codes", "match_stretched"):
        assert list(told[kind]["components"]) == ["anger", "happiness", "sadness"]
        assert all(0 <= auc <= 1 for auc in told[kind]["components"].values())
    assert told["match_codes"]["fails"]
    assert told["match_codes"]["mean_distance"] < 5 < told["match_codes"]["prior_distance"]
    assert {"reconstruction", "discriminator", "generator"} <= told["last_epoch"].keys()
    said = told["cautions"]
    assert said[0].startswith("failed: codes of strangers don't follow the mixture")
    assert rows(whole)["gmm-aae"]["cautions"] == said
    table = (whole / "table.md").read_text(encoding="utf-8")
    page = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    for text in said:
        assert f"- gmm-aae: {text}." in table
        assert text[1:] in page  # there it starts a sentence
    assert "Match of strangers' codes with the mixture" in page
    assert ": failed (components: anger " in page
    for name in SYSTEMS:
        if name != "gmm-aae":
            assert not rows(whole)[name]["cautions"]


def test_codes_are_of_those_who_test(whole: Path) -> None:
    folder = whole / "emotion" / "gmm-aae"
    for fold in FOLDS:
        kept = np.load(folder / "codes" / f"{fold}-0.npz", allow_pickle=False)
        table = read_predictions(folder / "predictions" / f"{fold}-0.parquet")
        assert kept["codes"].shape == kept["stretched"].shape == (12, 2)
        assert kept["truth"].tolist() == [table.labels.index(label) for label in table.truth]
        assert kept["reached"].shape == (3,)
        angles = [np.arctan2(kept[k][:, 1], kept[k][:, 0]) for k in ("codes", "stretched")]
        assert angles[0] == pytest.approx(angles[1], abs=1e-5)
    shown = np.load(folder / "snapshots" / "toy-s0-0.npz", allow_pickle=False)
    assert shown["epochs"].tolist() == [1, 2, 3, 4]
    assert shown["codes"].shape == (4, 60, 2)
    assert np.bincount(shown["part"]).tolist() == [36, 12, 12]
    last = np.load(folder / "codes" / "toy-s0-0.npz", allow_pickle=False)
    assert shown["codes"][-1][shown["part"] == 2] == pytest.approx(last["codes"], abs=1e-6)


def test_what_is_gone_is_trained_again_to_the_same(root: Path, tmp_path: Path) -> None:
    before = {name: scores(root / "emotion" / name) for name in GOES_ON}
    table = rows(root)
    for name in ("gmm-aae", "pca", "synthetic-only"):
        (root / "emotion" / name / "predictions" / "toy-s3-0.parquet").unlink()
    (root / "table.json").unlink()
    train(tmp_path / "toy.toml", ["at_once=1"])
    for name, found in before.items():
        after = scores(root / "emotion" / name)
        assert after.keys() == found.keys()
        assert all(after[key] == pytest.approx(found[key], abs=1e-3) for key in found), name
    for name, row in rows(root).items():
        assert row["model"] == table[name]["model"]
        assert row["uar"] == pytest.approx(table[name]["uar"])
        assert row.get("difference") == pytest.approx(table[name].get("difference"))


@pytest.mark.usefixtures("no_training")
def test_what_is_done_is_not_trained_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems_data, "extract", lambda *_, **__: pytest.fail("it read audio"))
    before = rows(root)
    train(tmp_path / "toy.toml")
    assert rows(root) == {name: before[name] for name in GOES_ON}
    other = (tmp_path / "toy.toml").read_text().replace("rate = 3e-3", "rate = 4e-3")
    (tmp_path / "toy.toml").write_text(other)
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(tmp_path / "toy.toml")


def test_further_seeds_join(root: Path, tmp_path: Path) -> None:
    before = scores(root / "emotion" / "gmm-aae")
    train(tmp_path / "toy.toml", ["seeds=[0, 1]"])
    folder = root / "emotion" / "gmm-aae"
    after = scores(folder)
    assert len(after) == 2 * len(before)
    assert all(np.array_equal(after[key], before[key]) for key in before)
    assert read(folder / "metrics.json")["seeds"] == [0, 1]
    # Weights of the second seed are kept too: others make their samples with them.
    assert len(list((folder / "checkpoints").iterdir())) == 10
    assert len(list((folder / "snapshots").iterdir())) == 1
    assert all(row["uar"]["sd"] is not None for row in rows(root).values())


def test_hidden_labels_change_nothing(corpus: Path, tmp_path: Path) -> None:
    """Of training rows; a tested label changes the score and not the scores of the classes."""
    made = system("gmm-aae", "gmm-aae", "labelled = 0.9", "batch = 20").replace("batch = 12\n", "")
    lda = system("lda", "lda", "labelled = 0.9")
    path = recipe(corpus, tmp_path, made + lda)
    first = train(path)
    recipe_of = CodesRecipe(
        kind="gmm-aae", name="toy", systems=(CodeSystem("x", labelled=0.9, batch=20),),
        corpora=(systems_data.CorpusChoice(str(corpus), licence="CC0"),),
        protocol=systems_data.ProtocolChoice("speakers"),
    )  # fmt: skip
    found = systems_data.sources(recipe_of, recipe_of.targets)
    (job,) = systems_data.jobs_of(found, recipe_of.systems[0], [(0, 0)])
    assert len(job.unlabelled) == 3
    real = systems_data.truth_of

    def scrambled(*given: Any) -> Any:
        truth = real(*given)
        rows = np.concatenate([job.unlabelled, job.test])
        truth[rows] = (truth[rows] + 1) % 3
        return truth

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(systems_data, "truth_of", scrambled)
        second = train(path, [f"out={tmp_path / 'other'}"])
    tested = {found.main.utterances[i].id for i in job.test}
    for name in ("gmm-aae", "lda"):
        one, two = (scores(r / "emotion" / name) for r in (first, second))
        same = {key: np.array_equal(one[key], two[key]) for key in one}
        assert all(same[key] for key in one if key.split()[0] in tested)
        assert not all(same.values())


def test_foreign_audio_joins_the_networks(corpus: Path, tmp_path: Path) -> None:
    other = toy_gmm.foreign(tmp_path)
    text = f'unlabelled = [{{ name = "{other}", licence = "CC0" }}]\n'
    text += system("alone") + system("others", "gmm-aae", "unlabelled = true")
    root = train(recipe(corpus, tmp_path, text))
    one, two = (scores(root / "emotion" / name) for name in ("alone", "others"))
    assert one.keys() == two.keys()
    assert not all(np.array_equal(one[key], two[key]) for key in one)
    shown = np.load(next((root / "emotion" / "others" / "snapshots").iterdir()))
    assert shown["codes"].shape[1] == len(shown["truth"]) == 60
    assert shown["truth"].min() == 0


def test_a_diverged_fold_is_told(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = aae.generator_loss, [0]

    def spoilt(codes: Tensor) -> Tensor:
        calls[0] += 1
        factor = torch.ones(len(codes))
        if calls[0] == 5 and len(factor) == 5:
            factor[2] = float("nan")
        return real(codes) * factor

    monkeypatch.setattr(aae, "generator_loss", spoilt)
    path = recipe(corpus, tmp_path, system("gmm-aae"))
    with pytest.raises(DataError, match="fold toy s2, seed 0 diverged: a loss is no number") as e:
        train(path, ['checkpoints="none"'])
    kept = tmp_path / "run" / "emotion" / "gmm-aae" / "checkpoints" / "toy-s2-0.safetensors"
    assert str(kept) in str(e.value)
    net = read_codes_checkpoint(kept).net
    assert all(torch.isfinite(p).all() for p in net.encoder.parameters())
    train(path, ['checkpoints="none"'])
    assert (tmp_path / "run" / "table.md").exists()


def test_all_targets(corpus: Path, tmp_path: Path) -> None:
    text = 'targets = [{ name = "emotion" }, { name = "level", rule = "activation-binary" }]\n'
    root = train(recipe(corpus, tmp_path, text + system("raw", "raw") + system("gmm-aae")))
    emotion, level = read(root / "table.json")["targets"]
    assert [r["baseline"] for r in (*emotion["rows"], *level["rows"])] == [None, "raw"] * 2
    told = read(root / "level" / "gmm-aae" / "metrics.json")["convergence"]
    assert len(told["match_codes"]["components"]) == 2


def test_baselines_hear_and_know_the_same() -> None:
    is09 = SystemFeatures("IS09")
    systems = (
        CodeSystem("gmm"), CodeSystem("raw", codes="raw"), CodeSystem("few", labelled=0.1),
        CodeSystem("few-raw", codes="raw", labelled=0.1), CodeSystem("is09", features=is09),
        CodeSystem("again", codes="raw"),
    )  # fmt: skip
    made = CodesRecipe(
        kind="gmm-aae", name="toy", corpora=(), systems=systems,
        protocol=systems_data.ProtocolChoice("speakers"),
    )  # fmt: skip
    found = [baseline_of(made, s) for s in systems]
    wanted = ["raw", "again", "few-raw", None, None, "raw"]
    assert [None if b is None else b.name for b in found] == wanted


def test_few_who_test_are_told(corpus: Path, tmp_path: Path) -> None:
    """Four codes of each class can't be judged; what is written stays JSON."""
    sides = [f'{{ name = "{p}", licence = "CC0", side = "{s}" }}'
             for p, s in ((corpus, "train"), (toy_gmm.foreign(tmp_path), "test"))]  # fmt: skip
    root = train(
        recipe(corpus, tmp_path, system("gmm-aae")),
        [f"corpora=[{', '.join(sides)}]", 'protocol={name="across", validation=1}'],
    )
    read(root / "emotion" / "gmm-aae" / "metrics.json")


def test_samples_of_a_run_without_weights(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "emotion" / "gmm-aae" / "checkpoints")
    shutil.rmtree(root / "emotion" / "synthetic-only")
    with pytest.raises(DataError, match=r"toy-s0-0.safetensors: the weights that made-up"):
        train(tmp_path / "toy.toml")


# Reading back.


def test_a_checkpoint_gives_the_codes_of_the_run(whole: Path, corpus: Path) -> None:
    folder = whole / "emotion" / "gmm-aae"
    opened = open_codes(folder, data=[corpus])
    assert opened.name == "toy/emotion/gmm-aae"
    assert opened.seed == 0
    assert [n.fold.name for n in opened.networks] == [f"toy s{i}" for i in range(5)]
    values = systems_data.required_features(opened.found.utterances, SystemFeatures("mfcc"), 1)
    for network in opened.networks:
        checkpoint = network.checkpoint
        assert checkpoint.labels == (("anger", "happiness", "sadness"),)
        x = torch.from_numpy(np.stack([values[i] for i in opened.material.rows(network.fold.test)]))
        limit = checkpoint.features.limit
        x = ((x - checkpoint.mean[0]) / checkpoint.scale[0]).clamp(-limit, limit)
        with torch.no_grad():
            codes = checkpoint.net.encode(x.float()[None])[0].numpy()
        kept = np.load(folder / "codes" / f"{network.path.stem}.npz", allow_pickle=False)
        assert codes == pytest.approx(kept["codes"], abs=1e-5)


def test_one_fold_is_opened(whole: Path, corpus: Path) -> None:
    folder = whole / "emotion" / "gmm-aae"
    opened = open_codes(folder, fold="toy s2", seed=0, data=[corpus])
    assert [n.path.stem for n in opened.networks] == ["toy-s2-0"]
    with pytest.raises(UsageError, match="--seed 4: there are weights of these seeds: 0"):
        open_codes(folder, seed=4, data=[corpus])
    with pytest.raises(UsageError, match="--fold s9: there are weights of these folds: toy s0"):
        open_codes(folder, fold="s9", data=[corpus])


def test_what_can_not_be_opened(whole: Path, corpus: Path, tmp_path: Path) -> None:
    for name in ("lda", "pca", "raw", "real+5"):
        with pytest.raises(DataError, match="a system that trains no network of its own"):
            open_codes(whole / "emotion" / name, data=[corpus])
    with pytest.raises(DataError, match="a plain autoencoder has no mixture"):
        open_codes(whole / "emotion" / "autoencoder", data=[corpus])
    with pytest.raises(DataError, match=r'kind = "gmm-aae"; name one of its systems, such as .*/'):
        open_codes(whole)
    with pytest.raises(DataError, match=r'no system\'s folder of a run of kind = "gmm-aae"'):
        open_codes(tmp_path / "nothing")


def test_a_run_of_another_kind_is_not_opened(tmp_path: Path) -> None:
    other = toy_aae.make_run(tmp_path, ("aae",), epochs=1)
    with pytest.raises(DataError, match=r'no system\'s folder of a run of kind = "gmm-aae"'):
        open_codes(other / "emotion" / "aae", data=[tmp_path / "toy"])


def test_a_corpus_that_changed_is_told(whole: Path, corpus: Path) -> None:
    toy_corpus.write(corpus, [tuple(r) for r in toy_corpus.rows(corpus)[1:]])
    with pytest.raises(DataError, match="its corpora have other utterances, labels or folds now"):
        open_codes(whole / "emotion" / "gmm-aae", data=[corpus])
