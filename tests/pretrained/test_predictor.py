from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.toy import EMBEDDING, HIDDEN, make_toy_bundle, spec

from voicetone.errors import BundleError
from voicetone.pretrained import OnnxPredictor, Predictor, load
from voicetone.pretrained.predictor import softmax
from voicetone.types import Floats


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> OnnxPredictor:
    return load(make_toy_bundle(tmp_path_factory.mktemp("toy")))


def _frames(count: int, batch: int = 1) -> Floats:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, count, EMBEDDING)).astype(np.float32)


def test_it_is_a_predictor(predictor: OnnxPredictor) -> None:
    assert isinstance(predictor, Predictor)


def test_shapes(predictor: OnnxPredictor) -> None:
    context = predictor.spec.spectral.context
    features = predictor.features(np.zeros((3, context + 250 * 20), np.float32))
    assert features.shape == (3, 20, 20)
    frames, speech, state = predictor.encode(features, np.zeros((3, HIDDEN), np.float32))
    assert (frames.shape, speech.shape) == ((3, 10, EMBEDDING), (3, 10))
    assert state.shape == (3, HIDDEN)
    scores = predictor.classify(frames, np.ones((3, 10), np.float32))
    assert {name: values.shape for name, values in scores.items()} == {
        "sentiment": (3, 3),
        "emotion": (3, 4),
    }
    for values in scores.values():
        np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-6)


def test_padding_changes_no_score(predictor: OnnxPredictor) -> None:
    frames = _frames(40)
    padded = np.concatenate([frames, 9 * _frames(120)], axis=1)
    weight = np.ones((1, 160), np.float32)
    weight[:, 40:] = 0
    alone = predictor.classify(frames, np.ones((1, 40), np.float32))
    for name, values in predictor.classify(padded, weight).items():
        np.testing.assert_allclose(values, alone[name], atol=1e-6)


def test_temperature_flattens(tmp_path: Path) -> None:
    flat, steep = (
        load(
            make_toy_bundle(
                tmp_path / f"t{t}", temperature={**spec()["temperature"], "sentiment": t}
            )
        )
        for t in (4.0, 1.0)
    )
    ones = np.ones((1, 40), np.float32)
    a, b = (p.classify(_frames(40), ones) for p in (flat, steep))
    logits = np.log(b["sentiment"])
    np.testing.assert_allclose(a["sentiment"], softmax(logits / np.float32(4.0)), atol=1e-6)
    np.testing.assert_array_equal(a["emotion"], b["emotion"])


def test_softmax_stands_large_logits() -> None:
    values = softmax(np.float32([[1000.0, 0.0], [-1000.0, -1000.0]]))
    np.testing.assert_allclose(values, [[1.0, 0.0], [0.5, 0.5]])


def test_shapes_that_do_not_fit_are_one_line(predictor: OnnxPredictor) -> None:
    with pytest.raises(BundleError, match="the model failed while running") as caught:
        predictor.classify(_frames(40), np.ones((2, 50), np.float32))
    assert "\n" not in str(caught.value)


def test_threads_may_share_it(predictor: OnnxPredictor) -> None:
    batches = [_frames(160, batch) for batch in (1, 2, 3, 4)] * 8

    def classify(frames: Floats) -> Floats:
        return predictor.classify(frames, np.ones(frames.shape[:2], np.float32))["emotion"]

    with ThreadPoolExecutor(4) as pool:
        for found, frames in zip(pool.map(classify, batches), batches, strict=True):
            np.testing.assert_allclose(found, classify(frames), atol=1e-6)
