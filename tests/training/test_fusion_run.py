"""Runs of voice, words and both: what is missing, what is read, resuming, and mistakes."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from training import toy_corpus
from training.test_speaker_run import scores
from voicetone.errors import DataError
from voicetone.evaluation.table import read_predictions
from voicetone.models.fusion import Text
from voicetone.training import speaker_run
from voicetone.training.fusion_checkpoint import read_fusion_checkpoint
from voicetone.training.fusion_fit import FusionTrial
from voicetone.training.run import train
from voicetone.training.speaker_fit import Frames, Outcome

SAID = {"anger": "you awful man", "happiness": "lovely day to you", "sadness": "all is lost"}
COLUMNS = (*toy_corpus.COLUMNS, "transcript", "extra")
HEAD = """
kind = "fusion"
name = "toy"
jobs = 1
out = "{out}"
corpora = [{{ name = "{corpus}", licence = "CC0" }}]
protocol = {{ name = "groups", groups = 2, validation = 1 }}
speaker = {{ curve = [0] }}
text = {text}
"""
SYSTEM = """
[[systems]]
name = "{name}"
fusion = "{fusion}"
features = {{ name = "logmel", frames = 20, step = 4 }}
width = 8
heads = 2
layers = 1
subsample = 2
dropout = 0.0
masks = 0
epochs = {epochs}
batch = 6
rate = 3e-2
{more}
"""
OWN = "{ width = 8, heads = 2 }"
FUSED = ("early", "late", "gated", "cross-attention")


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four speakers, of whom one trains, one validates and two test."""
    return toy_corpus.make(tmp_path_factory.mktemp("four") / "toy", speakers=4, each=2)


