"""Weights of a trained tone network, read back: from a bundle's graphs or a run's checkpoint.

A bundle holds ONNX graphs, and the exporter folds most batch normalisations into the convolutions
before them. Such a convolution is read back as it is, and the normalisation behind it is set to
add the convolution's bias and nothing else: what the network gives is the same, and is checked to
be, but its normalisations hold no statistics that more training could go on from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from voicetone.errors import DataError, MissingExtraError
from voicetone.models.conformer import ConformerConfig
from voicetone.models.tone import ToneConfig, ToneNet
from voicetone.pretrained import Predictor, load
from voicetone.pretrained.bundle import find
from voicetone.pretrained.spec import MAX_FILE_BYTES, SPEC_NAME, StreamSpec
from voicetone.training.tone_weights import MOST_BLOCKS, Array, filled, read_weights, require_sane
from voicetone.types import SENTIMENTS

CLOSE = 1e-4
"""Largest difference between network and graphs, as a share of the largest output."""
FINAL = Path("checkpoints") / "final.safetensors"
"""Where a run keeps its final model."""


@dataclass(frozen=True)
class Parent:
    """A trained network that another one starts from."""

    net: ToneNet
    """In evaluation mode, sentiments in the order of `SENTIMENTS`."""
    spec: StreamSpec
    """Of its bundle: labels, speech rule, temperatures, training data, licence."""
    digest: str
    """SHA-256 of its bundle's description, which names the hashes of its graphs, and weights."""

    @property
    def emotions(self) -> tuple[str, ...]:
        """Labels of its emotion outputs."""
        return tuple(self.spec.label_spaces.emotion)


def read_parent(name_or_path: str) -> Parent:
    """A network to start from, on the CPU.

    Args:
        name_or_path: name of an installed bundle, a bundle's folder, or the folder of a run of a
            tone recipe that has trained its final model.

    Raises:
        BundleError: no such bundle, or one that is damaged or tampered with.
        DataError: a bundle of format 2 or of another network, a run without a final model.
        MissingExtraError: `onnx` is not installed.
    """
    run = Path(name_or_path)
    if not (run / "recipe.json").is_file():
        return _from_bundle(find(name_or_path))
    if not (run / FINAL).is_file() or not (run / "bundle" / SPEC_NAME).is_file():
        raise DataError(
            f"{run}: a run without a final tone model; train it with final = true, or give a bundle"
        )
    parent = _opened(run / "bundle")
    spec = _stream(parent, run)
    net, emotions = read_weights(run / FINAL)
    if emotions != tuple(spec.label_spaces.emotion):
        raise DataError(f"{run / FINAL}: other emotions than the run's bundle has; train it again")
    eight_bits = _graph(run / "bundle", spec, spec.graphs.encoder).eight_bits
    _require_same(net, parent, run, encoder=not eight_bits)
    weights = hashlib.sha256((run / FINAL).read_bytes()).hexdigest()
    return Parent(net, spec, f"{_digest(run / 'bundle')}-{weights}")


def _from_bundle(folder: Path) -> Parent:
    predictor = _opened(folder)
    spec = _stream(predictor, folder)
    try:
        encoder, head = (_graph(folder, spec, name) for name in spec.graph_names)
        if encoder.eight_bits or head.eight_bits:
            raise DataError(
                f"{folder}: its weights are rounded to eight bits; start from the run that made it"
            )
        net = network_of(encoder, head, spec)
    except (KeyError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(
            f"{folder}: its graphs are not those of voicetone's tone network ({why}); "
            "start from another bundle, or from the run that made it"
        ) from error
    _require_same(net, predictor, folder)
    return Parent(net, spec, _digest(folder))


def _opened(folder: Path) -> Predictor:
    """The bundle in ONNX Runtime, its hashes checked."""
    predictor = load(folder)
    _stream(predictor, folder)
    return predictor


def _stream(predictor: Predictor, folder: Path) -> StreamSpec:
    if not isinstance(predictor.spec, StreamSpec):
        raise DataError(
            f"{folder}: a bundle of format 2, which hears whole windows; training goes on from "
            "bundles of format 1, as tone-small"
        )
    return predictor.spec


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / SPEC_NAME).read_bytes()).hexdigest()


# ------------------------------------------------------------------ graphs


