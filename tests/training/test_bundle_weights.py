"""Weights read back from graphs and checkpoints give what the bundle gives, or are refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from voicetone.errors import BundleError, DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.models.conformer import ConformerConfig
from voicetone.models.tone import ToneConfig, ToneNet
from voicetone.pretrained import Predictor, bundle, load
from voicetone.training.bundle_weights import child, read_parent
from voicetone.training.tone_export import write_bundle
from voicetone.training.tone_weights import read_weights, write_weights
from voicetone.types import SENTIMENTS

EMOTIONS = ("anger", "happiness", "neutral")
SMALL = ToneConfig(width=8, stem=(2, 4), hidden=8, heads=2, dilations=(1, 3), emotions=3)
ABOVE = ConformerConfig(inputs=8, width=12, layers=2, heads=2, expand=2, kernel=3, past=5)
FACTS = {
    "name": "toy",
    "version": "1",
    "created": "2026-01-01",
    "temperature": {"sentiment": 1.5, "emotion": 0.8},
    "speech": {"threshold": 0.5, "release": 0.3, "onset_frames": 2, "hangover_frames": 3},
    "dont_know": {"sentiment": 0.4, "curve": [[0.35, 1.0, 0.5]]},
    "training": [],
    "licence": "CC0",
    "attribution": ["me"],
    "notice": "made up",
    "card": "# toy",
    "metrics": {},
}


def _net(config: ToneConfig = SMALL) -> ToneNet:
    """An untrained network whose normalisations have seen something."""
    torch.manual_seed(3)
    net = ToneNet(config)
    for name, value in net.state_dict().items():
        if value.dtype.is_floating_point:
            noise = torch.randn(value.shape)
            positive = name.endswith(("running_var", "scale"))
            value.copy_(torch.exp(0.3 * noise) if positive else value + 0.05 * noise)
    return net.eval()


def _bundle(folder: Path, net: ToneNet) -> Path:
    return write_bundle(folder, net, SpectralConfig(), EMOTIONS, FACTS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bundle(tmp_path_factory.mktemp("made") / "b", _net())


@pytest.fixture
def toy(made: Path, tmp_path: Path) -> Path:
    """The bundle of `_net()`, which a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "b"))


def _run(folder: Path, toy: Path, net: ToneNet) -> Path:
    """A run's folder with its final model."""
    shutil.copytree(toy, folder / "bundle")
    write_weights(folder / "checkpoints" / "final.safetensors", net, EMOTIONS)
    (folder / "recipe.json").write_text("{}")
    return folder


@torch.no_grad()
def _apart(net: ToneNet, predictor: Predictor) -> float:
    """Largest difference of anything that a network and a bundle give for made-up sounds."""
    rng, config = np.random.default_rng(1), net.config
    context, time = predictor.spec.shapes.context, np.arange(60 * 250) / 16_000
    sound = np.sin(2 * np.pi * 150 * time * (1 + 0.1 * time)) * (time % 0.5 > 0.2)
    sound = 0.2 * np.stack([sound, rng.normal(0, 0.1, len(time))]) + rng.normal(0, 1e-3, len(time))
    features = predictor.features(np.pad(sound.astype(np.float32), ((0, 0), (context, 0))))
    state = np.zeros((2, config.state_size), dtype=np.float32)
    given = predictor.encode(features, state)
    own = net.encoder(torch.from_numpy(features), torch.from_numpy(state))
    weight = np.ones(given[0].shape[:2], dtype=np.float32)
    said = predictor.classify(given[0], weight)
    logits = net.head(own[0], torch.from_numpy(weight))
    pairs = [(a, b.numpy()) for a, b in zip(given, own, strict=True)]
    for name, found in zip(("sentiment", "emotion"), logits, strict=True):
        temperature = getattr(predictor.spec.temperature, name)
        pairs.append((said[name], torch.softmax(found / temperature, 1).numpy()))
    return max(float((np.abs(a - b) / np.maximum(1, np.abs(a))).max()) for a, b in pairs)


def test_the_shipped_model_is_read_back() -> None:
    parent = read_parent("tone-small")
    assert parent.spec.id == load("tone-small").spec.id
    assert sum(p.numel() for p in parent.net.parameters()) == parent.spec.parameters
    assert _apart(parent.net, load("tone-small")) < 1e-5
    assert not parent.net.training


