"""Runs of autoencoders: folders, resuming, the table, and mistakes named before any training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training import toy_corpus
from voicetone.errors import DataError, UsageError, VoicetoneError
from voicetone.evaluation.table import concatenate, read_predictions
from voicetone.features.extract import Features, extract
from voicetone.models import aae
from voicetone.training import aae_run, systems_data
from voicetone.training.aae_recipe import AaeRecipe, System
from voicetone.training.aae_run import baseline_of
from voicetone.training.classifier_recipe import CorpusChoice, ProtocolChoice
from voicetone.training.replica_checkpoint import read_checkpoint
from voicetone.training.run import train
from voicetone.training.systems_data import jobs_of, labelled_part, sources
from voicetone.training.systems_recipe import Target

RECIPE = """
kind = "aae"
name = "toy"
jobs = 1
out = "{out}"
corpora = [{{ name = "{corpus}", licence = "CC0" }}]
protocol = {{ name = "speakers" }}
"""
SYSTEM = """
[[systems]]
name = "{name}"
features = {{ name = "mfcc"{features} }}
epochs = {epochs}
batch = 16
rate = 2e-3
style = 6
{more}
"""


def system(name: str, *more: str, features: str = "", epochs: int = 8) -> str:
    return SYSTEM.format(name=name, more="\n".join(more), features=features, epochs=epochs)


BASE = system("base", 'network = "base"')
BOTH = BASE + system("vanilla")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aae_run, "fit", lambda *_: pytest.fail("it trained"))


def recipe(corpus: Path, tmp_path: Path, text: str = BOTH) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(RECIPE.format(out=tmp_path / "run", corpus=corpus) + text, encoding="utf-8")
    return path


def scores(folder: Path) -> dict[str, np.ndarray]:
    table = concatenate([read_predictions(p) for p in sorted((folder / "predictions").iterdir())])
    return {f"{i} {s}": row for i, s, row in zip(table.id, table.seed, table.scores, strict=True)}


def test_a_run(corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = train(recipe(corpus, tmp_path), ["seeds=[0, 1]"])
    for name in ("base", "vanilla"):
        folder = root / "emotion" / name
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["uar"]["mean"] > 0.8
        assert metrics["seeds"] == [0, 1]
        assert metrics["majority_rate"] == pytest.approx(1 / 3)
        assert len(list((folder / "predictions").iterdir())) == 10
        assert len(list((folder / "checkpoints").iterdir())) == 5
        assert "leave one speaker out" in (folder / "report.html").read_text()
        curves = json.loads((folder / "curves" / "toy-s0-0.json").read_text())
        assert len(curves["uar"]) == 8
        assert 1 <= curves["epoch"] <= 8
    found = read_table(root)
    (target,) = found["targets"]
    base, vanilla = target["rows"]
    assert base["baseline"] is None
    assert vanilla["baseline"] == "base"
    assert {"difference", "p_seeds", "p_speakers"} <= vanilla.keys()
    assert vanilla["uar"]["sd"] is not None
    text = (root / "table.md").read_text()
    assert "| system | UAR % | interval | accuracy % | difference | t-test | bootstrap |" in text
    assert "the largest class is 33.3 %" in text
    assert text.strip() in capfd.readouterr().err


def test_a_checkpoint_gives_the_predictions(corpus: Path, tmp_path: Path) -> None:
    root = train(recipe(corpus, tmp_path))
    checkpoint = read_checkpoint(
        root / "emotion" / "vanilla" / "checkpoints" / "toy-s3-0.safetensors"
    )
    assert (checkpoint.fold, checkpoint.seed) == ("toy s3", 0)
    assert checkpoint.labels == (("anger", "happiness", "sadness"),)
    table = read_predictions(root / "emotion" / "vanilla" / "predictions" / "toy-s3-0.parquet")
    manifest = systems_data.read_corpus(CorpusChoice(str(corpus), licence="CC0"))
    config = systems_data.feature_config(checkpoint.features)
    values = extract(manifest.utterances, config, jobs=1).values
    x = np.stack([values[key] for key in table.id])
    limit = checkpoint.features.limit
    x = ((torch.from_numpy(x) - checkpoint.mean[0]) / checkpoint.scale[0]).clamp(-limit, limit)
    with torch.no_grad():
        logits, z = checkpoint.net.encoder(x.float()[None])
    assert torch.softmax(logits[0][0], 1).numpy() == pytest.approx(table.scores, abs=1e-5)
    assert z is not None
    assert z.shape == (1, len(x), 6)


def test_what_is_gone_is_trained_again_to_the_same(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path)
    root = train(path)
    folder = root / "emotion" / "vanilla"
    before, metrics = scores(folder), json.loads((folder / "metrics.json").read_text())
    for name in ("toy-s1-0", "toy-s4-0"):
        (folder / "predictions" / f"{name}.parquet").unlink()
    table = (root / "table.json").read_text()
    train(path, ["at_once=1"])
    after = scores(folder)
    assert after.keys() == before.keys()
    assert all(after[key] == pytest.approx(before[key], abs=1e-4) for key in before)
    again = json.loads((folder / "metrics.json").read_text())
    assert again["uar"]["mean"] == pytest.approx(metrics["uar"]["mean"])
    assert json.loads((root / "table.json").read_text()).keys() == json.loads(table).keys()


def test_what_is_done_is_not_trained_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(corpus, tmp_path)
    root = train(path)
    moved = tmp_path / "moved"
    for name in ("base", "vanilla"):
        part = Path("emotion") / name / "predictions"
        shutil.copytree(root / part, moved / part)
    monkeypatch.setattr(aae_run, "fit", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(systems_data, "extract", lambda *_, **__: pytest.fail("it read audio"))
    assert train(path) == root
    train(path, [f"out={moved}"])
    tables = [read_table(r)["targets"][0]["rows"] for r in (root, moved)]
    assert [r["uar"] for r in tables[0]] == [r["uar"] for r in tables[1]]
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(recipe(corpus, tmp_path, BOTH.replace("epochs = 8", "epochs = 9")))


def test_the_same_run_twice_gives_the_same(corpus: Path, tmp_path: Path) -> None:
    text = system("optimized", 'preset = "optimized"', "labelled = 0.5", "noise = 0.1", epochs=3)
    path = recipe(corpus, tmp_path, text)
    first = scores(train(path) / "emotion" / "optimized")
    second = scores(train(path, [f"out={tmp_path / 'again'}"]) / "emotion" / "optimized")
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_a_diverged_fold_is_told_and_the_others_are_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(corpus, tmp_path, system("vanilla", epochs=3))
    real, calls = aae.classification_loss, [0]

    def spoilt(logits: Tensor, truth: Tensor) -> Tensor:
        calls[0] += 1
        factor = torch.ones(len(logits))
        if calls[0] == 5 and len(factor) == 5:
            factor[2] = float("nan")
        return real(logits, truth) * factor

    with monkeypatch.context() as patch:
        patch.setattr(aae, "classification_loss", spoilt)
        with pytest.raises(
            DataError, match="fold toy s2, seed 0 diverged: a loss is no number"
        ) as e:
            train(path, ['checkpoints="none"'])
    folder = tmp_path / "run" / "emotion" / "vanilla"
    kept = folder / "checkpoints" / "toy-s2-0.safetensors"
    assert str(kept) in str(e.value)
    assert all(torch.isfinite(p).all() for p in read_checkpoint(kept).net.encoder.parameters())
    done = sorted(p.stem for p in (folder / "predictions").iterdir())
    assert done == ["toy-s0-0", "toy-s1-0", "toy-s3-0", "toy-s4-0"]
    assert "diverged" in (folder / "log.txt").read_text()
    assert not (tmp_path / "run" / "table.md").exists()
    train(path, ['checkpoints="none"'])
    assert (tmp_path / "run" / "table.md").exists()


def test_all_targets_and_levels(corpus: Path, tmp_path: Path) -> None:
    frames = ", frames = 32"
    text = (
        'targets = [{ name = "emotion" }, { name = "activation", rule = "activation-binary" }]\n'
        + BASE.replace("epochs = 8", "epochs = 2")
        + system("fr-base", 'network = "base"', features=frames, epochs=2)
        + system("fr-optimized", 'preset = "optimized"', features=frames, epochs=2)
    )
    root = train(recipe(corpus, tmp_path, text))
    emotion, activation = read_table(root)["targets"]
    assert "3 classes" in emotion["labels"]
    assert "2 classes" in activation["labels"]
    assert [r["baseline"] for r in emotion["rows"]] == [None, None, "fr-base"]
    assert "32 frames of 10 ms" in emotion["rows"][2]["features"]


def test_joint_targets(corpus: Path, tmp_path: Path) -> None:
    targets = '{ name = "emotion" }, { name = "level", rule = "activation-binary" }'
    text = f"joint = true\ntargets = [{targets}]\n" + system("joint")
    root = train(recipe(corpus, tmp_path, text))
    for target, classes in (("emotion", 3), ("level", 2)):
        metrics = json.loads((root / target / "joint" / "metrics.json").read_text())
        assert len(metrics["labels"]) == classes
        assert metrics["uar"]["mean"] > 0.8
    checkpoint = read_checkpoint(
        root / "emotion" / "joint" / "checkpoints" / "toy-s0-0.safetensors"
    )
    assert [len(part) for part in checkpoint.labels] == [3, 2]


def read_table(root: Path) -> Any:
    return json.loads((root / "table.json").read_text(encoding="utf-8"))


def _recipe(corpus: Path, *systems: System, **more: Any) -> AaeRecipe:
    choice = CorpusChoice(str(corpus), licence="CC0")
    protocol = ProtocolChoice("speakers")
    return AaeRecipe(
        kind="aae",
        name="toy",
        corpora=(choice,),
        protocol=protocol,
        systems=systems or (System("x"),),
        **more,
    )


def test_the_labelled_part_is_the_same_for_every_system(corpus: Path) -> None:
    found = sources(_recipe(corpus), [Target("emotion")])
    which = [(i, s) for i in range(5) for s in (0, 1)]
    kinds = [
        System("base", network="base", batch=8, labelled=0.25),
        System("aae", batch=8, labelled=0.25),
        System("optimized", preset="optimized", batch=16, labelled=0.25),
    ]
    base, aae_jobs, optimized = (jobs_of(found, kind, which) for kind in kinds)
    for one, other, third in zip(base, aae_jobs, optimized, strict=True):
        assert one.labelled.tolist() == other.labelled.tolist() == third.labelled.tolist()
        assert len(one.labelled) == 9  # a quarter of 3 speakers' 12 of each class
        assert one.unlabelled.tolist() == other.unlabelled.tolist()  # to normalise with
        assert sorted([*other.labelled, *other.unlabelled]) == sorted(
            found.main.rows(found.main.table.folds[other.fold].train)
        )
    assert base[0].labelled.tolist() != base[1].labelled.tolist()


def test_every_class_keeps_a_label() -> None:
    truth = np.repeat([0, 1, 2], [50, 3, 1])
    kept = labelled_part(np.arange(54), truth, 0.05, (0, 0))
    assert np.bincount(truth[kept]).tolist() == [2, 1, 1]


def test_hidden_labels_change_nothing(corpus: Path, tmp_path: Path) -> None:
    """Of training rows; a tested label changes the score and not the scores of the classes."""
    text = system("vanilla", "labelled = 0.5", epochs=2)
    path = recipe(corpus, tmp_path, text)
    before = scores(train(path) / "emotion" / "vanilla")
    found = sources(_recipe(corpus), [Target("emotion")])
    (job,) = jobs_of(found, System("x", batch=8, labelled=0.5), [(0, 0)])
    real = systems_data.truth_of

    def scrambled(*arguments: Any) -> Any:
        truth = real(*arguments)
        truth[job.unlabelled] = (truth[job.unlabelled] + 1) % 3
        return truth

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(systems_data, "truth_of", scrambled)
        after = scores(train(path, [f"out={tmp_path / 'other'}"]) / "emotion" / "vanilla")
    fold = {found.main.utterances[i].id for i in job.test}
    same = {key: np.array_equal(before[key], after[key]) for key in before}
    assert all(same[key] for key in before if key.split()[0] in fold)
    assert not all(same.values())


def test_foreign_audio_joins(corpus: Path, tmp_path: Path) -> None:
    other = _foreign(tmp_path)
    text = f'unlabelled = [{{ name = "{other}", licence = "CC0" }}]\n' + BASE
    joined = system("others", "unlabelled = true", "labelled = 0.5", epochs=2)
    text += joined + system("alone", "labelled = 0.5", epochs=2)
    root = train(recipe(corpus, tmp_path, text))
    one, two = (scores(root / "emotion" / name) for name in ("others", "alone"))
    assert one.keys() == two.keys()
    assert not all(np.array_equal(one[key], two[key]) for key in one)
    assert "other corpora unlabelled" in read_table(root)["targets"][0]["rows"][1]["model"]


def _foreign(tmp_path: Path, name: str = "foreign", **changes: str) -> Path:
    """Another corpus, of other speakers."""
    folder = toy_corpus.make(tmp_path / "others" / name, speakers=2, each=2, seconds=0.5)
    rows = [[*r[:2], changes.get(r[2], f"x{r[2]}"), *r[3:]] for r in toy_corpus.rows(folder)]
    toy_corpus.write(folder, [tuple(r) for r in rows])
    return folder


def test_baselines_hear_and_know_the_same() -> None:
    systems = (
        System("b", network="base"), System("few", network="base", labelled=0.1),
        System("v"), System("f", labelled=0.1), System("fewer", labelled=0.05),
    )  # fmt: skip
    made = _recipe(Path("x"), *systems)
    found = [baseline_of(made, s) for s in systems]
    assert [None if b is None else b.name for b in found] == [None, None, "b", "few", None]


# What is wrong, and what is said before anything is trained.
Spoil = Callable[[Path, Path], str]


def _write(corpus: Path, change: Callable[[list[str]], list[str]]) -> str:
    toy_corpus.write(corpus, [tuple(change(r)) for r in toy_corpus.rows(corpus)])
    return BOTH


def _one_class(corpus: Path, _: Path) -> str:
    return _write(corpus, lambda r: [r[0], "anger", *r[2:]])


def _class_of_one_speaker(corpus: Path, _: Path) -> str:
    change = {"s1": "fear"}  # who validates in the first fold
    return _write(corpus, lambda r: [r[0], change.get(r[2], r[1]), *r[2:]])


def _speaker_shared(_: Path, tmp_path: Path) -> str:
    other = _foreign(tmp_path, "toy", s1="s3")
    return f'unlabelled = [{{ name = "{other}", licence = "CC0" }}]\n{BASE}'


def _recording_shared(corpus: Path, tmp_path: Path) -> str:
    other = _foreign(tmp_path)
    shutil.copy(corpus / "audio" / "2-anger-1.wav", other / "audio" / "0-anger-0.wav")
    return f'unlabelled = [{{ name = "{other}", licence = "CC0" }}]\n{BASE}'


def _joint_apart(corpus: Path, _: Path) -> str:
    _write(corpus, lambda r: [r[0], "surprise" if r[1] == "anger" else r[1], *r[2:]])
    targets = '{ name = "emotion" }, { name = "feeling", rule = "sentiment" }'
    return f"joint = true\ntargets = [{targets}]\n{BOTH}"


def _too_short(corpus: Path, _: Path) -> str:
    import soundfile

    soundfile.write(corpus / "audio" / "2-anger-1.wav", np.zeros(20), 16_000)
    return BOTH


WRONG: dict[str, tuple[Spoil | str, str]] = {
    "one class": (_one_class, "one label only, anger"),
    "a fold without a class": (_class_of_one_speaker, "fold toy s0: nobody who trains has the la"),
    "unlabelled speaker": (
        _speaker_shared,
        "the speaker toy.s3 of the labelled corpora, who tests",
    ),
    "unlabelled recording": (_recording_shared, r"the same recording as toy/2-anger-1"),
    "joint targets apart": (_joint_apart, "joint = true needs targets that every utterance has"),
    "no features": (_too_short, "recordings give no features, mend them.*2-anger-1"),
    "too few for a batch": (
        BASE + system("big").replace("batch = 16", "batch = 64"),
        "fold toy s0: 36 training utterances are fewer than a batch of 64; lower batch",
    ),
    "two of one name": (BASE + BASE, "systems need names of their own .* not 'base'"),
    "two targets of one name": (
        'targets = [{ name = "a" }, { name = "a", rule = "sentiment" }]\n' + BASE,
        "targets need names of their own",
    ),
    "a name that is a path": (system("../x"), "names of their own that can name a folder"),
    "unlabelled without corpora": (system("x", "unlabelled = true"), "names no .*unlabelled"),
    "frames of the second system": (
        BASE + system("fr", features=", frames = 100"),
        "frames = 100 can't be pooled",
    ),
    "step without frames": (BASE + system("x", features=", step = 2"), "x: step = 2 joins frames"),
    "unknown features": (BASE + system("x").replace("mfcc", "mfcx"), "no feature set 'mfcx'"),
    "unknown rule": (
        'targets = [{ name = "x", rule = "levels" }]\n' + BASE,
        "levels: no label rule",
    ),
    "unknown setting": (system("x", "ratee = 1"), "ratee"),
    "no systems": ("systems = []", "systems"),
    "no seeds": ("seeds = []\n" + BASE, "seeds"),
    "a negative weight": (system("x", "weights = { y = -1 }"), "weights.y"),
    "a batch of one": (BASE.replace("batch = 16", "batch = 1"), "batch"),
    "no labels": (system("x", "labelled = 0"), "labelled"),
    "dropout of all": (system("x", "discriminator_dropout = 1"), "discriminator_dropout"),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.usefixtures("no_training")
def test_what_is_wrong_is_told_before_any_training(what: str, corpus: Path, tmp_path: Path) -> None:
    spoil, said = WRONG[what]
    text = spoil if isinstance(spoil, str) else spoil(corpus, tmp_path)
    with pytest.raises(VoicetoneError, match=said) as caught:
        train(recipe(corpus, tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_training")
def test_labels_that_only_test_are_told(corpus: Path, tmp_path: Path) -> None:
    other = _foreign(tmp_path)
    _write(other, lambda r: [r[0], "fear", *r[2:]])
    sides = [f'{{ name = "{p}", licence = "CC0", side = "{s}" }}'
             for p, s in ((corpus, "train"), (other, "test"))]  # fmt: skip
    with pytest.raises(DataError, match="nobody who trains has the label fear"):
        train(
            recipe(corpus, tmp_path),
            [f"corpora=[{', '.join(sides)}]", 'protocol={name="across", validation=1}'],
        )


@pytest.mark.usefixtures("no_training")
def test_features_of_no_number_are_told_whoever_hears_them(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the second system are looked at before the first one trains."""

    def spoilt(utterances: Any, config: Any, **more: Any) -> Features:
        found = extract(utterances, config, **more)
        if not config.functionals:
            found.values["toy/3-anger-0"][:] = np.nan  # type: ignore[index]
        return found

    monkeypatch.setattr(systems_data, "extract", spoilt)
    text = BASE + system("fr", features=", frames = 32")
    with pytest.raises(DataError, match="features of toy/3-anger-0 are no numbers"):
        train(recipe(corpus, tmp_path, text))


@pytest.mark.usefixtures("no_training")
def test_unknown_kind(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match="kind = 'vae' is unknown; known are: aae, classifier, fusion, gmm-aae, "
        "pretrain, speaker-aware, tone, voice-tone",
    ):
        train(recipe(corpus, tmp_path), ["kind=vae"])
    with pytest.raises(UsageError, match="epochs=3"):
        train(recipe(corpus, tmp_path), ["epochs=3"])
