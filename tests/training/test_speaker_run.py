"""Runs of speaker-aware transformers: every integration, controls, resuming, and mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training import toy_corpus
from voicetone.corpora.tables import write_manifest
from voicetone.errors import DataError
from voicetone.evaluation.table import Texts, concatenate, read_predictions
from voicetone.features.extract import extract
from voicetone.features.lengths import fitted, stepped
from voicetone.models.speaker_aware import INTEGRATIONS
from voicetone.training import speaker_run, speaker_voices
from voicetone.training.classifier_data import read_corpus
from voicetone.training.classifier_recipe import CorpusChoice
from voicetone.training.run import train
from voicetone.training.speaker_checkpoint import SpeakerCheckpoint, read_speaker_checkpoint
from voicetone.training.speaker_fit import Frames, Outcome, Trial
from voicetone.training.systems_data import feature_config
from voicetone.types import Floats

RECIPE = """
kind = "speaker-aware"
name = "toy"
jobs = 1
out = "{out}"
corpora = [{{ name = "{corpus}", licence = "CC0" }}]
protocol = {{ name = "groups", groups = {groups}, validation = 1 }}
speaker = {{ curve = [0, 0.6] }}
"""
SYSTEM = """
[[systems]]
name = "{name}"
features = {{ name = "logmel", frames = 20, step = 2{features} }}
width = 8
heads = 2
layers = 1
subsample = 2
dropout = 0.0
masks = 0
epochs = {epochs}
batch = 6
rate = 1e-2
{more}
"""


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers: two train, one validates, three test."""
    return toy_corpus.make(tmp_path_factory.mktemp("six") / "toy", speakers=6, each=2)


