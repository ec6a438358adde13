"""Eight bits: near to the original, and blind to what else is in a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from voicetone.errors import BundleError
from voicetone.models.conformer import ConformerConfig
from voicetone.models.tone import ToneConfig, ToneNet
from voicetone.pretrained.runtime import open_graph, quantised, run_graph
from voicetone.training.tone_export import graphs

CONFORMER = ConformerConfig(inputs=16, width=16, layers=1, heads=2, kernel=3, past=5)
CONFIG = ToneConfig(
    mels=16, lags=4, width=16, stem=(4, 8), dilations=(1, 2), heads=2, conformer=CONFORMER
)
OUTPUTS = ["frames", "speech", "state_out"]


def _inputs(batch: int, length: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "features": rng.normal(size=(batch, length, CONFIG.features)).astype(np.float32),
        "state": np.zeros((batch, CONFIG.state_size), np.float32),
    }


def test_static_ranges_give_the_same_alone_and_in_a_batch() -> None:
    torch.manual_seed(0)
    whole = graphs(ToneNet(CONFIG).eval())["encoder.onnx"]
    small = quantised(whole, [_inputs(2, 64, seed) for seed in range(4)])
    assert b"QuantizeLinear" in small  # so small a network has more scales than it saves
    inputs = _inputs(5, 40, 9)
    exact = run_graph(open_graph(whole, 1), inputs, OUTPUTS)
    session = open_graph(small, 1)
    together = run_graph(session, inputs, OUTPUTS)
    assert np.abs(together[0] - exact[0]).mean() < 0.1 * np.abs(exact[0]).mean()
    assert np.abs(together[0] - exact[0]).max() > 0.0
    for row in range(5):
        alone = run_graph(session, {k: v[row : row + 1] for k, v in inputs.items()}, OUTPUTS)
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], many[row], atol=1e-5)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(BundleError, match="can't be quantised"):
        quantised(b"no graph", [])
