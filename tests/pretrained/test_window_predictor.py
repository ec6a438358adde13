"""Bundles of format 2: features of a window, and windows without an answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.toy import EMOTIONS
from tests.toy_window import FRAMES, MFCC, make_window_bundle, smile

from voicetone.audio.units import FRAME, SAMPLE_RATE
from voicetone.errors import BundleError, MissingExtraError
from voicetone.features.lengths import fitted, stepped
from voicetone.features.sets import FeatureConfig, extractor
from voicetone.pretrained import Predictor, WindowPredictor, load, verify
from voicetone.pretrained.window_predictor import sentiment_of
from voicetone.types import Floats


def _predictor(folder: Path, features: Any = None, **changes: Any) -> WindowPredictor:
    predictor = load(make_window_bundle(folder, features, **changes))
    assert isinstance(predictor, WindowPredictor)
    return predictor


def _voice(seconds: float, seed: int = 0) -> Floats:
    """A tone that comes and goes, over next to nothing."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = 0.2 * np.sin(2 * np.pi * rng.uniform(120, 240) * t) * (np.sin(2 * np.pi * 3 * t) > -0.6)
    return (tone + 1e-4 * rng.standard_normal(len(t))).astype(np.float32)


def _asked(predictor: WindowPredictor, samples: Floats) -> dict[str, Floats]:
    """The window that holds these samples alone."""
    count = -(-len(samples) // FRAME)
    frames = np.zeros((1, 160, FRAME), np.float32)
    frames.reshape(1, -1)[0, : len(samples)] = samples
    weight = np.zeros((1, 160), np.float32)
    weight[:, :count] = 1
    return {name: values[0] for name, values in predictor.classify(frames, weight).items()}


@pytest.mark.parametrize("features", [MFCC, FRAMES], ids=["functionals", "frames"])
def test_a_clip_has_the_score_of_its_features(tmp_path: Path, features: Any) -> None:
    predictor = _predictor(tmp_path / "b", features)
    assert isinstance(predictor, Predictor)
    voice = _voice(1.7)[:27_003]  # the last frame is filled up: that is not heard
    compute = extractor(FeatureConfig("mfcc", "frames" if features["frames"] else "functionals"))
    alone = predictor.probabilities(compute(voice))
    found = _asked(predictor, voice)
    for name in ("emotion", "sentiment"):
        np.testing.assert_allclose(found[name], alone[name], atol=1e-6)
    assert found["emotion"].sum() == pytest.approx(1, abs=1e-5)


def test_the_silence_around_speech_is_not_heard(tmp_path: Path) -> None:
    predictor = _predictor(tmp_path / "b")
    voice = _voice(2)
    around = np.concatenate([np.zeros(24_000, np.float32), voice, np.zeros(24_000, np.float32)])
    alone, found = _asked(predictor, voice)["emotion"], _asked(predictor, around)["emotion"]
    np.testing.assert_allclose(found, alone, atol=0.1)
    whole = predictor.probabilities(extractor(FeatureConfig("mfcc", "functionals"))(around))
    assert np.abs(whole["emotion"] - alone).max() > 3 * np.abs(found - alone).max()


def test_frames_are_averaged_and_brought_to_length(tmp_path: Path) -> None:
    predictor = _predictor(tmp_path / "b", FRAMES)
    rng = np.random.default_rng(1)
    long = rng.standard_normal((300, 13)).astype(np.float32)
    cut, mask = fitted(stepped(long, 2), 64)
    assert mask.all()
    np.testing.assert_allclose(
        predictor.probabilities(np.repeat(cut, 2, axis=0))["emotion"],
        predictor.probabilities(long)["emotion"],
        atol=1e-6,
    )
    short = predictor.probabilities(long[:20])["emotion"]
    assert np.abs(short - predictor.probabilities(long[:40])["emotion"]).max() > 1e-5


@pytest.mark.parametrize(
    "samples",
    [
        _voice(0.99),
        np.zeros(80_000, np.float32),
        np.zeros(0, np.float32),
        np.concatenate([_voice(0.4), np.zeros(72_000, np.float32)]),
    ],
    ids=["short", "silent", "empty", "a word"],
)
def test_windows_without_an_answer(tmp_path: Path, samples: Floats) -> None:
    for features in (MFCC, FRAMES):
        found = _asked(
            _predictor(tmp_path / features["name"] / str(features["frames"]), features), samples
        )
        assert np.isnan(found["emotion"]).all()
        assert np.isnan(found["sentiment"]).all()


def test_features_that_fail_give_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = _predictor(tmp_path / "b", smile())
    broken = ((), lambda _: np.full(88, np.nan, np.float32))
    monkeypatch.setattr("voicetone.features.sets._computer", lambda _: broken)
    assert np.isnan(_asked(predictor, _voice(2))["sentiment"]).all()


def test_loud_samples_do_not_wrap_round(tmp_path: Path) -> None:
    """openSMILE takes 16 bits: full scale and what is over it are one."""
    predictor = _predictor(tmp_path / "b", smile())
    voice = 10 * _voice(2)
    clipped = np.clip(voice, -1, 32767 / 32768)
    found, wanted = _asked(predictor, voice), _asked(predictor, clipped)
    np.testing.assert_allclose(found["emotion"], wanted["emotion"], atol=1e-5)


def test_rows_do_not_depend_on_each_other(tmp_path: Path) -> None:
    predictor = _predictor(tmp_path / "b", smile())
    voices = np.stack([_voice(5, i).reshape(160, FRAME) for i in range(3)])
    weight = np.ones((3, 160), np.float32)
    together = predictor.classify(voices, weight)["emotion"]
    with ThreadPoolExecutor(3) as pool:
        alone = list(
            pool.map(lambda i: predictor.classify(voices[i][None], weight[:1])["emotion"], range(3))
        )
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-6)


