"""`voicetone models export`, and `voicetone analyze` with what it made."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import soundfile
from tests.cli.conftest import Run
from tests.toy_window import make_window_bundle, smile

from training.toy_aae import make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export")
    make_run(place, ("aae",), epochs=3)
    return place


@pytest.fixture
def gemaps(tmp_path: Path) -> Path:
    return make_window_bundle(tmp_path / "gemaps", smile())


@pytest.fixture
def clip(tmp_path: Path, root: Path) -> Path:
    """Eight seconds of the example call, both channels."""
    samples, rate = soundfile.read(root / "examples" / "call.flac", stop=64_000)
    soundfile.write(tmp_path / "clip.wav", samples, rate)
    return tmp_path / "clip.wav"


def test_export_then_analyze(
    made: Path, tmp_path: Path, clip: Path, voicetone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICETONE_CACHE", str(made / "cache"))
    monkeypatch.setenv("VOICETONE_DATA", str(made))
    bundle = tmp_path / "bundle"
    done = voicetone("models", "export", made / "out" / "emotion" / "aae", "--out", bundle)
    assert (done.code, done.out) == (0, f"{bundle}\n"), done.err
    assert "11,854,538 B1" in voicetone("models", "info", bundle).out
    assert voicetone("models", "verify", bundle).code == 0
    page, data = tmp_path / "call.html", tmp_path / "call.json"
    done = voicetone("analyze", clip, "--model", bundle, "--json", data, "--html", page)
    assert done.code == 0, done.err
    assert "estimated from energy" in done.err
    found = json.loads(data.read_text())
    assert found["speech_from"] == "energy"
    assert set(found["channels"][0]["overall"]["emotion"]) == {"anger", "happiness", "sadness"}
    assert "estimated from the energy of the sound alone" in page.read_text("utf-8")
    again = voicetone("models", "export", made / "out" / "emotion" / "aae", "--out", bundle)
    assert again.code == 3
    assert "holds a bundle already" in again.err


def test_all_outputs_of_a_model_without_emotions(
    tmp_path: Path, clip: Path, voicetone: Run
) -> None:
    spaces = {"sentiment": ["positive", "neutral", "negative"], "emotion": []}
    bundle = make_window_bundle(tmp_path / "b", head="sentiment", label_spaces=spaces)
    paths = {name: tmp_path / f"out.{name}" for name in ("json", "html", "csv", "textgrid", "rttm")}
    options = [word for name, path in paths.items() for word in (f"--{name}", path)]
    done = voicetone("analyze", clip, "--model", bundle, *options)
    assert done.code == 0, done.err
    assert json.loads(paths["json"].read_text())["channels"][0]["overall"]["emotion"] == {}
    assert "emotion_" not in paths["csv"].read_text()
    assert "emotion         none" in voicetone("models", "info", bundle).out


def test_speech_without_an_answer_is_told(
    tmp_path: Path, gemaps: Path, root: Path, voicetone: Run
) -> None:
    samples, rate = soundfile.read(root / "examples" / "call.flac", start=9_000, stop=15_500)
    soundfile.write(tmp_path / "word.wav", samples[:, 0], rate)
    page = tmp_path / "word.html"
    done = voicetone("analyze", tmp_path / "word.wav", "--model", gemaps, "--html", page)
    assert done.code == 0, done.err
    assert "no answer" in done.out
    assert "no speech" not in done.out.replace(". no speech", "")
    assert "There is speech, but the model gave no answer for it." in page.read_text("utf-8")


@pytest.mark.parametrize("jobs", [1, 2])
def test_without_opensmile(
    gemaps: Path, clip: Path, voicetone: Run, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("voicetone.features.sets.version", missing)
    done = voicetone("analyze", clip, clip, "--model", gemaps, "--jobs", jobs)
    assert done.code == 4
    assert done.err.strip().splitlines() == [
        "voicetone: the feature set eGeMAPSv02 needs an extra: pip install 'voicetone[opensmile]'"
    ]
    assert voicetone("models", "info", gemaps).code == 0


def test_another_opensmile_than_in_training(tmp_path: Path, clip: Path, voicetone: Run) -> None:
    old = make_window_bundle(tmp_path / "old", {**smile(), "opensmile": "1.0.1"})
    done = voicetone("analyze", clip, "--model", old)
    assert done.code == 3
    assert "pip install opensmile==1.0.1" in done.err