@dataclass(frozen=True)
class Graph:
    """A graph's constant tensors, and for each named node its inputs and numbers."""

    eight_bits: bool
    """Whether weights or activations are whole numbers, which no training goes on from."""
    tensors: Mapping[str, Array]
    nodes: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]

    def weights(self, node: str) -> list[Array]:
        """The constant inputs of a node, in their order.

        Raises:
            KeyError: no such node.
        """
        inputs, _ = self.nodes[node]
        return [self.tensors[name] for name in inputs if name in self.tensors]

    def number(self, node: str, name: str, default: Any) -> Any:
        """An attribute of a node."""
        return self.nodes[node][1].get(name, default)


def _graph(folder: Path, spec: StreamSpec, name: str) -> Graph:
    """A graph of a bundle. Its file is hashed again: it may have changed since it was verified."""
    data = (folder / name).read_bytes()
    if len(data) > MAX_FILE_BYTES or hashlib.sha256(data).hexdigest() != spec.files[name].sha256:
        raise DataError(f"{folder / name}: changed while it was read; get the bundle again")
    return parsed(data)


def parsed(data: bytes) -> Graph:
    """Tensors and nodes in the bytes of an ONNX graph.

    Raises:
        MissingExtraError: `onnx` is not installed.
        ValueError: a tensor whose bytes don't fit its shape, or one that is too large.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtraError("reading weights from a bundle", "train") from error
    graph = onnx.load_model_from_string(data).graph
    tensors = {t.name: t for t in graph.initializer}
    for node in graph.node:
        # The exporter writes some tensors as constants, and equal ones once, with other names.
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in tensors:
            tensors[node.output[0]] = tensors[node.input[0]]
    floats = {}
    for name, tensor in tensors.items():
        if tensor.data_type == onnx.TensorProto.FLOAT:
            if np.prod([int(d) for d in tensor.dims], dtype=object) * 4 > MAX_FILE_BYTES:
                raise ValueError(f"{name[:60]} is too large")
            floats[name] = np.array(numpy_helper.to_array(tensor), dtype=np.float32)
    nodes = {node.name: (tuple(node.input), _numbers(node)) for node in graph.node}
    eight_bits = any("Quantize" in n.op_type or "Integer" in n.op_type for n in graph.node)
    return Graph(eight_bits, floats, nodes)


def _numbers(node: Any) -> dict[str, Any]:
    """The attributes of a node that are whole numbers or lists of them."""
    one = {a.name: int(a.i) for a in node.attribute if a.HasField("i")}
    return one | {a.name: [int(i) for i in a.ints] for a in node.attribute if a.ints}


def network_of(encoder: Graph, head: Graph, spec: StreamSpec) -> ToneNet:
    """The network whose graphs these are, in evaluation mode.

    Args:
        encoder: with the front end at its top (`/stem/…`) or in a scope of its own (`/front/…`).
        head: under `/head/`.
        spec: of the bundle.

    Raises:
        KeyError, ValueError, IndexError: nodes or shapes that are not those of this network.
    """
    front = "/front" if any(name.startswith("/front/") for name in encoder.nodes) else ""
    state = {
        **_front(encoder, front),
        **_conformer(encoder),
        **_plain(encoder, "/speech/Conv", "encoder.speech"),
        **_plain(encoder, "/presence/mix/Conv", "encoder.presence.mix"),
        **_plain(encoder, "/presence/out/Conv", "encoder.presence.out"),
        **_head(head),
    }
    order = [spec.label_spaces.sentiment.index(name) for name in SENTIMENTS]
    for part in ("weight", "bias"):
        state[f"head.sentiment.{part}"] = state[f"head.sentiment.{part}"][order]
    return filled(_config(encoder, front, state, spec), state)


def _front(graph: Graph, front: str) -> dict[str, Array]:
    state = {
        "encoder.front.mean": graph.weights(f"{front}/Sub")[0],
        "encoder.front.scale": graph.weights(f"{front}/Mul")[0],
        **_folded(graph, f"{front}/stem/conv1/Conv", "encoder.front.stem", "conv1", "norm1"),
        **_folded(graph, f"{front}/stem/conv2/Conv", "encoder.front.stem", "conv2", "norm2"),
        **_folded(graph, f"{front}/stem/join/Conv", "encoder.front.stem", "join", "norm"),
        **_norm(graph, f"{front}/out_norm/BatchNormalization", "encoder.front.out_norm"),
    }
    for place in range(_blocks(graph, front, "depthwise/Conv")):
        scope, name = f"{front}/blocks.{place}", f"encoder.front.blocks.{place}"
        state |= _folded(graph, f"{scope}/depthwise/Conv", name, "depthwise", "norm")
        state |= _plain(graph, f"{scope}/expand/Conv", f"{name}.expand")
        state |= _plain(graph, f"{scope}/contract/Conv", f"{name}.contract")
    return state


def _blocks(graph: Graph, scope: str, node: str) -> int:
    """How many blocks a scope has, by a node that each of them has."""
    count = 0
    while f"{scope}/blocks.{count}/{node}" in graph.nodes and count <= MOST_BLOCKS:
        count += 1
    if not 1 <= count <= MOST_BLOCKS:
        raise ValueError(f"not 1 to {MOST_BLOCKS} blocks")
    return count


def _conformer(graph: Graph) -> dict[str, Array]:
    """The Conformer on the front end; nothing where there is none."""
    if "/conformer/enter/MatMul" not in graph.nodes:
        return {}
    state = _linear(graph, "/conformer/enter", "encoder.conformer.enter")
    for place in range(_blocks(graph, "/conformer", "attention/query/MatMul")):
        scope, name = f"/conformer/blocks.{place}", f"encoder.conformer.blocks.{place}"
        for part in _LINEAR:
            state |= _linear(graph, f"{scope}/{part}", f"{name}.{part.replace('/', '.')}")
        for part in ("first/norm", "attention/norm", "convolution/norm", "convolution/inner",
                     "second/norm", "norm"):  # fmt: skip
            node, own = f"{scope}/{part}/LayerNormalization", f"{name}.{part.replace('/', '.')}"
            state[f"{own}.weight"], state[f"{own}.bias"] = graph.weights(node)
        inner = "convolution/depthwise"
        state |= _plain(graph, f"{scope}/{inner}/Conv", f"{name}.{inner.replace('/', '.')}")
        (distance,) = (
            graph.weights(node)[0]
            for node in graph.nodes
            if node.startswith(f"{scope}/attention/Gather") and graph.weights(node)
        )
        state[f"{name}.attention.distance"] = distance
    return state


_LINEAR = (
    *("first/expand", "first/contract", "attention/query", "attention/pair", "attention/out"),
    *("convolution/gate", "convolution/out", "second/expand", "second/contract"),
)


def _linear(graph: Graph, scope: str, name: str) -> dict[str, Array]:
    """A matrix on frames: the exporter turns it and adds the bias afterwards."""
    (weight,), (bias,) = graph.weights(f"{scope}/MatMul"), graph.weights(f"{scope}/Add")
    return {f"{name}.weight": np.ascontiguousarray(weight.T), f"{name}.bias": bias}


def _head(graph: Graph) -> dict[str, Array]:
    state = _norm(graph, "/head/norm/BatchNormalization", "head.norm")
    for place in (0, 2):
        state |= _linear(graph, f"/head/attend/attend.{place}", f"head.attend.{place}")
    for name in ("mix", "sentiment", "emotion"):
        weight, bias = graph.weights(f"/head/{name}/Gemm")
        if not graph.number(f"/head/{name}/Gemm", "transB", 0):
            weight = np.ascontiguousarray(weight.T)
        state |= {f"head.{name}.weight": weight, f"head.{name}.bias": bias}
    return state


def _plain(graph: Graph, node: str, name: str) -> dict[str, Array]:
    weight, bias = graph.weights(node)
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _folded(graph: Graph, node: str, name: str, conv: str, norm: str) -> dict[str, Array]:
    """A convolution with its normalisation in it, and a normalisation that adds the bias alone."""
    weight, bias = graph.weights(node)
    gain = np.sqrt(np.float32(1.0) + np.float32(nn.BatchNorm1d(1).eps))
    return {
        f"{name}.{conv}.weight": weight,
        f"{name}.{norm}.weight": np.full_like(bias, gain),
        f"{name}.{norm}.bias": bias,
        f"{name}.{norm}.running_mean": np.zeros_like(bias),
        f"{name}.{norm}.running_var": np.ones_like(bias),
    }


def _norm(graph: Graph, node: str, name: str) -> dict[str, Array]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": value for part, value in zip(parts, graph.weights(node), strict=True)}


def _config(graph: Graph, front: str, state: Mapping[str, Array], spec: StreamSpec) -> ToneConfig:
    """Sizes as the shapes tell them; that all shapes agree is checked when they are filled in."""

    def size(name: str, axis: int = 0) -> int:
        return int(state[name].shape[axis])

    width = size("encoder.front.stem.join.weight")
    dilations = [
        int(graph.number(f"{front}/blocks.{i}/depthwise/Conv", "dilations", [1])[0])
        for i in range(_blocks(graph, front, "depthwise/Conv"))
    ]
    config = ToneConfig(
        mels=spec.spectral.mels,
        lags=spec.spectral.lags,
        stem=(size("encoder.front.stem.conv1.weight"), size("encoder.front.stem.conv2.weight")),
        width=width,
        expand=size("encoder.front.blocks.0.expand.weight") // max(width, 1),
        kernel=size("encoder.front.blocks.0.depthwise.weight", 2),
        dilations=tuple(dilations),
        heads=size("head.attend.2.weight"),
        hidden=size("head.mix.weight"),
        sentiments=len(SENTIMENTS),
        emotions=len(spec.label_spaces.emotion),
        conformer=_conformer_config(graph, state),
    )
    require_sane(config)
    if config.state_size != spec.state_size or config.frame + 1 != spec.embedding_size:
        raise ValueError("its state or its frames have another size")
    return config


def _conformer_config(graph: Graph, state: Mapping[str, Array]) -> ConformerConfig | None:
    enter = state.get("encoder.conformer.enter.weight")
    if enter is None:
        return None
    block = "encoder.conformer.blocks.0"
    width, distance = int(enter.shape[0]), state[f"{block}.attention.distance"]
    return ConformerConfig(
        inputs=int(enter.shape[1]),
        width=width,
        layers=_blocks(graph, "/conformer", "attention/query/MatMul"),
        heads=int(distance.shape[0]),
        expand=int(state[f"{block}.first.expand.weight"].shape[0]) // max(width, 1),
        kernel=int(state[f"{block}.convolution.depthwise.weight"].shape[2]),
        past=int(distance.shape[1]) - 1,
    )


@torch.no_grad()
def _require_same(net: ToneNet, predictor: Predictor, where: Path, *, encoder: bool = True) -> None:
    """That a network gives what a bundle gives, on made-up features of the size of real ones.

    Args:
        net: the network.
        predictor: the bundle.
        where: for messages.
        encoder: whether its encoder must; one in eight bits gives something near.

    Raises:
        DataError: it gives something else.
    """
    rng, config = np.random.default_rng(0), net.config
    mean, scale = net.encoder.front.mean.numpy(), net.encoder.front.scale.numpy()
    features = rng.standard_normal((2, 40, config.features), dtype=np.float32)
    features = features / np.maximum(np.abs(scale), 1e-6) + mean
    state = rng.standard_normal((2, config.state_size), dtype=np.float32)
    given = predictor.encode(features, state)
    own = net.encoder(torch.from_numpy(features), torch.from_numpy(state))
    pairs = [(one, other.numpy()) for one, other in zip(given, own, strict=True) if encoder]
    weight = np.ones(given[0].shape[:2], dtype=np.float32)
    said = predictor.classify(given[0], weight)
    sentiment, emotion = net.head(torch.from_numpy(given[0]), torch.from_numpy(weight))
    temperature, labels = predictor.spec.temperature, predictor.spec.label_spaces
    order = [labels.sentiment.index(name) for name in SENTIMENTS]
    pairs += [
        (said["sentiment"][:, order], torch.softmax(sentiment / temperature.sentiment, 1).numpy()),
        (said["emotion"], torch.softmax(emotion / temperature.emotion, 1).numpy()),
    ]
    if any(np.abs(a - b).max() > CLOSE * max(1.0, float(np.abs(a).max())) for a, b in pairs):
        raise DataError(
            f"{where}: its weights, read back, don't give what its graphs give; "
            "start from another bundle"
        )


# ------------------------------------------------------------------ children


def child(parent: Parent, emotions: Sequence[str], dropout: float, seed: int) -> ToneNet:
    """A copy of a parent with other emotions: outputs of the same name are carried over.

    Args:
        parent: where the weights come from.
        emotions: labels of the outputs.
        dropout: of the copy.
        seed: of the outputs that the parent lacks.
    """
    config = replace(parent.net.config, emotions=len(emotions), dropout=dropout)
    if config.conformer is not None:
        config = replace(config, conformer=replace(config.conformer, dropout=dropout))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ToneNet(config)
    own = net.state_dict()
    rows = {name: place for place, name in enumerate(parent.emotions)}
    for name, value in parent.net.state_dict().items():
        if not name.startswith("head.emotion."):
            own[name] = value.clone()
            continue
        for place, emotion in enumerate(emotions):
            if emotion in rows:
                own[name][place] = value[rows[emotion]]
    net.load_state_dict(own)
    return net
