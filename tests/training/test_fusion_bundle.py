"""Networks of voice and words as bundles: equal to the network, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from training import toy_corpus
from training.test_fusion_run import FUSED, SAID, recipe, say, system
from voicetone.cli.main import app
from voicetone.errors import DataError
from voicetone.evaluation.calibration import scale
from voicetone.evaluation.table import read_predictions
from voicetone.features.extract import extract
from voicetone.inference.file import analyze
from voicetone.models.fusion_text import TextEncoder
from voicetone.pretrained import WindowPredictor, load, verify
from voicetone.training import fusion_bundle
from voicetone.training.fusion_bundle import FusionRun, export, require_fused
from voicetone.training.fusion_checkpoint import read_fusion_checkpoint
from voicetone.training.fusion_export import text_graph
from voicetone.training.fusion_recipe import FusionRecipe
from voicetone.training.fusion_words import Words
from voicetone.training.run import train
from voicetone.training.systems_trained import open_folder
from voicetone.types import Said

TOLD = 'integration = "prefix"'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each fusion, one that knows speakers, and some that can be no bundle."""
    place = tmp_path_factory.mktemp("fused")
    patch = pytest.MonkeyPatch()
    patch.setenv("VOICETONE_CACHE", str(place / "cache"))
    try:
        corpus = toy_corpus.make(place / "toy", speakers=4, each=2)
        say(corpus, lambda row, emotion: SAID[emotion] if row % 5 else "")
        text = "".join(system(name) for name in (*FUSED, "text", "acoustic"))
        text += system("told", TOLD, fusion="gated")
        text += system("zero", TOLD, 'control = "zero"', fusion="late")
        by_speaker = system("by-speaker", fusion="late")
        text += by_speaker.replace("step = 4", 'step = 4, normalise = "speaker"')
        train(recipe(corpus, place, text), ["speaker.curve=[]"])
    finally:
        patch.undo()
    return place


@pytest.fixture(autouse=True)
def _places(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICETONE_CACHE", str(made / "cache"))
    monkeypatch.setenv("VOICETONE_DATA", str(made))


def run_of(path: Path) -> FusionRun:
    return open_folder(path, FusionRecipe, "fusion", read_fusion_checkpoint)


def loaded(folder: Path) -> WindowPredictor:
    predictor = load(folder)
    assert isinstance(predictor, WindowPredictor)
    return predictor


@pytest.mark.parametrize("name", FUSED)
def test_the_bundle_gives_what_the_run_predicted(made: Path, tmp_path: Path, name: str) -> None:
    """With words, and without any, as the run was tested."""
    path = made / "run" / "emotion" / name
    folder = export(path, tmp_path / "bundle")
    predictor = loaded(folder)
    content = json.loads((folder / "bundle.json").read_text())
    said = {u.id: u.transcript for u in run_of(path).material.utterances}
    assert None in {text or None for text in said.values()}
    by_id = {u.id: u for u in run_of(path).material.utterances}
    for kind, texts in (("predictions", said), ("without-words", dict.fromkeys(said))):
        table = read_predictions(path / kind / f"{content['version']}.parquet")
        ids = table.id.tolist()
        values = extract([by_id[i] for i in ids], predictor.spec.features.config, jobs=1).values
        found = [predictor.probabilities(values[i], None, texts[i])["emotion"] for i in ids]
        wanted = scale(table.scores, content["temperature"]["emotion"])
        np.testing.assert_allclose(np.stack(found), wanted, atol=1e-4)
    assert content["text"]["words"] == len((folder / "vocabulary.txt").read_text().split())


def test_a_network_that_knows_speakers_and_words(made: Path, tmp_path: Path) -> None:
    spec = verify(export(made / "run" / "emotion" / "told", tmp_path / "told"))
    assert spec.speaker is not None
    assert spec.text is not None
    blind = verify(export(made / "run" / "emotion" / "zero", tmp_path / "zero"))
    assert blind.speaker is None
    assert blind.parameters > 0
    assert blind.mac_per_second > 0


def test_a_recording_with_a_transcript(made: Path, tmp_path: Path) -> None:
    """What the bundle makes of words is heard in the scores; the verb makes the same bundle."""
    path = made / "run" / "emotion" / "gated"
    done = CliRunner().invoke(
        app, ["models", "export", str(path), "--out", str(tmp_path / "bundle")]
    )
    assert done.exit_code == 0, done.output
    predictor = loaded(tmp_path / "bundle")
    rng = np.random.default_rng(1)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.standard_normal(7 * 16_000), 16_000)
    found = {
        text: analyze(tmp_path / "a.wav", predictor, transcripts=[Said(0.5, 3.0, text)])
        for text in (*SAID.values(), "unheard of")
    }
    silent = analyze(tmp_path / "a.wav", predictor)
    first = {text: result.channels[0].windows[0].emotion for text, result in found.items()}
    assert first.pop("unheard of") == silent.channels[0].windows[0].emotion
    assert len({tuple((scores or {}).values()) for scores in first.values()}) == 3
    assert [r.channels[0].windows_with_words for r in found.values()] == [2, 2, 2, 0]
    info = CliRunner().invoke(app, ["models", "info", str(tmp_path / "bundle")])
    assert "known words" in info.output
    assert "The list of words lies in the bundle" in info.output


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("text", "voice or words alone"),
        ("acoustic", "voice or words alone"),
        ("by-speaker", "normalised per speaker"),
    ],
)
def test_what_can_be_no_bundle(made: Path, tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(DataError, match=f"can't be a bundle: .*{why}"):
        export(made / "run" / "emotion" / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encoder_from_elsewhere_is_refused(made: Path) -> None:
    run = run_of(made / "run" / "emotion" / "late")
    encoder = TextEncoder.__new__(TextEncoder)
    object.__setattr__(run.networks[0].checkpoint, "reader", encoder)
    with pytest.raises(DataError, match=r"train one without text\.model"):
        require_fused(run)


def test_another_network_than_the_bundles_is_noticed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made / "run" / "emotion" / "early"

    def wrong(reader: Words) -> bytes:
        weights = reader.embedding.weight.data
        weights.neg_()
        try:
            return text_graph(reader)
        finally:
            weights.neg_()

    monkeypatch.setattr(fusion_bundle, "text_graph", wrong)
    with pytest.raises(DataError, match="as a bundle it gives other probabilities"):
        export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
