"""A tiny bundle of format 2 that may be told who speaks: seeded random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tests.toy import write_spec
from tests.toy_window import FRAMES, window_spec

from voicetone.features.sets import FeatureConfig, extractor
from voicetone.features.speaker import StatisticsEncoder
from voicetone.features.speaker_frames import frames_id
from voicetone.features.speaker_graph import GraphEncoder, GraphSettings
from voicetone.types import Floats

ENROL_SECONDS = 3.0
STATISTICS = {
    "kind": "statistics",
    "encoder": StatisticsEncoder.id,
    "size": StatisticsEncoder.size,
    "same_voice": StatisticsEncoder.same_voice,
    "enrol_seconds": ENROL_SECONDS,
    "network": None,
}
_FRAMES_SETTINGS: dict[str, object] = {
    "name": "mfcc",
    "cut_seconds": None,
    "size": 13,
    "opensmile": None,
}
BY_FRAMES = {
    **STATISTICS,
    "kind": "frames",
    "encoder": frames_id(_FRAMES_SETTINGS, 2),
    "size": 26,
}
NETWORK_SIZE = 6
WIDTH, FRAMES_HEARD = 13, 64  # as `FRAMES` says
_HEARD: dict[str, Any] = {
    "input": "logmel",
    "output": "",
    "bands": 8,
    "window_ms": 25.0,
    "hop_ms": 10.0,
    "subtract_mean": False,
    "shortest": 0.5,
    "longest": 30.0,
}


def make_speaker_bundle(folder: Path, kind: str = "statistics", **changes: Any) -> Path:
    """Write a loadable bundle into `folder` (made if missing) and return the folder.

    Args:
        folder: where to.
        kind: `statistics`, `frames`, or `onnx`.
        changes: keys of `bundle.json` to overwrite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {**window_spec(FRAMES), "name": "toy-speaker", "speaker": STATISTICS}
    if kind == "frames":
        content["speaker"] = BY_FRAMES
    if kind == "onnx":
        graph = voice_network().SerializeToString()
        (folder / "speaker.onnx").write_bytes(graph)
        content["speaker"] = onnx_part(graph)
        content["graphs"] = {"classifier": "classifier.onnx", "speaker": "speaker.onnx"}
    content |= changes
    labels = content["label_spaces"][content["head"]]
    size = content["speaker"]["size"]
    graph = _classifier(content["head"], len(labels), size, by_frames=kind == "frames")
    (folder / "classifier.onnx").write_bytes(graph.SerializeToString())
    write_spec(folder, content)
    return folder


def onnx_part(graph: bytes) -> dict[str, Any]:
    """What `bundle.json` says of the toy network of voices."""
    import hashlib

    settings = GraphSettings(path="speaker.onnx", same_voice=0.5, **_HEARD)

    def never(heard: Floats) -> Floats:
        raise AssertionError

    encoder = GraphEncoder(settings, hashlib.sha256(graph).hexdigest(), NETWORK_SIZE, never)
    told = {"kind": "onnx", "encoder": encoder.id, "size": NETWORK_SIZE, "same_voice": 0.5}
    return {**STATISTICS, **told, "network": _HEARD}


def mfcc(samples: Floats) -> Floats:
    """What the toy networks hear `[t, 13]`."""
    return extractor(FeatureConfig("mfcc", "frames"))(samples)


def _classifier(head: str, labels: int, size: int, *, by_frames: bool) -> ModelProto:
    """The mean over the real frames through one layer; plus the voice's own, or that of nobody.

    By frames, the mean is normalised with the voice's first instead.
    """
    rng = np.random.default_rng(5)
    width, frames = WIDTH, FRAMES_HEARD
    constants: dict[str, Any] = {
        "W": rng.standard_normal((width, labels)).astype(np.float32),
        "V": (3 * rng.standard_normal((size, labels))).astype(np.float32),
        "nobody": rng.standard_normal((1, labels)).astype(np.float32),
        "general": rng.standard_normal((1, width)).astype(np.float32),
        "small": np.float32(0.05),
        "half": np.float32(0.5),
        "last": np.array([2], np.int64),
        "begin": np.array([0], np.int64),
        "width": np.array([width], np.int64),
        "across": np.array([1], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["mask", "last"], ["m"]),
        node("Mul", ["features", "m"], ["kept"]),
        node("ReduceMean", ["kept"], ["mean"], axes=[1], keepdims=0),
        node("Greater", ["known", "half"], ["there"]),
    ]
    if by_frames:
        nodes += [
            node("Slice", ["voice", "begin", "width", "across"], ["own"]),
            node("Where", ["there", "own", "general"], ["middle"]),
            node("Sub", ["mean", "middle"], ["centred"]),
        ]
    else:
        nodes += [
            node("MatMul", ["voice", "V"], ["heard"]),
            node("Where", ["there", "heard", "nobody"], ["who"]),
        ]
    nodes += [
        node("Mul", ["centred" if by_frames else "mean", "small"], ["scaled"]),
        node("Tanh", ["scaled"], ["squashed"]),
        node("MatMul", ["squashed", "W"], [head if by_frames else "plain"]),
    ]
    nodes += [] if by_frames else [node("Add", ["plain", "who"], [head])]
    inputs = {"features": [1, frames, width], "mask": [1, frames], "voice": [1, size]}
    return _model("classifier", nodes, constants, {**inputs, "known": [1]}, {head: [1, labels]})


def voice_network() -> ModelProto:
    """A voice of six values: mean energies of bands through one layer."""
    rng = np.random.default_rng(6)
    constants = {"P": rng.standard_normal((8, NETWORK_SIZE)).astype(np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["bands"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "P"], ["voice"]),
    ]
    inputs: dict[str, list[Any]] = {"bands": ["batch", "time", 8]}
    return _model("speaker", nodes, constants, inputs, {"voice": ["batch", NETWORK_SIZE]})


def dvector_network() -> ModelProto:
    """A stand-in for the d-vector's network: `mel` `[B, 160, 40]` → `embedding` `[B, 256]`."""
    rng = np.random.default_rng(7)
    constants = {"P": rng.standard_normal((40, 256)).astype(np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["mel"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "P"], ["embedding"]),
    ]
    inputs: dict[str, list[Any]] = {"mel": ["batch", 160, 40]}
    return _model("d-vector", nodes, constants, inputs, {"embedding": ["batch", 256]})


def _model(
    name: str,
    nodes: list[Any],
    constants: dict[str, Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
) -> ModelProto:
    def port(key: str, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)

    used = {part for n in nodes for part in n.input}
    kept = {k: v for k, v in constants.items() if k in used}
    graph = helper.make_graph(
        nodes,
        name,
        [port(k, s) for k, s in inputs.items()],
        [port(k, s) for k, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in kept.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