@pytest.fixture
def corpus(six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may spoil; features are shared by all tests."""
    monkeypatch.setenv("VOICETONE_CACHE", str(six.parent / "cache"))
    shutil.copytree(six, tmp_path / "toy")
    return tmp_path / "toy"


def system(name: str, *more: str, features: str = "", epochs: int = 2) -> str:
    return SYSTEM.format(name=name, more="\n".join(more), features=features, epochs=epochs)


def recipe(corpus: Path, tmp_path: Path, text: str, groups: int = 2) -> Path:
    path = tmp_path / "toy.toml"
    head = RECIPE.format(out=tmp_path / "run", corpus=corpus, groups=groups)
    path.write_text(head + text, encoding="utf-8")
    return path


def scores(folder: Path, kind: str = "predictions") -> Floats:
    table = concatenate([read_predictions(p) for p in sorted((folder / kind).iterdir())])
    return table.scores[np.argsort(table.id)]


PREFIX = system("prefix", 'integration = "prefix"')
SHUFFLED = system("shuffled", 'integration = "prefix"', 'control = "shuffled"')
ZERO = system("zero", 'integration = "prefix"', 'control = "zero"')


def test_every_integration_trains(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "".join(system(name, f'integration = "{name}"') for name in INTEGRATIONS)
    text += system("z-norm", features=', normalise = "speaker"') + SHUFFLED + ZERO
    root = train(recipe(corpus, tmp_path, text))
    found = json.loads((root / "table.json").read_text())
    rows = {row["system"]: row for row in found["targets"][0]["rows"]}
    assert rows["none"]["baseline"] is None
    assert all(row["baseline"] == "none" for name, row in rows.items() if name != "none")
    none = scores(root / "emotion" / "none")
    for name, row in rows.items():
        folder = root / "emotion" / name
        own = scores(folder)
        assert np.isfinite(own).all(), name
        assert own.shape == (36, 3)
        assert name == "none" or not np.allclose(own, none, atol=1e-5), name
        takes = name not in ("none", "z-norm", "gradient-reversal")
        said = "uses the unlabelled audio of test speakers"
        audio = said in row["model"] + row["features"].replace("per speaker: uses", "uses")
        assert audio == ((takes and name != "zero") or name == "z-norm"), name
        metrics = json.loads((folder / "metrics.json").read_text())
        curved = name == "z-norm" or (takes and name not in ("shuffled", "zero"))
        assert len(metrics["convergence"].get("curve", [])) == (2 if curved else 0)
    assert (
        "speaker_accuracy"
        in json.loads((root / "emotion" / "gradient-reversal" / "metrics.json").read_text())[
            "convergence"
        ]["last_epoch"]
    )
    assert "| prefix |" in capfd.readouterr().err


def test_what_sounds_different_is_told_apart(corpus: Path, tmp_path: Path) -> None:
    text = system("prefix", 'integration = "prefix"', 'loss = "focal"', epochs=12)
    root = train(recipe(corpus, tmp_path, text))
    metrics = json.loads((root / "emotion" / "prefix" / "metrics.json").read_text())
    assert metrics["uar"]["mean"] > 0.8


def test_the_curve(corpus: Path, tmp_path: Path) -> None:
    root = train(recipe(corpus, tmp_path, PREFIX))
    folder = root / "emotion" / "prefix"
    unknown, some, whole = (
        scores(folder, kind) for kind in ("enrolment-0s", "enrolment-0.6s", "predictions")
    )
    assert not np.allclose(unknown, whole, atol=1e-6)
    assert not np.allclose(some, whole, atol=1e-7)
    curve = json.loads((folder / "metrics.json").read_text())["convergence"]["curve"]
    assert [point["seconds"] for point in curve] == [0, 0.6]
    assert curve[0]["heard"] == 0
    assert 0 < curve[1]["heard"] <= 0.6
    # At 0 s the network says what it says of an unknown speaker.
    path = folder / "checkpoints" / "toy-s0-s2-0.safetensors"
    kept = read_speaker_checkpoint(path)
    assert kept.encoder == "statistics-1"
    table = read_predictions(folder / "enrolment-0s" / "toy-s0-s2-0.parquet")
    x, mask = heard(corpus, kept, table.id)
    with torch.no_grad():
        logits = kept.net(x, mask, torch.zeros(len(x), 80), torch.zeros(len(x))).logits["emotion"]
    assert torch.softmax(logits, 1).numpy() == pytest.approx(table.scores, abs=1e-5)


def heard(corpus: Path, kept: SpeakerCheckpoint, ids: Texts) -> tuple[torch.Tensor, torch.Tensor]:
    """What the toy networks hear of some utterances."""
    manifest = read_corpus(CorpusChoice(str(corpus), licence="CC0"))
    values = extract(manifest.utterances, feature_config(kept.features), jobs=1).values
    parts = [
        fitted(
            np.clip(
                (stepped(values[key], 2) - kept.mean[0].numpy()) / kept.scale[0].numpy(), -10, 10
            ),
            20,
        )
        for key in ids
    ]
    x, mask = (torch.from_numpy(np.stack([p[i] for p in parts])) for i in (0, 1))
    return x.float(), mask


def test_what_is_gone_is_trained_again_to_the_same_in_any_processes(
    corpus: Path, tmp_path: Path
) -> None:
    text = system("prefix", 'integration = "prefix"', "dropout = 0.1", "masks = 1").replace(
        "dropout = 0.0\nmasks = 0\n", ""
    )
    path = recipe(corpus, tmp_path, text)
    folder = train(path) / "emotion" / "prefix"
    before, curve = scores(folder), scores(folder, "enrolment-0.6s")
    kept = sorted((folder / "predictions").iterdir())
    stamp = kept[0].stat().st_mtime_ns
    kept[1].unlink()
    train(path)
    assert kept[0].stat().st_mtime_ns == stamp
    assert np.array_equal(scores(folder), before)
    again = train(path, [f"out={tmp_path / 'two'}", "jobs=2"]) / "emotion" / "prefix"
    assert np.array_equal(scores(again), before)
    assert np.array_equal(scores(again, "enrolment-0.6s"), curve)


def test_what_is_done_is_not_trained_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(corpus, tmp_path, PREFIX)
    root = train(path)
    monkeypatch.setattr(speaker_run, "fit", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(speaker_voices, "speaker_encoder", lambda *_: pytest.fail("it opened"))
    assert train(path) == root
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(path, ["speaker.enrolment=1.5"])


def test_zero_knows_nothing_and_shuffled_something_else(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: dict[str, Trial] = {}

    def fit(frames: Frames, trial: Trial, *_: object) -> Outcome:
        trials.setdefault(trial.system.name, trial)
        return Outcome(1, {"loss": [1.0]}, {}, np.full((len(trial.job.test), 3), 1 / 3), [])

    monkeypatch.setattr(speaker_run, "fit", fit)
    true = system("true", 'integration = "prefix"')
    path = recipe(corpus, tmp_path, true + SHUFFLED + ZERO)
    train(path, ['checkpoints="none"', "speaker.curve=[]"])
    own, other = (trials[name].knowledge for name in ("true", "shuffled"))
    assert not trials["zero"].knowledge.known.any()
    assert not trials["zero"].knowledge.embedding.any()
    assert own.known.all()
    job = trials["true"].job
    speaker = np.repeat(np.arange(6), 6)
    for rows in (job.labelled, job.test):
        inside = {tuple(own.embedding[i]): speaker[i] for i in rows}
        origins = [inside[tuple(other.embedding[i])] for i in rows]
        assert all(origin != speaker[i] for origin, i in zip(origins, rows, strict=True))
        assert len(set(origins)) > 1
    # One speaker validates, so that there is no other in that part: training speakers stand in.
    training = {tuple(own.embedding[i]) for i in job.labelled}
    assert all(tuple(other.embedding[i]) in training for i in job.validation)


def test_leave_one_out_hears_its_own_part_only(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `dependent` a speaker is on every side, and still none hears of another side."""
    trials: list[Trial] = []

    def fit(frames: Frames, trial: Trial, *_: object) -> Outcome:
        trials.append(trial)
        further = [np.full((len(trial.job.test), 3), 1 / 3, dtype=np.float32)] * 2
        return Outcome(1, {"loss": [1.0]}, {}, further[0], further)

    monkeypatch.setattr(speaker_run, "fit", fit)
    path = recipe(corpus, tmp_path, PREFIX)
    train(path, ['checkpoints="none"', 'protocol={name="dependent", groups=3}'])
    own = trials[0].knowledge
    job = trials[0].job
    rows = [i for i in job.test if i < 6]
    assert len(rows) > 1
    parts = {tuple(np.round(own.embedding[i], 6)) for i in rows}
    assert len(parts) == len(rows)
    assert own.seconds[rows[0]] < 0.4 * len(rows)


def test_a_diverged_training_is_told_and_the_others_are_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = speaker_run.fit

    def spoilt(frames: Frames, trial: Trial, step: Callable[[], None], *more: object) -> Outcome:
        if trial.job.fold == 0:
            trial.mean[:] = np.nan
        return real(frames, trial, step)

    monkeypatch.setattr(speaker_run, "fit", spoilt)
    with pytest.raises(DataError, match="seed 0 diverged: a loss is no number"):
        train(recipe(corpus, tmp_path, PREFIX))
    folder = tmp_path / "run" / "emotion" / "prefix"
    assert [p.name for p in (folder / "predictions").iterdir()] == ["toy-s3-s5-0.parquet"]
    assert len(list((folder / "checkpoints").iterdir())) == 2


def test_a_speaker_with_one_clip_is_unknown(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = toy_corpus.rows(corpus)
    for number, row in enumerate(rows[:6]):
        row[2] = "s0" if number else "s0b"
    toy_corpus.write(corpus, [tuple(row) for row in rows])
    train(recipe(corpus, tmp_path, PREFIX), ["speaker.curve=[]"])
    log = (tmp_path / "run" / "emotion" / "prefix" / "log.txt").read_text()
    assert "1 utterances whose speaker has no other there have no embedding" in log


def test_context_needs_sessions_and_hears_what_came_before(corpus: Path, tmp_path: Path) -> None:
    text = system("context", "context = 2")
    path = recipe(corpus, tmp_path, text)
    with pytest.raises(DataError, match="the corpora name none"):
        train(path)
    rows = [(*row, f"d{i // 3}") for i, row in enumerate(toy_corpus.rows(corpus))]
    toy_corpus.write(corpus, rows, (*toy_corpus.COLUMNS, "session"))
    root = train(path)
    assert np.isfinite(scores(root / "emotion" / "context")).all()


BAD = {
    "functionals": (
        system("a", features="").replace(", frames = 20, step = 2", ""),
        "hears frames",
    ),
    "control": (system("a", 'control = "zero"'), "none takes none: leave it out"),
    "places": (system("a", 'integration = "addition"', "places = [2]"), "places"),
    "heads": (system("a").replace("heads = 2", "heads = 3"), "3 heads"),
    "name": (system("a", 'integration = "magic"'), "integration"),
    "path": (PREFIX + '[speaker]\npath = "x.onnx"\n', "a path is for the encoder onnx"),
    "no path": (PREFIX + '[speaker]\nencoder = "onnx"\n', "which needs one"),
    "gone": (PREFIX + '[speaker]\nencoder = "onnx"\npath = "x.onnx"\n', "can't be read"),
    "curve": (PREFIX + "[speaker]\ncurve = [-1]\n", "curve"),
    "enrolment": (PREFIX + "[speaker]\nenrolment = 0\n", "enrolment"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_named(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(speaker_run, "fit", lambda *_: pytest.fail("it trained"))
    text, message = BAD[name]
    path = recipe(corpus, tmp_path, text)
    if "[speaker]" in text:
        path.write_text(path.read_text().replace("speaker = { curve = [0, 0.6] }\n", ""))
    with pytest.raises(DataError, match=message):
        train(path)


@pytest.mark.parametrize("integration", ["prefix", "gradient-reversal"])
def test_speakers_have_to_be_known(corpus: Path, tmp_path: Path, integration: str) -> None:
    manifest = read_corpus(CorpusChoice(str(corpus), licence="CC0"))
    nobody = tuple(replace(u, speaker=None) for u in manifest.utterances)
    write_manifest(replace(manifest, utterances=nobody), tmp_path / "nobody.csv")
    unknown = [
        f'corpora=[{{name="{tmp_path / "nobody.csv"}", licence="CC0"}}]',
        'protocol={name="dependent", groups=3}',
    ]
    train(recipe(corpus, tmp_path, system("none", epochs=1)), unknown)
    path = recipe(corpus, tmp_path, system("a", f'integration = "{integration}"'))
    with pytest.raises(DataError, match="36 of 36 utterances lack it"):
        train(path, [*unknown, f"out={tmp_path / 'other'}"])