@pytest.mark.parametrize("above", [None, ABOVE], ids=["front", "conformer"])
@pytest.mark.parametrize("made", ["trained", "untrained"])
def test_a_network_is_read_back_from_its_graphs(
    tmp_path: Path, above: ConformerConfig | None, made: str
) -> None:
    config = replace(SMALL, conformer=above)
    # Of an untrained one the exporter writes equal tensors once, under other names.
    net = _net(config) if made == "trained" else ToneNet(config).eval()
    folder = _bundle(tmp_path / "b", net)
    parent = read_parent(str(folder))
    above = above and replace(above, dropout=parent.net.config.conformer.dropout)  # type: ignore[union-attr]
    assert replace(parent.net.config, dropout=0.2, conformer=above) == replace(
        config, conformer=above
    )
    assert _apart(parent.net, load(folder)) < 1e-5
    assert parent.emotions == EMOTIONS


def test_sentiments_are_put_in_order(toy: Path) -> None:
    net, folder = _net(), toy
    spec = json.loads((folder / "bundle.json").read_text())
    spec["label_spaces"]["sentiment"] = ["negative", "positive", "neutral"]
    files = spec.pop("files")
    bundle.write(folder, spec, {n: (folder / n).read_bytes() for n in files})
    order = [spec["label_spaces"]["sentiment"].index(name) for name in SENTIMENTS]
    parent = read_parent(str(folder))
    torch.testing.assert_close(
        parent.net.head.sentiment.weight, net.head.sentiment.weight[order], atol=0, rtol=0
    )


def test_a_run_gives_its_final_model(toy: Path, tmp_path: Path) -> None:
    net = _net()
    parent = read_parent(str(_run(tmp_path / "run", toy, net)))
    for name, value in parent.net.state_dict().items():
        torch.testing.assert_close(value, net.state_dict()[name], atol=0, rtol=0)
    assert parent.digest != read_parent(str(tmp_path / "run" / "bundle")).digest


def test_a_run_without_a_final_model_is_refused(toy: Path, tmp_path: Path) -> None:
    run = _run(tmp_path / "run", toy, _net())
    (run / "checkpoints" / "final.safetensors").unlink()
    with pytest.raises(DataError, match="final = true"):
        read_parent(str(run))


def test_a_run_whose_weights_are_not_its_bundles_is_refused(toy: Path, tmp_path: Path) -> None:
    run = _run(tmp_path / "run", toy, _net())
    torch.manual_seed(9)
    path = run / "checkpoints" / "final.safetensors"
    write_weights(path, ToneNet(SMALL), EMOTIONS)
    with pytest.raises(DataError, match="don't give what its graphs give"):
        read_parent(str(run))
    write_weights(path, _net(), ("anger", "neutral", "happiness"))
    with pytest.raises(DataError, match="other emotions"):
        read_parent(str(run))


def test_a_bundle_that_is_changed_is_refused(toy: Path) -> None:
    data = bytearray((toy / "head.onnx").read_bytes())
    data[-200] ^= 1
    (toy / "head.onnx").write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256"):
        read_parent(str(toy))


def _rewritten(folder: Path, graph: str, change: str) -> None:
    """A bundle whose graph runs and whose hashes hold, but which is no tone network of ours."""
    spec = json.loads((folder / "bundle.json").read_text())
    files = {name: (folder / name).read_bytes() for name in spec.pop("files")}
    model = onnx.load_model_from_string(files[graph])
    for node in model.graph.node:
        if change == "names":
            node.name = f"n{node.name.replace('/', '_')}"
        elif node.name == "/presence/Relu" and change == "activation":
            node.op_type = "Tanh"
    files[graph] = model.SerializeToString()
    bundle.write(folder, spec, files)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("names", "not those of voicetone's tone network"),
        ("activation", "don't give what its graphs give"),
    ],
)
def test_foreign_graphs_are_refused(toy: Path, change: str, said: str) -> None:
    _rewritten(toy, "encoder.onnx", change)
    with pytest.raises(DataError, match=said):
        read_parent(str(toy))


