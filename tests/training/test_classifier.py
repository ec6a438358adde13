"""Classifier runs: scores, resuming, determinism, and mistakes named before any training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from training import toy_corpus
from training.toy_corpus import SVM, recipe
from voicetone.errors import DataError, UsageError, VoicetoneError
from voicetone.evaluation.table import concatenate, read_predictions
from voicetone.training import classifier_run
from voicetone.training.classifier_fit import Examples, Settings, candidates, inner_folds, run_fold
from voicetone.training.classifier_recipe import LinearSvm, NetworkChoice, RbfSvm, Selection
from voicetone.training.run import train


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("it trained")

    monkeypatch.setattr(classifier_run, "run_fold", refuse)
    monkeypatch.setattr(classifier_run, "extract", refuse)


def _scores(run: Path) -> dict[str, np.ndarray]:
    table = concatenate([read_predictions(p) for p in sorted((run / "predictions").iterdir())])
    return {f"{i} {s}": row for i, s, row in zip(table.id, table.seed, table.scores, strict=True)}


MODELS = {
    "svm": SVM,
    "rbf": SVM.replace('"linear-svm"\nC = 0.01', '"rbf-svm"\nC = 1.0'),
    "logistic": SVM.replace('"linear-svm"\nC = 0.01', '"logistic"\nC = 1.0'),
    "mlp": SVM.replace('"linear-svm"\nC = 0.01', '"mlp"\nepochs = 8\nbatch = 8\nrate = 0.003'),
    "lstm": SVM.replace('level = "functionals"', 'level = "frames"').replace(
        '"linear-svm"\nC = 0.01', '"lstm"\nepochs = 3\nbatch = 8\nrate = 0.01'
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_learns_and_repeats(corpus: Path, tmp_path: Path, kind: str) -> None:
    path = recipe(corpus, tmp_path / "toy.toml", MODELS[kind])
    run = train(path)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["uar"]["mean"] > 0.8
    for name in ("uar", "wa", "macro_f1"):
        assert set(metrics[name]) == {"mean", "sd", "low", "high"}
        assert metrics[name]["low"] <= metrics[name]["mean"] <= metrics[name]["high"]
    assert metrics["majority_rate"] == pytest.approx(1 / 3)
    assert metrics["protocol"] == "toy: leave one speaker out"
    assert metrics["label_rule"].startswith("emotion, 3 classes")
    assert metrics["fold_hash"] == json.loads((run / "folds.json").read_text())["hash"]
    assert (run / "log.txt").read_text().count("sentences: 4 of 4") == 1
    assert "toy: leave one speaker out" in (run / "report.html").read_text()
    again = train(path, [f"out={tmp_path / 'again'}"])
    first, second = _scores(run), _scores(again)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_done_folds_are_not_trained_again(
    corpus: Path, tmp_path: Path, no_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path / "cache"))
    path = recipe(corpus, tmp_path / "toy.toml")
    run = train(path)
    before = json.loads((run / "metrics.json").read_text())
    trained: list[int] = []
    real = classifier_run.run_fold

    def counted(*arguments: object) -> object:
        trained.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(classifier_run, "run_fold", counted)
    train(path)
    assert trained == []
    gone = run / "predictions" / "toy-s2-0.parquet"
    gone.unlink()
    train(path)
    assert len(trained) == 1
    assert json.loads((run / "metrics.json").read_text()) == before


def test_from_the_predictions_alone_on_another_machine(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(corpus, tmp_path / "toy.toml")
    run = train(path)
    moved = tmp_path / "moved"
    shutil.copytree(run / "predictions", moved / "predictions")
    monkeypatch.setattr(classifier_run, "extract", lambda *_, **__: pytest.fail("it trained"))
    assert train(path, [f"out={moved}"]) == moved
    one, two = (json.loads((r / "metrics.json").read_text()) for r in (run, moved))
    assert one == two


def test_a_folder_of_another_run_is_refused(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path / "toy.toml")
    run = train(path)
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(path, ["model.C=0.5"])
    other = tmp_path / "other"
    shutil.copytree(run / "predictions", other / "predictions")
    with pytest.raises(DataError, match="predictions of another recipe"):
        train(path, ["model.C=0.5", f"out={other}"])
    rows = toy_corpus.rows(corpus)
    rows[0][1], rows[1][1] = "anger", "sadness"
    toy_corpus.write(corpus, [tuple(r) for r in rows])
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(path)


def test_where_the_data_lie_does_not_matter(corpus: Path, tmp_path: Path) -> None:
    run = train(recipe(corpus, tmp_path / "toy.toml"))
    elsewhere = tmp_path / "elsewhere" / "toy"
    shutil.move(corpus, elsewhere)
    assert train(recipe(elsewhere, tmp_path / "toy.toml")) == run


def test_killed_and_gone_on(corpus: Path, tmp_path: Path, made: Path) -> None:
    path = recipe(corpus, tmp_path / "toy.toml", MODELS["mlp"])
    slow = ["model.epochs=150", f"out={tmp_path / 'killed'}"]
    whole = train(path, ["model.epochs=150", f"out={tmp_path / 'whole'}"])
    environment = {**os.environ, "VOICETONE_CACHE": str(made.parent / "cache")}
    command = [sys.executable, "-m", "voicetone", "train", str(path), *slow]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    predictions = tmp_path / "killed" / "predictions"
    until = time.monotonic() + 60
    while not list(predictions.glob("*.parquet")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list(predictions.glob("*.parquet")))
    assert 1 <= done < 5
    run = train(path, slow)
    first, second = _scores(whole), _scores(run)
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_processes_give_the_same(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path / "toy.toml", MODELS["mlp"])
    one = _scores(train(path, ["seeds=[0, 1]"]))
    two = _scores(train(path, ["seeds=[0, 1]", "jobs=2", f"out={tmp_path / 'two'}"]))
    assert len(one) == 120
    assert all(np.array_equal(one[key], two[key]) for key in one)
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert metrics["seeds"] == [0, 1]
    assert metrics["uar"]["sd"] is not None


def _spoil(corpus: Path, how: str) -> None:
    rows = toy_corpus.rows(corpus)
    columns = toy_corpus.COLUMNS
    if how == "typo":
        rows[6][1] = "angre"
    elif how == "gone":
        (corpus / rows[6][0]).unlink()
    elif how == "twice":
        rows[6][0] = rows[5][0]
    elif how == "duplicate":
        shutil.copy(corpus / rows[3][0], corpus / rows[-1][0])
    elif how == "column":
        columns = (*columns[:2], "talker", *columns[3:])
    toy_corpus.write(corpus, [tuple(r) for r in rows], columns)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("typo", r"manifest\.csv:8: .*'angre'"),
        ("gone", r"manifest\.csv:8: .*is gone"),
        ("twice", r"manifest\.csv:8: .*(id of an earlier row|id .* is that of)"),
        ("duplicate", r"manifest\.csv:5 .*same recording as .*manifest\.csv:61"),
        ("column", r"manifest\.csv:\d.*speaker"),
    ],
)
def test_mistakes_are_named_by_file_and_line_before_training(
    corpus: Path, tmp_path: Path, no_training: None, how: str, message: str
) -> None:
    _spoil(corpus, how)
    with pytest.raises(VoicetoneError, match=message) as caught:
        train(recipe(corpus, tmp_path / "toy.toml"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_planted_speaker_leak_is_named_before_training(
    corpus: Path, tmp_path: Path, no_training: None
) -> None:
    keys = [f"toy/{Path(row[0]).stem}" for row in toy_corpus.rows(corpus)]
    fold = {"name": "mine", "train": keys[:40], "validation": [], "test": keys[40:]}
    (tmp_path / "folds.json").write_text(json.dumps({"folds": [fold]}))
    text = SVM.replace('"speakers"', f'"table"\nfile = "{tmp_path / "folds.json"}"')
    path = recipe(corpus, tmp_path / "toy.toml", text)
    with pytest.raises(
        DataError, match=r"speaker toy/s3 leaks from train to test .*manifest\.csv:42"
    ):
        train(path)


def test_broken_recordings_are_all_named_and_nothing_is_scored(
    corpus: Path, tmp_path: Path
) -> None:
    rows = toy_corpus.rows(corpus)
    for index in (3, 17):
        (corpus / rows[index][0]).write_bytes(b"RIFF nothing %d" % index)
    with pytest.raises(DataError, match=r"manifest\.csv:5: .*manifest\.csv:19: ") as caught:
        train(recipe(corpus, tmp_path / "toy.toml"))
    assert rows[3][0] in str(caught.value)
    assert rows[17][0] in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_recordings_without_features_are_named_before_the_run_begins(
    corpus: Path, tmp_path: Path
) -> None:
    import soundfile

    rows = toy_corpus.rows(corpus)
    soundfile.write(corpus / rows[3][0], np.full(40, 0.1), 16_000)
    with pytest.raises(DataError, match=r"manifest\.csv:5: .* too short for mfcc"):
        train(recipe(corpus, tmp_path / "toy.toml"))
    assert not (tmp_path / "run").exists()


def test_more_seeds_go_on_with_a_run(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path / "toy.toml")
    run = train(path)
    first = {p: p.stat().st_mtime_ns for p in (run / "predictions").iterdir()}
    assert train(path, ["seeds=[0, 1]"]) == run
    assert all(p.stat().st_mtime_ns == time_ for p, time_ in first.items())
    assert json.loads((run / "metrics.json").read_text())["seeds"] == [0, 1]


def test_a_run_does_not_go_on_with_other_recordings(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path / "toy.toml")
    run = train(path)
    (run / "predictions" / "toy-s2-0.parquet").unlink()
    rows = toy_corpus.rows(corpus)
    one, other = corpus / rows[0][0], corpus / rows[5][0]
    one_was = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(one_was)
    with pytest.raises(DataError, match="labels, speakers or recordings have changed since"):
        train(path)


def test_predictions_say_what_they_are_of(corpus: Path, tmp_path: Path) -> None:
    run = train(recipe(corpus, tmp_path / "toy.toml"))
    (first, *_) = sorted((run / "predictions").iterdir())
    meta = read_predictions(first).meta
    assert meta["sentence_overlap"].startswith("sentences: 4 of 4 tested ones")
    assert meta["refit"] == "yes"
    assert meta["selection"] == "validation speakers, else 3 groups of training speakers"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["features.level=frames"], "linear-svm takes functionals"),
        (["model.name=cnn"], "model"),
        (['corpora=[{name="toy", licence="x"}]'], "no such corpus folder"),
        (["target=poem"], "target"),
        (["protocol.name=groups", "protocol.groups=9"], "can't make 9 folds"),
        (["features.name=mfccc"], "no feature set 'mfccc'"),
        (["model.C=[0.1, 1]", "selection.on=validation", "protocol.name=groups",
          "protocol.groups=5", "protocol.validation=0"], "nobody validates"),
        (["model.C=[0.1, 1]", "selection.on=inner", "selection.inner=9"], "9 inner folds"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(
    corpus: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        train(recipe(corpus, tmp_path / "toy.toml"), overrides)


def test_a_label_of_the_recipe_that_nobody_has(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path / "toy.toml")
    path.write_text(path.read_text().replace('licence = "CC0"', 'licence = "x"\nlabels = ["fear"]'))
    with pytest.raises(DataError, match="no utterance has the emotion fear"):
        train(path)


def test_label_rules(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path / "toy.toml")
    run = train(path, ["rule=activation-binary"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["labels"] == ["low", "high"]
    assert metrics["label_rule"] == "label rule activation-binary, 2 classes (low, high)"
    assert metrics["majority_rate"] == pytest.approx(2 / 3)
    path.write_text('rule = "sentimental"\n' + path.read_text())
    with pytest.raises(VoicetoneError, match="no label rule of this name"):
        train(path, [f"out={tmp_path / 'other'}"])


def test_a_manifest_as_corpus(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path / "toy.toml")
    path.write_text(path.read_text().replace(f'"{corpus}"', f'"{corpus / "manifest.csv"}"'))
    metrics = json.loads((train(path) / "metrics.json").read_text())
    assert metrics["uar"]["mean"] > 0.8
    assert metrics["speakers"] == 5


def test_speaker_dependent_is_named(corpus: Path, tmp_path: Path) -> None:
    text = SVM.replace('"speakers"', '"dependent"\ngroups = 4')
    metrics = train(recipe(corpus, tmp_path / "toy.toml", text)) / "metrics.json"
    assert "speaker-dependent" in json.loads(metrics.read_text())["protocol"]


def test_per_speaker_normalisation_says_what_it_uses(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(recipe(corpus, tmp_path / "toy.toml"), ["features.normalise=speaker"])
    assert "unlabelled audio of test speakers" in capsys.readouterr().err
    assert "unlabelled" in json.loads((run / "metrics.json").read_text())["features"]


def _examples() -> Examples:
    """20 features, one of which tells the class; ten speakers of six utterances."""
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 2
    values = rng.normal(0, 1, (60, 20)).astype(np.float32)
    values[:, 0] += 3 * truth
    return Examples(list(values), truth, 2, [f"s{i // 6}" for i in range(60)], ["x"] * 60)


def test_training_leaves_no_trace_in_the_process() -> None:
    import torch

    data = _examples()
    parts = (np.arange(42), np.arange(42, 48), np.arange(48, 60))
    settings = Settings((NetworkChoice("mlp", epochs=2),), Selection(), "global", True)
    torch.manual_seed(5)
    expected = torch.rand(3)
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    first = run_fold(data, settings, parts, 0)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert np.array_equal(run_fold(data, settings, parts, 0).scores, first.scores)
    assert not np.array_equal(run_fold(data, settings, parts, 1).scores, first.scores)


def test_grids() -> None:
    model = RbfSvm("rbf-svm", C=(1.0, 10.0), gamma=(0.1, 0.2, 0.3))
    found = candidates(model)
    assert len(found) == 6
    assert {(c.C, c.gamma) for c in found if isinstance(c, RbfSvm)} == {
        (c, g) for c in (1.0, 10.0) for g in (0.1, 0.2, 0.3)
    }
    assert candidates(LinearSvm("linear-svm")) == [LinearSvm("linear-svm")]


@pytest.mark.parametrize("on", ["validation", "inner"])
def test_selection_never_looks_at_the_test_fold(on: str) -> None:
    data = _examples()
    parts = (np.arange(42), np.arange(42, 48), np.arange(48, 60))
    model = LinearSvm("linear-svm", C=(1e-9, 1e-2))
    settings = Settings((model,), Selection(on=on), "global", True)  # type: ignore[arg-type]
    first = run_fold(data, settings, parts, 0)
    assert first.chosen["C"] in (1e-9, 1e-2)
    wrong = data.truth.copy()
    wrong[48:] = 1 - wrong[48:]
    other = Examples(data.values, wrong, 2, data.speakers, data.corpora)
    second = run_fold(other, settings, parts, 0)
    assert second.chosen == first.chosen
    assert np.array_equal(second.scores, first.scores)
    changed = [*data.values[:48], *(v * 50 for v in data.values[48:])]
    third = run_fold(
        Examples(changed, data.truth, 2, data.speakers, data.corpora), settings, parts, 0
    )
    assert third.chosen == first.chosen


def test_inner_folds_are_of_whole_speakers() -> None:
    data = _examples()
    rows = np.arange(6, 60)
    held: list[int] = []
    for learnt, out in inner_folds(data, rows, 3):
        assert not {data.speakers[i] for i in learnt} & {data.speakers[i] for i in out}
        assert 0 not in learnt
        held += out.tolist()
    assert sorted(held) == rows.tolist()


@pytest.mark.realdata
def test_figures_measured_independently(data_folder: Path, tmp_path: Path, root: Path) -> None:
    pytest.importorskip("opensmile")
    run = train(root / "recipes" / "svm-emodb4.toml", [f"out={tmp_path / 'run'}"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["uar"]["mean"] == pytest.approx(0.833, abs=0.01)
