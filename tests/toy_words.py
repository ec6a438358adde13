"""A tiny bundle of format 2 that reads words: seeded random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tests.toy import write_spec
from tests.toy_window import FRAMES, window_spec

KNOWN = ("it's", "fine", "thank", "you", "terrible", "hate", "überall")
SIZE, LIMIT = 6, 8
TEXT = {
    "encoder": "words-1",
    "vocabulary": "vocabulary.txt",
    "words": len(KNOWN),
    "limit": LIMIT,
    "size": SIZE,
}


def make_words_bundle(folder: Path, known: Sequence[str] = KNOWN, **changes: Any) -> Path:
    """Write a loadable bundle into `folder` (made if missing) and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **window_spec(FRAMES),
        "name": "toy-words",
        "graphs": {"classifier": "classifier.onnx", "text": "text.onnx"},
        "text": TEXT,
        **changes,
    }
    labels = content["label_spaces"][content["head"]]
    (folder / "classifier.onnx").write_bytes(
        classifier(content["head"], len(labels)).SerializeToString()
    )
    (folder / "text.onnx").write_bytes(text_network().SerializeToString())
    (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in known), "utf-8")
    write_spec(folder, content)
    return folder


def text_network(rows: int = len(KNOWN) + 1) -> ModelProto:
    """A vector for each word, and so much for its place in the text."""
    rng = np.random.default_rng(8)
    constants = {
        "E": rng.standard_normal((rows, SIZE)).astype(np.float32),
        "across": np.array([2], np.int64),
        "along": np.array(1, np.int64),
        "tenth": np.float32(0.1),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["E", "ids"], ["words"]),
        node("CumSum", ["mask", "along"], ["place"]),
        node("Mul", ["place", "tenth"], ["small"]),
        node("Unsqueeze", ["small", "across"], ["wide"]),
        node("Unsqueeze", ["mask", "across"], ["real"]),
        node("Add", ["words", "wide"], ["placed"]),
        node("Mul", ["placed", "real"], ["vectors"]),
    ]
    free = ["batch", "words"]
    return _model("text", nodes, constants, {"ids": free, "mask": free}, {"vectors": [*free, SIZE]})


def classifier(head: str, labels: int) -> ModelProto:
    """Means over frames and over words through a layer each; a stand-in where no word is read."""
    rng = np.random.default_rng(9)
    width, frames = FRAMES["size"], FRAMES["frames"]
    constants = {
        "W": rng.standard_normal((width, labels)).astype(np.float32),
        "V": (2 * rng.standard_normal((SIZE, labels))).astype(np.float32),
        "silent": rng.standard_normal((1, labels)).astype(np.float32),
        "small": np.float32(0.05),
        "half": np.float32(0.5),
        "last": np.array([2], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["mask", "last"], ["m"]),
        node("Mul", ["features", "m"], ["kept"]),
        node("ReduceMean", ["kept"], ["mean"], axes=[1], keepdims=0),
        node("Mul", ["mean", "small"], ["scaled"]),
        node("Tanh", ["scaled"], ["squashed"]),
        node("MatMul", ["squashed", "W"], ["heard"]),
        node("Unsqueeze", ["token_mask", "last"], ["t"]),
        node("Mul", ["tokens", "t"], ["said"]),
        node("ReduceMean", ["said"], ["text"], axes=[1], keepdims=0),
        node("MatMul", ["text", "V"], ["words"]),
        node("Greater", ["read", "half"], ["there"]),
        node("Where", ["there", "words", "silent"], ["more"]),
        node("Add", ["heard", "more"], [head]),
    ]
    inputs: dict[str, list[Any]] = {
        "features": [1, frames, width],
        "mask": [1, frames],
        "tokens": [1, "words", SIZE],
        "token_mask": [1, "words"],
        "read": [1],
    }
    return _model("classifier", nodes, constants, inputs, {head: [1, labels]})


def _model(
    name: str,
    nodes: list[Any],
    constants: dict[str, Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
) -> ModelProto:
    def port(key: str, shape: list[Any]) -> Any:
        kind = TensorProto.INT64 if key == "ids" else TensorProto.FLOAT
        return helper.make_tensor_value_info(key, kind, shape)

    graph = helper.make_graph(
        nodes,
        name,
        [port(k, s) for k, s in inputs.items()],
        [port(k, s) for k, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
