"""Autoencoders as bundles: equal to their trainer, told in full, and refused where they must be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training import toy_corpus
from voicetone.errors import DataError, UsageError, VoicetoneError
from voicetone.evaluation.calibration import scale
from voicetone.evaluation.table import read_predictions
from voicetone.features.extract import extract
from voicetone.inference.file import analyze
from voicetone.pretrained import WindowPredictor, load
from voicetone.training import aae_export
from voicetone.training.aae_export import export
from voicetone.training.aae_trained import labelled_ids, open_run, unlabelled_of
from voicetone.training.classifier_recipe import CorpusChoice
from voicetone.training.run import train
from voicetone.training.systems_data import jobs_of, sources

RECIPE = """
kind = "aae"
name = "toy"
jobs = 1
[protocol]
name = "groups"
groups = 2
{targets}
[[corpora]]
name = "{corpus}"
licence = "CC0"
"""
EMOTION = """
[[targets]]
name = "emotion"
"""
OTHERS = """
[[targets]]
name = "sentiment"
rule = "sentiment"
[[targets]]
name = "activation"
rule = "activation"
"""
SYSTEM = """
[[systems]]
name = "{name}"
batch = 8
epochs = 6
rate = 3e-3
style = 5
{more}
[systems.features]
name = "{features}"
{settings}
"""
SYSTEMS = {
    "base": ('network = "base"', "eGeMAPSv02", ""),
    "optimized": ('preset = "optimized"', "eGeMAPSv02", ""),
    "frames": ("", "eGeMAPSv02", "frames = 32\nstep = 2"),
    "mfcc": ('preset = "optimized"', "mfcc", "frames = 32\ncut_seconds = 1.1"),
    "speaker": ("", "eGeMAPSv02", 'normalise = "speaker"'),
}
EXPORTED = ("emotion/base", "emotion/optimized", "emotion/frames", "emotion/mfcc", "sentiment/base")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export")
    patch = pytest.MonkeyPatch()
    patch.setenv("VOICETONE_CACHE", str(place / "cache"))
    patch.setitem(toy_corpus.EMOTIONS, "neutral", 300.0)
    try:
        corpus = toy_corpus.make(place / "toy", speakers=4, each=2, seconds=1.2)
        for targets, systems in ((EMOTION, tuple(SYSTEMS)), (OTHERS, ("base",))):
            text = RECIPE.format(corpus=corpus, targets=targets)
            for name in systems:
                more, features, settings = SYSTEMS[name]
                text += SYSTEM.format(name=name, more=more, features=features, settings=settings)
            (place / "toy.toml").write_text(text, encoding="utf-8")
            train(place / "toy.toml", [f"out={place / 'out'}"])
    finally:
        patch.undo()
    return place


@pytest.fixture(autouse=True)
def _places(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICETONE_CACHE", str(made / "cache"))
    monkeypatch.setenv("VOICETONE_DATA", str(made))


def _loaded(folder: Path) -> WindowPredictor:
    predictor = load(folder)
    assert isinstance(predictor, WindowPredictor)
    return predictor


@pytest.mark.parametrize("system", EXPORTED)
def test_the_bundle_gives_what_the_run_predicted(made: Path, tmp_path: Path, system: str) -> None:
    path, target = made / "out" / system, system.partition("/")[0]
    run = open_run(path)
    fold = run.folds[1]
    predictor = _loaded(export(path, tmp_path / "b", fold=fold))
    table = read_predictions(run.folder.predictions_path(fold, 0))
    wanted = scale(table.scores, getattr(predictor.spec.temperature, target))
    by_id = {u.id: u for u in run.material.utterances}
    tested = [by_id[key] for key in table.id.tolist()]
    values = extract(tested, predictor.spec.features.config, jobs=1).values
    found = np.stack([predictor.probabilities(values[u.id])[target] for u in tested])
    assert predictor.spec.space(target).labels == table.labels  # type: ignore[arg-type]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(found, axis=0).max() > 0.01  # it tells clips apart


@pytest.mark.parametrize("system", ["optimized", "frames"])
def test_a_recording_is_analysed_as_the_network_heard_it(
    made: Path, tmp_path: Path, system: str
) -> None:
    path = made / "out" / "emotion" / system
    predictor = _loaded(export(path, tmp_path / "b"))
    utterance = open_run(path).material.utterances[0]
    values = extract([utterance], predictor.spec.features.config, jobs=1).values[utterance.id]
    result = analyze(utterance.audio, predictor)
    (window,) = result.channels[0].windows
    assert result.speech_from == "energy"
    assert window.emotion is not None
    alone = predictor.probabilities(values)["emotion"]
    np.testing.assert_allclose(list(window.emotion.values()), alone, atol=1e-5)


def test_what_a_bundle_says_of_itself(made: Path, tmp_path: Path) -> None:
    spec = _loaded(export(made / "out" / "emotion" / "optimized", tmp_path / "b")).spec
    assert spec.id == "toy-emotion-optimized toy-s0-s1-0"
    metrics = json.loads((made / "out" / "emotion" / "optimized" / "metrics.json").read_text())
    assert spec.metrics["UAR, emotion, of the run"].startswith(f"{metrics['uar']['mean']:.3f}")
    (row,) = spec.training
    fold = json.loads((made / "out/emotion/optimized/folds.json").read_text())["folds"][0]
    assert (row.utterances, row.licence) == (len(fold["train"]), "CC0")
    assert spec.licence == "as the training data's: CC0"
    assert spec.temperature.emotion != 1.0
    assert spec.dont_know.sentiment == 0.5
    assert spec.dont_know.curve[0][1] == 1.0
    for words in ("11,854,538 B1", "no speaker enrolment", "education only", "one of these netw"):
        assert words in spec.card
    assert "estimated from energy" in spec.notice
    assert spec.parameters == 88 * 256 + 256 + 256 * 256 + 256 + 256 * 4 + 4 + 2 * (256 + 256 + 4)


def test_a_baseline_has_no_patent_notice(made: Path, tmp_path: Path) -> None:
    spec = _loaded(
        export(made / "out/emotion/base", tmp_path / "b", name="mine", licence="CC0-1.0")
    ).spec
    assert (spec.name, spec.licence) == ("mine", "CC0-1.0")
    assert "11,854,538" not in spec.card


def test_features_without_opensmile_say_nothing_of_it(made: Path, tmp_path: Path) -> None:
    spec = _loaded(export(made / "out/emotion/mfcc", tmp_path / "b")).spec
    assert spec.features.opensmile is None
    assert "openSMILE" not in spec.notice + spec.card


def test_another_network_is_not_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check before writing sees a graph that is off by a little."""

    class Spoilt(aae_export.Classifier):
        def forward(self, *inputs):  # type: ignore[no-untyped-def]
            return super().forward(*inputs) * 1.01

    monkeypatch.setattr(aae_export, "Classifier", Spoilt)
    with pytest.raises(DataError, match="as a bundle it gives other probabilities, by up to"):
        export(made / "out/emotion/optimized", tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("path", "options", "kind", "words"),
    [
        ("out/emotion/speaker", {}, DataError, "normalised per speaker or corpus"),
        ("out/activation/base", {}, DataError, "its classes are .*; a bundle gives emotions"),
        ("out/emotion", {}, DataError, "no system's folder"),
        ("out/emotion/base", {"fold": "none"}, UsageError, "there are weights of these folds: "),
        ("out/emotion/base", {"seed": 5}, UsageError, "there are weights of these seeds: 0"),
    ],
)
def test_what_is_refused(
    made: Path,
    tmp_path: Path,
    path: str,
    options: dict[str, object],
    kind: type[VoicetoneError],
    words: str,
) -> None:
    with pytest.raises(kind, match=words):
        export(made / path, tmp_path / "b", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "b").exists()


