"""Labels from the voice, by the toy bundle: what analysing the same audio as a file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.pseudolabel.fakes import rows
from tests.toy import make_toy_bundle

from voicetone.inference.file import analyze
from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor
from voicetone.pseudolabel import Entry, Journal, fill
from voicetone.pseudolabel.steps import Ear
from voicetone.pseudolabel.tone import ToneModel, ToneStep

RATE = 16_000


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(
        make_toy_bundle(
            tmp_path_factory.mktemp("toy"), dont_know={"sentiment": 0.0, "curve": [[0.0, 1.0, 0.5]]}
        )
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Noise, which the toy takes for speech, on the second of two channels from 1 s to 4 s."""
    rng = np.random.default_rng(0)
    samples = np.zeros((5 * RATE, 2), np.float32)
    samples[RATE : 4 * RATE, 1] = rng.normal(0, 0.1, 3 * RATE)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE, "FLOAT")
    return path


def entries(predictor: Predictor, *changes: dict[str, object]) -> list[Entry]:
    step = ToneStep("emotion", ToneModel(predictor))
    return list(step.entries(rows(*changes).utterances))


def test_the_segment_on_its_channel_is_what_is_heard(
    predictor: Predictor, recording: Path, tmp_path: Path
) -> None:
    segment = {"audio": recording, "start": 1.0, "end": 4.0, "channel": 2}
    (entry,) = entries(predictor, segment)
    (u,) = rows(segment).utterances
    cut = tmp_path / "cut.wav"
    soundfile.write(cut, Ear().hear(u).samples.T, RATE, "FLOAT")
    emotion = analyze(cut, predictor).channels[0].overall.emotion
    assert emotion is not None
    assert entry.scores == pytest.approx(dict(emotion), abs=1e-6)
    assert entry.value == max(emotion, key=lambda name: emotion[name])
    assert entry.confidence == pytest.approx(max(emotion.values()))
    assert entry.source == "bundle toy 0.1.0"


def test_no_speech_and_no_recording(predictor: Predictor, recording: Path, tmp_path: Path) -> None:
    silent, gone, narrow, after = entries(
        predictor,
        {"audio": recording, "channel": 1},
        {"audio": tmp_path / "gone.wav"},
        {"audio": recording, "channel": 3},
        {"audio": recording, "start": 9.0},
    )
    assert (silent.value, silent.problem, silent.failed) == (None, "no speech heard", False)
    assert (gone.value, gone.problem, gone.failed) == (None, "no such file: check the path", True)
    assert (narrow.value, narrow.failed) == (None, True)
    assert "no channel 3" in narrow.problem
    assert (after.value, after.failed) == (None, False)


def test_two_fields_of_one_model(predictor: Predictor, recording: Path, tmp_path: Path) -> None:
    model = ToneModel(predictor)
    steps = [ToneStep("sentiment", model), ToneStep("emotion", model)]
    before = rows(
        {"audio": recording, "channel": 2},
        {"audio": recording, "channel": 2, "emotion": "boredom", "sentiment": "neutral"},
        {"audio": recording, "channel": 2, "label_raw": "contempt"},
    )
    with Journal(tmp_path / "o.labels.jsonl") as journal:
        found = fill(before, steps, journal)
    first, second, third = found.manifest
    assert first.sentiment in ("positive", "neutral", "negative")
    assert first.emotion is not None
    assert first.extra["emotion_source"] == first.extra["sentiment_source"] == "bundle toy 0.1.0"
    assert second == before.utterances[1]
    assert third.emotion is None
    assert third.sentiment == first.sentiment


def test_a_model_that_is_not_sure_gives_no_sentiment(recording: Path, tmp_path: Path) -> None:
    unsure = load(
        make_toy_bundle(
            tmp_path / "toy", dont_know={"sentiment": 0.999, "curve": [[0.0, 1.0, 0.5]]}
        )
    )
    step = ToneStep("sentiment", ToneModel(unsure))
    (entry,) = step.entries(rows({"audio": recording, "channel": 2}).utterances)
    assert (entry.value, entry.problem, entry.failed) == (None, "the model is not sure", False)
    assert entry.scores is not None