@pytest.fixture
def corpus(four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may spoil; features are shared by all tests."""
    monkeypatch.setenv("VOICETONE_CACHE", str(four.parent / "cache"))
    shutil.copytree(four, tmp_path / "toy")
    say(tmp_path / "toy", lambda place, emotion: SAID[emotion])
    return tmp_path / "toy"


def say(folder: Path, text: Any, extra: Any = lambda place, emotion: "") -> None:
    """Give every clip words and what stands in `extra`."""
    rows = [row[: len(toy_corpus.COLUMNS)] for row in toy_corpus.rows(folder)]
    told = [(*row, text(i, row[1]), extra(i, row[1])) for i, row in enumerate(rows)]
    toy_corpus.write(folder, told, COLUMNS)


def system(name: str, *more: str, epochs: int = 1, fusion: str = "") -> str:
    return SYSTEM.format(name=name, fusion=fusion or name, epochs=epochs, more="\n".join(more))


def recipe(corpus: Path, tmp_path: Path, text: str, words: str = OWN) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(HEAD.format(out=tmp_path / "run", corpus=corpus, text=words) + text, "utf-8")
    return path


def test_every_fusion_trains_and_is_tested_without_each(corpus: Path, tmp_path: Path) -> None:
    text = "".join(system(name) for name in ("acoustic", "text", *FUSED))
    root = train(recipe(corpus, tmp_path, text))
    found = json.loads((root / "table.json").read_text())
    rows = {row["system"]: row for row in found["targets"][0]["rows"]}
    for name in FUSED:
        folder = root / "emotion" / name
        assert rows[name]["baseline"] == "acoustic"
        whole, words, voice = (
            scores(folder, kind) for kind in ("predictions", "without-words", "without-voice")
        )
        assert whole.shape == words.shape == voice.shape == (24, 3)
        assert not np.allclose(whole, words, atol=1e-4), name
        assert not np.allclose(whole, voice, atol=1e-4), name
        told = json.loads((folder / "metrics.json").read_text())["convergence"]["without"]
        assert [one["missing"] for one in told] == ["words", "voice"]
        table = read_predictions(folder / "without-words")
        assert table.meta["missing"] == "words"
    for name in ("acoustic", "text"):
        assert not list((root / "emotion" / name).glob("without-*"))
    assert rows["acoustic"]["baseline"] is None


def test_words_alone_are_learnt_and_hear_nothing(corpus: Path, tmp_path: Path) -> None:
    root = train(recipe(corpus, tmp_path, system("text", epochs=8)))
    table = read_predictions(root / "emotion" / "text" / "predictions")
    assert (table.predicted == table.truth).all()
    for label in table.labels:  # one text, one answer, in whatever voice
        same = table.select((table.truth == label) & (table.fold == table.fold[0]))
        assert np.allclose(same.scores, same.scores[:1], atol=1e-6)


def test_a_missing_transcript_is_the_voice_alone(corpus: Path, tmp_path: Path) -> None:
    nothing = ["", "…", " "]
    say(corpus, lambda place, emotion: SAID[emotion] if place % 2 else nothing[place % 3])
    root = train(recipe(corpus, tmp_path, system("gated") + system("text")))
    folder = root / "emotion" / "gated"
    whole, without = scores(folder), scores(folder, "without-words")
    assert np.isclose(whole, without, atol=1e-5).all(1).sum() == 12  # half have words
    cautions = json.loads((folder / "metrics.json").read_text())["convergence"]["cautions"]
    assert "12 of 24 utterances have no transcript and are heard by voice alone" in cautions
    silent = read_predictions(root / "emotion" / "text" / "predictions").scores
    assert np.isclose(silent, 1 / 3).all(1).sum() == 12


def test_the_vocabulary_is_the_training_folds(corpus: Path, tmp_path: Path) -> None:
    """Everybody has a word of their own; a network knows those of its training speakers."""
    speakers = [row[2] for row in toy_corpus.rows(corpus)]
    say(corpus, lambda place, emotion: f"{SAID[emotion]} {speakers[place]}")
    root = train(recipe(corpus, tmp_path, system("early")))
    folder = root / "emotion" / "early"
    for path in sorted((folder / "checkpoints").iterdir()):
        kept = read_fusion_checkpoint(path)
        tested = set(read_predictions(folder / "predictions" / f"{path.stem}.parquet").speaker)
        assert kept.reader is not None
        known = set(kept.reader.known) & set(speakers)  # type: ignore[arg-type]
        assert len(known) == 1
        assert not {f"toy/{name}" for name in known} & tested
        assert not known & tested


def test_a_checkpoint_says_what_the_table_says(corpus: Path, tmp_path: Path) -> None:
    root = train(recipe(corpus, tmp_path, system("late", epochs=2)))
    folder = root / "emotion" / "late"
    path = sorted((folder / "checkpoints").iterdir())[0]
    kept = read_fusion_checkpoint(path)
    assert kept.reader is not None
    table = read_predictions(folder / "without-voice" / f"{path.stem}.parquet")
    order = [SAID[label] for label in table.truth]
    tokens = kept.reader.tokens(order)
    with torch.no_grad():
        text = Text(kept.reader(tokens.ids, tokens.mask), tokens.mask, tokens.known)
        logits = kept.net(None, text).logits["emotion"]
    assert torch.softmax(logits, 1).numpy() == pytest.approx(table.scores, abs=1e-5)


def test_what_is_gone_is_trained_again_to_the_same(corpus: Path, tmp_path: Path) -> None:
    text = system("gated", 'integration = "prefix"', "masks = 1").replace("masks = 0\n", "")
    path = recipe(corpus, tmp_path, text)
    folder = train(path) / "emotion" / "gated"
    kinds = ("predictions", "without-words", "without-voice", "enrolment-0s")
    before = [scores(folder, kind) for kind in kinds]
    sorted((folder / "predictions").iterdir())[1].unlink()
    train(path)
    assert all(np.array_equal(scores(folder, k), b) for k, b in zip(kinds, before, strict=True))
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(path, ["text.width=4"])
    say(corpus, lambda place, emotion: "something else")
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(path)


def test_other_processes_can_be_given_a_trial(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: list[FusionTrial] = []

    def fit(frames: Frames, trial: FusionTrial, *_: object) -> Outcome:
        trials.append(trial)
        return real(frames, trial, lambda: None)

    real = speaker_run.fit
    monkeypatch.setattr(speaker_run, "fit", fit)
    train(recipe(corpus, tmp_path, system("gated")))
    other = copy.deepcopy(trials[0])  # by the same state that another process is sent
    assert other.texts == trials[0].texts
    assert other.known_words == trials[0].known_words != ()


def machine(values: Sequence[str]) -> Any:
    return lambda place, emotion: json.dumps(
        {"said": values[place % len(values)]} if values[place % len(values)] else {}
    )


def test_a_label_of_the_words_is_a_system(corpus: Path, tmp_path: Path) -> None:
    say(corpus, lambda place, emotion: "", machine(["anger", "sadness", "anger", ""]))
    path = recipe(corpus, tmp_path, system("text-label", 'column = "said"') + system("acoustic"))
    root = train(path)
    folder = root / "emotion" / "text-label"
    table = read_predictions(folder / "predictions")
    assert not table.probabilities
    assert (table.scores.max(1) == 1).sum() == 18
    shares = table.scores[table.scores.max(1) < 1]
    assert shares == pytest.approx(np.full_like(shares, 1 / 3))
    assert not (folder / "checkpoints").exists()
    told = json.loads((folder / "metrics.json").read_text())
    assert "6 of 24 utterances have nothing in said" in told["convergence"]["cautions"][0]
    say(corpus, lambda place, emotion: "", machine(["sadness"]))
    with pytest.raises(DataError, match="holds a run of other settings"):
        train(path)


def test_transcripts_of_a_machine_are_told(corpus: Path, tmp_path: Path) -> None:
    source = json.dumps({"transcript_source": "pocketsphinx 5"})
    say(corpus, lambda place, emotion: SAID[emotion], lambda place, emotion: source)
    root = train(recipe(corpus, tmp_path, system("text")))
    told = json.loads((root / "emotion" / "text" / "metrics.json").read_text())
    assert (
        "24 of 24 transcripts are from a machine (pocketsphinx 5)"
        in told["convergence"]["cautions"]
    )


@pytest.mark.parametrize("trainable", [False, True])
def test_a_given_text_encoder_reads(corpus: Path, tmp_path: Path, trainable: bool) -> None:
    pytest.importorskip("transformers")
    from models.test_fusion_text import make

    folder = make(tmp_path / "bert", "bert")
    say(corpus, lambda place, emotion: {"a": "all is well", "h": "now", "s": "is all"}[emotion[0]])
    given = f'{{ model = "{folder}", trainable = {str(trainable).lower()}, rate = 1e-2 }}'
    root = train(recipe(corpus, tmp_path, system("text", epochs=8) + system("gated"), given))
    table = read_predictions(root / "emotion" / "text" / "predictions")
    assert (table.predicted == table.truth).mean() > 0.6
    path = sorted((root / "emotion" / "text" / "checkpoints").iterdir())[0]
    moved = folder.rename(tmp_path / "elsewhere")
    kept = read_fusion_checkpoint(path, str(moved))
    assert kept.reader is not None
    with safe_open(path, "pt") as file:
        assert any(key.startswith("reader.") for key in file.keys()) == trainable  # noqa: SIM118
    make(tmp_path / "other", "bert", "Model", hidden_size=4)
    with pytest.raises(DataError, match="another text encoder than in training"):
        read_fusion_checkpoint(path, str(tmp_path / "other"))


BAD = {
    "no words": (system("gated"), OWN, "none of the 24 utterances has a transcript"),
    "no folder": (system("gated"), '{ model = "nowhere" }', "give a folder, or NAME@REVISION"),
    "not one": (system("gated"), '{ model = "toy" }', "config.json"),
    "field": (system("gated"), "{ size = 3 }", "size"),
    "heads": (system("gated"), "{ width = 10, heads = 4 }", "can't be split into 4 heads"),
    "fusion": (system("a", fusion="magic"), OWN, "fusion"),
    "context": (system("gated", "context = 2"), OWN, "context"),
    "column": (system("gated", 'column = "x"'), OWN, "a column is for text-label"),
    "no column": (system("text-label"), OWN, "which needs one"),
    "speaker": (system("text", 'integration = "prefix"'), OWN, "is for networks that hear"),
    "nowhere": (system("text-label", 'column = "x"'), OWN, "no utterance has a column x"),
    "person": (system("text-label", 'column = "emotion"'), OWN, "that a machine filled"),
    "other": (system("text-label", 'column = "said"'), OWN, "says 'joy', which is none of"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_named(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(speaker_run, "fit", lambda *_: pytest.fail("it trained"))
    monkeypatch.chdir(tmp_path)
    text, words, message = BAD[name]
    if name == "no words":
        say(corpus, lambda place, emotion: " ")
    if name == "other":
        say(corpus, lambda place, emotion: "", machine(["joy"]))
    from voicetone.errors import VoicetoneError

    with pytest.raises(VoicetoneError, match=message):
        train(recipe(corpus, tmp_path, text, words))


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no weights of a fusion"):
        read_fusion_checkpoint(tmp_path / "x.safetensors")
