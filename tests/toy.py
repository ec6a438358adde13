"""A tiny bundle with untrained, seeded weights: a causal encoder with state, and a head.

It keeps the whole contract of a bundle, so everything but accuracy can be tested with it, without
PyTorch. Its speech probability follows the energy of each frame: noise or a tone at an amplitude
of 0.02 or more is speech, at 0.001 or less it is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

NAME = "toy"
SENTIMENTS = ("positive", "neutral", "negative")
EMOTIONS = ("anger", "happiness", "sadness", "neutral")
FEATURES = {
    "n_fft": 512,
    "hop": 250,
    "mels": 16,
    "mel_low": 60.0,
    "mel_high": 7600.0,
    "lags": 4,
    "pitch_low": 62.5,
    "pitch_high": 500.0,
    "pitch_band": 4000.0,
}
HIDDEN = 8  # of the recurrent part, which is also the state
DIRECT = 8  # values of a frame that come from its own features alone
EMBEDDING = HIDDEN + DIRECT
ENERGY_AT_HALF = -9.5  # greatest log-mel power at which speech and no speech are equally likely


def make_toy_bundle(folder: Path, **changes: Any) -> Path:
    """Write a loadable bundle into `folder` (made if missing) and return the folder.

    Args:
        folder: where to.
        changes: keys of `bundle.json` to overwrite, for tests of damaged or unusual bundles.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encoder.onnx").write_bytes(encoder().SerializeToString())
    (folder / "head.onnx").write_bytes(head().SerializeToString())
    write_spec(folder, {**spec(), **changes})
    return folder


def spec() -> dict[str, Any]:
    """The content of `bundle.json` but for its `files`."""
    return {
        "format": 1,
        "name": NAME,
        "version": "0.1.0",
        "created": "2026-01-01",
        "label_spaces": {"sentiment": list(SENTIMENTS), "emotion": list(EMOTIONS)},
        "sample_rate": 16000,
        "window_seconds": 5.0,
        "hop_seconds": 2.5,
        "frame_samples": 500,
        "features": dict(FEATURES),
        "state_size": HIDDEN,
        "embedding_size": EMBEDDING,
        "graphs": {"encoder": "encoder.onnx", "head": "head.onnx"},
        "temperature": {"sentiment": 1.25, "emotion": 1.5},
        "speech": {"threshold": 0.5, "release": 0.5, "onset_frames": 3, "hangover_frames": 8},
        "dont_know": {"sentiment": 0.4, "curve": [[0.0, 1.0, 0.5], [0.4, 0.8, 0.6]]},
        "parameters": 1000,
        "mac_per_second": 50_000,
        "training": [
            {
                "corpus": "none",
                "licence": "CC0-1.0",
                "utterances": 0,
                "hours": 0.0,
                "note": "weights are random numbers",
            }
        ],
        "licence": "Apache-2.0",
        "attribution": ["nobody"],
        "notice": "The toy model knows nothing: its answers are arbitrary.",
        "card": "# toy\n\nRandom weights, for tests only.\n",
        "metrics": {},
    }


