"""Speaker-aware transformers as bundles: equal to the network for each integration, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.toy_speaker import dvector_network, voice_network

from training import toy_corpus
from voicetone.errors import DataError
from voicetone.evaluation.calibration import scale
from voicetone.evaluation.table import read_predictions
from voicetone.features.dvector import DVector, graph_path
from voicetone.features.extract import extract
from voicetone.features.lengths import fitted, stepped
from voicetone.inference.enrolment import enrol_files_for, require_voice
from voicetone.inference.file import analyze
from voicetone.models.speaker_aware import INTEGRATIONS
from voicetone.pretrained import WindowPredictor, load, verify
from voicetone.training import speaker_export
from voicetone.training.run import train
from voicetone.training.speaker_export import export
from voicetone.training.speaker_recipe import SpeakerChoice
from voicetone.training.speaker_trained import choice_of, heard, open_speaker_run
from voicetone.training.speaker_voices import Enroller
from voicetone.types import Floats

RECIPE = """
kind = "speaker-aware"
name = "toy"
jobs = 1
out = "{out}"
corpora = [{{ name = "{corpus}", licence = "CC0" }}]
protocol = {{ name = "groups", groups = 2, validation = 1 }}
speaker = {{ curve = []{speaker} }}
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
epochs = 2
batch = 6
rate = 1e-2
{more}
"""
EMBEDDED = [i for i in INTEGRATIONS if i not in ("none", "gradient-reversal")]
SYSTEMS = {name: (f'integration = "{name}"', "") for name in INTEGRATIONS} | {
    "z-norm": ("", ', normalise = "speaker"'),
    "zero": ('integration = "prefix"\ncontrol = "zero"', ""),
    "shuffled": ('integration = "prefix"\ncontrol = "shuffled"', ""),
    "twice": ('integration = "prefix"', ', normalise = "speaker"'),
}
LINK = {
    "onnx": ', encoder = "onnx", path = "{path}", input = "logmel", bands = 8, '
    "subtract_mean = false",
    "dvector": ', encoder = "dvector"',
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each system, and one with each encoder that has a network."""
    place = tmp_path_factory.mktemp("export")
    patch = pytest.MonkeyPatch()
    patch.setenv("VOICETONE_CACHE", str(place / "cache"))
    try:
        corpus = toy_corpus.make(place / "toy", speakers=6, each=1, seconds=0.5)
        (place / "voice.onnx").write_bytes(voice_network().SerializeToString())
        graph_path().parent.mkdir(parents=True)
        graph_path().write_bytes(dvector_network().SerializeToString())
        prefix = {"prefix": SYSTEMS["prefix"]}
        for name, systems in (("all", SYSTEMS), ("onnx", prefix), ("dvector", prefix)):
            link = LINK.get(name, "").format(path=place / "voice.onnx")
            text = RECIPE.format(out=place / name, corpus=corpus, speaker=link)
            for system, (more, features) in systems.items():
                text += SYSTEM.format(name=system, more=more, features=features)
            (place / "toy.toml").write_text(text, encoding="utf-8")
            train(place / "toy.toml")
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


def _values(path: Path, predictor: WindowPredictor, ids: list[str]) -> list[Floats]:
    by_id = {u.id: u for u in open_speaker_run(path).material.utterances}
    found = extract([by_id[key] for key in ids], predictor.spec.features.config, jobs=1).values
    return [found[key] for key in ids]