def test_nothing_is_overwritten(made: Path, tmp_path: Path) -> None:
    folder = export(made / "out/emotion/base", tmp_path / "b")
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(DataError, match="holds a bundle already"):
        export(made / "out/emotion/optimized", folder)
    assert (folder / "bundle.json").read_bytes() == before


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A system's folder, to spoil."""
    return Path(shutil.copytree(made / "out/emotion/optimized", tmp_path / "optimized"))


def _with_other_audio(run: Path, **system: object) -> None:
    """Let the run say that unlabelled audio and half of the labels trained it."""
    told = json.loads((run / "recipe.json").read_text("utf-8"))
    told["protocol"]["other_people"] = True  # toy corpora name their speakers alike
    told["system"] |= {"unlabelled": True, "labelled": 0.5, **system}
    told["unlabelled"] = [{"name": "others", "licence": "CC BY-NC-SA 4.0"}]
    (run / "recipe.json").write_text(json.dumps(told), "utf-8")


def test_unlabelled_audio_is_named_with_its_licence(copy: Path, tmp_path: Path) -> None:
    toy_corpus.make(tmp_path / "others", speakers=2, each=1)
    _with_other_audio(copy)
    spec = _loaded(export(copy, tmp_path / "b", data=[tmp_path])).spec
    mine, others = spec.training
    fold = open_run(copy).networks[0].fold
    assert mine.utterances == len(fold.train) == 8
    assert mine.note.endswith("; labels of 4 utterances, the audio alone of the others")
    assert others.corpus.startswith("others ")
    assert (others.utterances, others.licence) == (6, "CC BY-NC-SA 4.0")
    assert "no label was used" in others.note
    assert spec.licence == "as the training data's: CC0; CC BY-NC-SA 4.0"
    assert [line.partition(":")[0] for line in spec.attribution] == ["toy", "others"]
    for words in (
        "of 4 of them with labels and of 4 the audio alone",
        "the audio alone of 6 utterances of others",
        "CC BY-NC-SA 4.0; audio alone",
    ):
        assert words in spec.card