def test_eight_bits_are_refused_but_the_run_behind_them_is_taken(tmp_path: Path) -> None:
    net, run = _net(), tmp_path / "run"
    heard = [np.random.default_rng(0).normal(-5, 3, (40, 104)).astype(np.float32)]
    write_bundle(run / "bundle", net, SpectralConfig(), EMOTIONS, FACTS, heard)
    with pytest.raises(DataError, match="rounded to eight bits; start from the run"):
        read_parent(str(run / "bundle"))
    write_weights(run / "checkpoints" / "final.safetensors", net, EMOTIONS)
    (run / "recipe.json").write_text("{}")
    parent = read_parent(str(run))
    assert torch.equal(parent.net.head.mix.weight, net.head.mix.weight)


def test_emotions_are_carried_over_by_name(toy: Path) -> None:
    parent = read_parent(str(toy))
    wanted = ("neutral", "boredom", "anger")
    net = child(parent, wanted, dropout=0.0, seed=1)
    old, new = parent.net.head.emotion, net.head.emotion
    for place, name in ((0, "neutral"), (2, "anger")):
        torch.testing.assert_close(new.weight[place], old.weight[EMOTIONS.index(name)])
        torch.testing.assert_close(new.bias[place], old.bias[EMOTIONS.index(name)])
    assert new.weight.shape == (3, 8)
    other = child(parent, wanted, dropout=0.0, seed=2)
    assert not torch.equal(other.head.emotion.weight[1], new.weight[1])
    assert torch.equal(child(parent, wanted, dropout=0.0, seed=1).head.emotion.weight, new.weight)
    for name, value in net.state_dict().items():
        if not name.startswith("head.emotion."):
            torch.testing.assert_close(value, parent.net.state_dict()[name], atol=0, rtol=0)
    with torch.no_grad():
        net.head.mix.weight.zero_()
    assert parent.net.head.mix.weight.any()


def test_weights_are_kept_and_read(tmp_path: Path) -> None:
    net = _net(replace(SMALL, conformer=ABOVE))
    write_weights(tmp_path / "a" / "w.safetensors", net, EMOTIONS)
    found, emotions = read_weights(tmp_path / "a" / "w.safetensors")
    assert emotions == EMOTIONS
    assert found.config == net.config
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, net.state_dict()[name], atol=0, rtol=0)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("spoil", ["cut", "sizes", "emotions", "huge", "missing", "pickle"])
def test_weights_that_are_none_are_refused(tmp_path: Path, spoil: str) -> None:
    path, net = tmp_path / "w.safetensors", _net()
    emotions = EMOTIONS[:2] if spoil == "emotions" else EMOTIONS
    if spoil == "sizes":
        net.config = replace(net.config, hidden=9)
    if spoil == "huge":
        net.config = replace(net.config, hidden=1 << 40)
    write_weights(path, net, emotions)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    if spoil == "missing":
        path.unlink()
    if spoil == "pickle":
        torch.save(net.state_dict(), path)
    with pytest.raises(DataError, match="no weights of a tone network"):
        read_weights(path)


def test_bundles_of_whole_windows_are_refused(tmp_path: Path) -> None:
    bundle.write(tmp_path, _window_spec(), {"classifier.onnx": _window()})
    with pytest.raises(DataError, match="format 2"):
        read_parent(str(tmp_path))


def _window() -> bytes:
    """A graph of format 2: three emotions from 26 values."""
    weight = numpy_helper.from_array(np.zeros((26, 3), np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["features", "w"], ["emotion"])
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size])
        for name, size in (("features", 26), ("emotion", 3))
    ]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:], [weight])
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def _window_spec() -> dict[str, object]:
    return {
        **FACTS,
        "format": 2,
        "label_spaces": {"sentiment": list(SENTIMENTS), "emotion": list(EMOTIONS)},
        "sample_rate": 16000,
        "window_seconds": 5.0,
        "hop_seconds": 2.5,
        "frame_samples": 500,
        "features": {
            "name": "mfcc",
            "cut_seconds": None,
            "size": 26,
            "frames": 0,
            "step": 1,
            "opensmile": None,
        },
        "graphs": {"classifier": "classifier.onnx"},
        "head": "emotion",
        "parameters": 78,
        "mac_per_second": 1,
    }