@pytest.mark.parametrize(
    "system",
    [*(f"all/{name}" for name in (*INTEGRATIONS, "z-norm", "zero")), "onnx/prefix"],
)
def test_the_bundle_gives_what_the_run_predicted(made: Path, tmp_path: Path, system: str) -> None:
    """With the voices that the run had, worked out anew."""
    root, _, name = system.partition("/")
    path = made / root / "emotion" / name
    run = open_speaker_run(path)
    linked = made / "voice.onnx" if root == "onnx" else None
    predictor = _loaded(export(path, tmp_path / "b", network=linked))
    table = read_predictions(run.folder.predictions_path(run.folds[0], 0))
    ids = table.id.tolist()
    network = run.networks[0]
    enroller = Enroller(choice_of(run.settings, linked) if name in EMBEDDED else SpeakerChoice())
    data = heard(run, network, enroller)
    values = _values(path, predictor, ids)
    part = predictor.spec.speaker
    voices: list[Floats | None] = [None] * len(ids)
    if name in EMBEDDED:
        voices = [data.knowledge.embedding[i] for i in run.material.rows(ids)]
    if name == "z-norm":
        speakers = {u.id: u.speaker for u in run.material.utterances}
        for place, key in enumerate(ids):
            own = [k for k in ids if speakers[k] == speakers[key]]
            frames = np.concatenate([stepped(values[ids.index(k)], 2) for k in own])
            voices[place] = np.concatenate([frames.mean(0), frames.std(0)]).astype(np.float32)
    found = np.stack(
        [
            predictor.probabilities(value, voice)["emotion"]
            for value, voice in zip(values, voices, strict=True)
        ]
    )
    wanted = scale(table.scores, predictor.spec.temperature.emotion)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(found, axis=0).max() > 0.002
    unknown = np.stack([predictor.probabilities(value)["emotion"] for value in values])
    knows = name in (*EMBEDDED, "z-norm")
    assert (part is not None) == knows
    assert (np.abs(unknown - found).max() > 1e-3) == knows


def test_unknown_speakers_are_those_at_the_start_of_the_curve(made: Path, tmp_path: Path) -> None:
    """A network that hides speakers in training says the same of unknown ones here."""
    path = made / "all/emotion/conditional-norm"
    run = open_speaker_run(path)
    predictor = _loaded(export(path, tmp_path / "b"))
    import torch

    network = run.networks[0]
    data = heard(run, network, Enroller(choice_of(run.settings, None)))
    row = int(data.job.test[0])
    x, mask = fitted((stepped(data.values[row], 2) - data.mean[0]) / data.scale[0], 20)
    heard_, real = torch.from_numpy(x).clamp(-10, 10)[None], torch.from_numpy(mask)[None]
    with torch.no_grad():
        scores = network.checkpoint.net(heard_, real, torch.zeros(1, 80), torch.zeros(1))
    wanted = torch.softmax(scores.logits["emotion"], 1).numpy()
    found = predictor.probabilities(data.values[row])["emotion"]
    np.testing.assert_allclose(
        found, scale(wanted, predictor.spec.temperature.emotion)[0], atol=1e-4
    )


def test_what_a_bundle_says_of_the_speaker(made: Path, tmp_path: Path) -> None:
    spec = verify(export(made / "all/emotion/prefix", tmp_path / "a"))
    assert spec.speaker is not None
    assert (spec.speaker.kind, spec.speaker.size, spec.speaker.enrol_seconds) == (
        "statistics",
        80,
        10.0,
    )
    assert "integration prefix" in spec.card
    assert "consent of its own" in spec.card
    assert spec.temperature.emotion != 1.0
    norm = verify(export(made / "all/emotion/z-norm", tmp_path / "b")).speaker
    assert norm is not None
    assert (norm.kind, norm.size) == ("frames", 128)
    none = verify(export(made / "all/emotion/none", tmp_path / "c"))
    assert none.speaker is None
    assert "told of no speaker" in none.card


def test_the_network_of_voices_is_in_the_bundle(made: Path, tmp_path: Path) -> None:
    folder = export(made / "dvector/emotion/prefix", tmp_path / "b")
    predictor = _loaded(folder)
    assert (folder / "speaker.onnx").read_bytes() == graph_path().read_bytes()
    assert predictor.encoder is not None
    assert predictor.encoder.id == DVector.id
    assert any(
        "Resemblyzer" in line and "Apache-2.0" in line for line in predictor.spec.attribution
    )
    assert "Resemblyzer" in predictor.spec.card