def write_spec(folder: Path, content: Mapping[str, Any], *, hash_files: bool = True) -> None:
    """Write `bundle.json`; `files` is made from the graphs in the folder unless it is given."""
    content = dict(content)
    if hash_files and "files" not in content:
        content["files"] = {
            path.name: {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "bytes": path.stat().st_size,
            }
            for path in sorted(folder.iterdir())
            if path.suffix in (".onnx", ".txt")
        }
    (folder / "bundle.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def encoder() -> ModelProto:
    """A recurrent layer beside a frame-wise layer, and speech from the frame's energy."""
    rng = np.random.default_rng(7)
    size, pair = _feature_size(), 2 * _feature_size()
    # Log energies lie in about [-16, 0]: bring them near [-1, 1] before anything saturates.
    scale = np.concatenate([np.full(FEATURES["mels"], 1 / 8), np.ones(FEATURES["lags"])])
    shift = np.concatenate([np.full(FEATURES["mels"], 1.0), np.zeros(FEATURES["lags"])])
    constants = {
        "pairs": np.array([0, -1, pair], dtype=np.int64),
        "scale": np.tile(scale, 2).astype(np.float32),
        "shift": np.tile(shift, 2).astype(np.float32),
        "mels": np.concatenate([np.arange(FEATURES["mels"]) + i * size for i in (0, 1)]),
        "half": np.float32([-ENERGY_AT_HALF]),
        "steep": np.float32([2.0]),
        "first": np.array([0], dtype=np.int64),
        "second": np.array([1], dtype=np.int64),
        "W": _draw(rng, 1, 3 * HIDDEN, pair) / np.float32(np.sqrt(pair)),
        "R": _draw(rng, 1, 3 * HIDDEN, HIDDEN) / np.float32(np.sqrt(HIDDEN)),
        "D": _draw(rng, pair, DIRECT) / np.float32(np.sqrt(pair)),
    }
    nodes = [
        helper.make_node("Reshape", ["features", "pairs"], ["x"]),
        helper.make_node("Gather", ["x", "mels"], ["energies"], axis=2),
        helper.make_node("ReduceMax", ["energies"], ["level"], axes=[2], keepdims=0),
        helper.make_node("Add", ["level", "half"], ["over"]),
        helper.make_node("Mul", ["over", "steep"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["speech"]),
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["z"]),
        helper.make_node("MatMul", ["z", "D"], ["d"]),
        helper.make_node("Tanh", ["d"], ["direct"]),
        helper.make_node("Transpose", ["z"], ["time_first"], perm=[1, 0, 2]),
        helper.make_node("Unsqueeze", ["state", "first"], ["h0"]),
        helper.make_node(
            "GRU", ["time_first", "W", "R", "", "", "h0"], ["y", "h"], hidden_size=HIDDEN
        ),
        helper.make_node("Squeeze", ["y", "second"], ["y3"]),
        helper.make_node("Transpose", ["y3"], ["recurrent"], perm=[1, 0, 2]),
        helper.make_node("Concat", ["recurrent", "direct"], ["frames"], axis=2),
        helper.make_node("Squeeze", ["h", "first"], ["state_out"]),
    ]
    return _model(
        "encoder",
        nodes,
        constants,
        inputs={"features": ("B", "2n", size), "state": ("B", HIDDEN)},
        outputs={
            "frames": ("B", "n", EMBEDDING),
            "speech": ("B", "n"),
            "state_out": ("B", HIDDEN),
        },
    )


def head() -> ModelProto:
    """The weighted mean of the frames, then one linear layer per label space."""
    rng = np.random.default_rng(8)
    constants = {
        "last": np.array([2], dtype=np.int64),
        "time": np.array([1], dtype=np.int64),
        "one": np.float32(1.0),
        "S": 3 * _draw(rng, EMBEDDING, len(SENTIMENTS)),
        "E": 3 * _draw(rng, EMBEDDING, len(EMOTIONS)),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["weight", "last"], ["w3"]),
        helper.make_node("Mul", ["frames", "w3"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "time"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["weight", "time"], ["count"], keepdims=1),
        helper.make_node("Max", ["count", "one"], ["divisor"]),
        helper.make_node("Div", ["total", "divisor"], ["pooled"]),
        helper.make_node("MatMul", ["pooled", "S"], ["sentiment"]),
        helper.make_node("MatMul", ["pooled", "E"], ["emotion"]),
    ]
    return _model(
        "head",
        nodes,
        constants,
        inputs={"frames": ("B", "n", EMBEDDING), "weight": ("B", "n")},
        outputs={"sentiment": ("B", len(SENTIMENTS)), "emotion": ("B", len(EMOTIONS))},
    )


def _feature_size() -> int:
    return int(FEATURES["mels"] + FEATURES["lags"])


def _draw(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


def _model(
    name: str,
    nodes: list[Any],
    constants: Mapping[str, Any],
    inputs: Mapping[str, tuple[str | int, ...]],
    outputs: Mapping[str, tuple[str | int, ...]],
) -> ModelProto:
    def value(key: str, shape: tuple[str | int, ...]) -> Any:
        return helper.make_tensor_value_info(key, TensorProto.FLOAT, list(shape))

    graph = helper.make_graph(
        nodes,
        name,
        [value(k, s) for k, s in inputs.items()],
        [value(k, s) for k, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def setting(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """What puts a value at a place of a bundle's description."""

    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change
