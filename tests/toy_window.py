"""A tiny bundle of format 2 with seeded random weights: one layer over the features of a window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tests.toy import EMOTIONS, SENTIMENTS, spec, write_spec

STREAM_ONLY = ("state_size", "embedding_size", "features", "graphs")
MFCC = {
    "name": "mfcc",
    "cut_seconds": None,
    "size": 26,
    "frames": 0,
    "step": 1,
    "opensmile": None,
}
FRAMES = {**MFCC, "size": 13, "frames": 64, "step": 2}


def smile() -> dict[str, Any]:
    """eGeMAPS, as of the openSMILE that is installed."""
    from importlib.metadata import version

    return {**MFCC, "name": "eGeMAPSv02", "size": 88, "opensmile": version("opensmile")}


def make_window_bundle(
    folder: Path, features: Mapping[str, Any] | None = None, **changes: Any
) -> Path:
    """Write a loadable bundle into `folder` (made if missing) and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**window_spec(features), **changes}
    labels = content["label_spaces"][content["head"]]
    graph = classifier(content["features"], content["head"], len(labels))
    (folder / "classifier.onnx").write_bytes(graph.SerializeToString())
    write_spec(folder, content)
    return folder


def window_spec(features: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of `bundle.json` but for its `files`."""
    content = {key: value for key, value in spec().items() if key not in STREAM_ONLY}
    return {
        **content,
        "format": 2,
        "name": "toy-window",
        "label_spaces": {"sentiment": list(SENTIMENTS), "emotion": list(EMOTIONS)},
        "features": dict(features or MFCC),
        "head": "emotion",
        "graphs": {"classifier": "classifier.onnx"},
    }


def classifier(features: Mapping[str, Any], head: str, labels: int) -> ModelProto:
    """Squashed features, or their mean over the real frames, through one linear layer."""
    rng = np.random.default_rng(3)
    size, frames = features["size"], features["frames"]
    weights = rng.standard_normal((size, labels)).astype(np.float32)
    constants = {"W": weights, "small": np.float32(0.05), "last": np.int64([2])}
    start, inputs = "features", {"features": [1, size]}
    nodes = []
    if frames:
        inputs = {"features": [1, frames, size], "mask": [1, frames]}
        start = "mean"
        nodes = [
            helper.make_node("Unsqueeze", ["mask", "last"], ["m"]),
            helper.make_node("Mul", ["features", "m"], ["kept"]),
            helper.make_node("ReduceMean", ["kept"], ["mean"], axes=[1], keepdims=0),
        ]
    nodes += [
        helper.make_node("Mul", [start, "small"], ["scaled"]),
        helper.make_node("Tanh", ["scaled"], ["squashed"]),
        helper.make_node("MatMul", ["squashed", "W"], [head]),
    ]

    def port(name: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "classifier",
        [port(name, shape) for name, shape in inputs.items()],
        [port(head, [1, labels])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