def test_recordings_are_analysed_with_an_enrolled_voice(made: Path, tmp_path: Path) -> None:
    for system in ("all/emotion/addition", "all/emotion/z-norm", "onnx/emotion/prefix"):
        linked = made / "voice.onnx" if system.startswith("onnx") else None
        folder = export(made / system, tmp_path / system.replace("/", "-"), network=linked)
        predictor = _loaded(folder)
        rng = np.random.default_rng(0)
        time = np.arange(6 * 16_000) / 16_000
        sound = 0.2 * np.sin(2 * np.pi * 300 * time) * (np.sin(2 * np.pi * time) > -0.5)
        sound += 1e-4 * rng.standard_normal(len(time))
        soundfile.write(tmp_path / "a.wav", sound, 16_000)
        voice = enrol_files_for(predictor, [tmp_path / "a.wav"])
        assert require_voice(predictor, voice).shape == (predictor.encoder.size,)  # type: ignore[union-attr]
        known, unknown = (
            analyze(tmp_path / "a.wav", predictor, speakers=s).channels[0] for s in (voice, None)
        )
        assert known.speaker is not None
        assert known.speaker.source == "enrolled"
        first, second = (c.windows[0].emotion for c in (known, unknown))
        assert first is not None
        assert second is not None
        assert abs(first["anger"] - second["anger"]) > 1e-4


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ("all/emotion/shuffled", "a control that was told of other voices"),
        ("all/emotion/twice", "told of the speaker twice"),
    ],
)
def test_what_is_refused(made: Path, tmp_path: Path, system: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        export(made / system, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_another_network_is_not_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check before writing sees a graph that forgets the speaker."""

    class Forgetful(speaker_export.SpeakerClassifier):
        def forward(self, features, mask, voice=None, known=None):  # type: ignore[no-untyped-def]
            return super().forward(features, mask, voice, 0 * known)

    monkeypatch.setattr(speaker_export, "SpeakerClassifier", Forgetful)
    with pytest.raises(DataError, match="as a bundle it gives other probabilities, by up to"):
        export(made / "all/emotion/addition", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_context_is_refused(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(made / "all/emotion/none", tmp_path / "none"))
    told = json.loads((path / "recipe.json").read_text("utf-8"))
    told["system"]["context"] = 2
    (path / "recipe.json").write_text(json.dumps(told), "utf-8")
    with pytest.raises(DataError, match="it hears the utterances before"):
        export(path, tmp_path / "b")


def test_a_network_of_voices_that_is_elsewhere_or_another(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run keeps its name alone: it is looked for in the current folder."""
    path = made / "onnx/emotion/prefix"
    with pytest.raises(DataError, match="say where it lies with --speaker-network"):
        export(path, tmp_path / "b")
    with pytest.raises(DataError, match="not the network of voices that the run"):
        export(path, tmp_path / "b", network=graph_path())
    monkeypatch.chdir(made)
    assert (export(path, tmp_path / "b") / "speaker.onnx").is_file()


def test_voices_of_another_encoder(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(made / "dvector/emotion/prefix", tmp_path / "prefix"))
    told = json.loads((path / "recipe.json").read_text("utf-8"))
    told["speaker"]["encoder"] = "statistics-1"
    (path / "recipe.json").write_text(json.dumps(told), "utf-8")
    with pytest.raises(DataError, match=r"trained with voices of dvector-.* train again"):
        export(path, tmp_path / "b")


@pytest.mark.parametrize("gone", ["metrics.json", "predictions"])
def test_a_run_that_did_not_end(made: Path, tmp_path: Path, gone: str) -> None:
    path = Path(shutil.copytree(made / "all/emotion/none", tmp_path / "none"))
    (path / gone).rename(tmp_path / "gone")
    with pytest.raises(DataError, match="the run diverged, or stopped before its end"):
        export(path, tmp_path / "b")


def test_a_damaged_part_is_refused(made: Path, tmp_path: Path) -> None:
    from voicetone.errors import BundleError

    linked = made / "voice.onnx"
    folder = export(made / "onnx/emotion/prefix", tmp_path / "b", network=linked)
    good = json.loads((folder / "bundle.json").read_text("utf-8"))
    changes = {
        "encoder": ("statistics-1", "its voices are those of"),
        "size": (7, "with 7 values, and here .* gives 6"),
        "kind": ("statistics", "network goes with the kind onnx"),
        "enrol_seconds": (0.0, "speaker.enrol_seconds"),
    }
    for key, (value, words) in changes.items():
        spoilt = good | {"speaker": good["speaker"] | {key: value}}
        (folder / "bundle.json").write_text(json.dumps(spoilt), "utf-8")
        with pytest.raises(BundleError, match=words):
            load(folder)