def test_unlabelled_audio_that_has_changed(copy: Path, tmp_path: Path) -> None:
    toy_corpus.make(tmp_path / "others", speakers=2, each=1)
    _with_other_audio(copy)
    run = open_run(copy)
    there = replace(run.recipe, unlabelled=(CorpusChoice(str(tmp_path / "others"), licence="x"),))
    told = json.loads((copy / "recipe.json").read_text("utf-8"))
    told["unlabelled_data"] = sources(there, there.targets).foreign_hash
    (copy / "recipe.json").write_text(json.dumps(told), "utf-8")
    assert len(unlabelled_of(open_run(copy), [tmp_path])) == 1
    toy_corpus.write(
        tmp_path / "others", [tuple(r) for r in toy_corpus.rows(tmp_path / "others")][1:]
    )
    with pytest.raises(DataError, match="unlabelled corpora have other audio now"):
        unlabelled_of(open_run(copy), [tmp_path])


def test_unlabelled_audio_that_is_gone(copy: Path, tmp_path: Path) -> None:
    _with_other_audio(copy)
    with pytest.raises(DataError, match="others: the run's corpus is not below VOICETONE_DATA"):
        export(copy, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_baseline_hears_no_unlabelled_audio(copy: Path) -> None:
    _with_other_audio(copy, network="base")
    assert unlabelled_of(open_run(copy)) == []


def test_the_labels_are_those_that_trained(copy: Path) -> None:
    """The share of labels is drawn again as the training drew it."""
    _with_other_audio(copy)
    run = open_run(copy)
    folds = range(len(run.folds))
    jobs = jobs_of(run.found, run.recipe.systems[0], [(i, run.seed) for i in folds])
    for network, job in zip(run.networks, jobs, strict=True):
        names = {run.material.utterances[i].id for i in job.labelled}
        assert labelled_ids(run, network) == names


@pytest.mark.parametrize("gone", ["metrics.json", "predictions"])
def test_a_run_that_did_not_end(copy: Path, tmp_path: Path, gone: str) -> None:
    (copy / gone).rename(tmp_path / "gone")
    with pytest.raises(DataError, match="the run diverged, or stopped before its end"):
        export(copy, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_card_counts_negative_emotions(made: Path, tmp_path: Path) -> None:
    card = _loaded(export(made / "out/emotion/base", tmp_path / "b")).spec.card
    assert "(anger, sadness: negative; happiness: positive; neutral: neutral)" in card
    assert "2 of 4 are negative" in card
    assert "says negative with 50 %" in card


def test_weights_that_are_gone(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "out/emotion/base", tmp_path / "base")
    shutil.rmtree(tmp_path / "base" / "checkpoints")
    with pytest.raises(DataError, match="no weights in its checkpoints"):
        export(tmp_path / "base", tmp_path / "b")


def test_silence_and_a_short_clip_have_no_label(made: Path, tmp_path: Path) -> None:
    predictor = _loaded(export(made / "out/emotion/optimized", tmp_path / "b"))
    rng = np.random.default_rng(0)
    for name, samples in (("s", np.zeros(48_000)), ("w", 0.1 * rng.standard_normal(9000))):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
        assert analyze(tmp_path / f"{name}.wav", predictor).channels[0].overall.label is None