def test_sentiment_is_the_sum_over_emotions() -> None:
    emotions = ["anger", "happiness", "sadness", "surprise", "calm"]
    found = sentiment_of(np.float32([0.1, 0.2, 0.3, 0.2, 0.2]), emotions)
    np.testing.assert_allclose(found, [0.25, 0.25, 0.5], atol=1e-6)


def test_a_sentiment_network(tmp_path: Path) -> None:
    spaces = {"sentiment": ["negative", "neutral", "positive"], "emotion": []}
    predictor = _predictor(tmp_path / "b", head="sentiment", label_spaces=spaces)
    found = _asked(predictor, _voice(2))
    assert found["sentiment"].sum() == pytest.approx(1, abs=1e-5)
    assert found["emotion"].shape == (0,)


def test_the_order_of_the_sentiments_is_the_bundles(tmp_path: Path) -> None:
    one, other = (
        _predictor(
            tmp_path / order[0], label_spaces={"sentiment": list(order), "emotion": list(EMOTIONS)}
        )
        for order in (("positive", "neutral", "negative"), ("negative", "positive", "neutral"))
    )
    a, b = (_asked(p, _voice(2))["sentiment"] for p in (one, other))
    np.testing.assert_allclose(a[[2, 0, 1]], b, atol=1e-7)


def test_the_temperature_flattens(tmp_path: Path) -> None:
    hot, cold = (
        _predictor(tmp_path / str(t), temperature={"sentiment": 1.0, "emotion": t})
        for t in (4.0, 1.0)
    )
    assert _asked(hot, _voice(2))["emotion"].max() < _asked(cold, _voice(2))["emotion"].max()


def test_a_graph_of_other_sizes_is_refused(tmp_path: Path) -> None:
    folder = make_window_bundle(tmp_path / "b")
    make_window_bundle(tmp_path / "c", {**MFCC, "size": 13})
    content = (folder / "bundle.json").read_text().replace('"size": 26', '"size": 13')
    (folder / "bundle.json").write_text(content)
    with pytest.raises(BundleError, match="features has the shape"):
        verify(folder)


def test_other_features_than_in_training_are_refused(tmp_path: Path) -> None:
    predictor = _predictor(tmp_path / "b", {**MFCC, "size": 12})
    with pytest.raises(BundleError, match="gives 26 features here and gave 12 in training"):
        _asked(predictor, _voice(2))


def test_without_opensmile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_window_bundle(tmp_path / "b", smile())

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("voicetone.features.sets.version", missing)
    assert verify(folder).name == "toy-window"  # what it is can be read all the same
    with pytest.raises(MissingExtraError, match=r"eGeMAPSv02 needs an extra.*\[opensmile\]"):
        load(folder)
