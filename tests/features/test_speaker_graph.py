"""Any speaker network in ONNX, by its settings: toy graphs that strangers might bring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from features.sounds import RATE, tone
from voicetone.errors import AudioError, DataError
from voicetone.features.speaker_graph import GraphSettings, network_input
from voicetone.pretrained.speakers import open_network, speaker_encoder

SIZE = 6


def graph(path: Path, inputs: list[list[Any]], nodes: list[Any], **outputs: list[Any]) -> Path:
    """A graph whose inputs are `x0`, `x1`, … of these shapes."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, SIZE)).astype(np.float32)
    bands = rng.standard_normal((20, SIZE)).astype(np.float32)
    known = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bands, "b")]
    known += [numpy_helper.from_array(np.int64([0, -1, 4]), "fours")]
    made = helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape)
            for i, shape in enumerate(inputs)
        ],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
        known,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def node(kind: str, inputs: str, outputs: str, **more: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **more)


def of_waves(path: Path) -> Path:
    """Samples in fours, each through a matrix, squared, averaged."""
    nodes = [
        node("Reshape", "x0 fours", "parts"),
        node("MatMul", "parts w", "y"),
        node("Mul", "y y", "z"),
        node("ReduceMean", "z", "embedding", axes=[1], keepdims=0),
        node("Identity", "z", "frames"),
    ]
    shape: list[Any] = ["B", "n"]
    return graph(path, [shape], nodes, embedding=["B", SIZE], frames=["B", "t", SIZE])


def of_mel(path: Path) -> Path:
    nodes = [
        node("MatMul", "x0 b", "y"),
        node("Mul", "y y", "z"),
        node("ReduceMean", "z", "embedding", axes=[1], keepdims=0),
    ]
    return graph(path, [["B", "t", 20]], nodes, embedding=["B", SIZE])


def test_a_network_that_hears_samples(tmp_path: Path) -> None:
    settings = GraphSettings(
        str(of_waves(tmp_path / "a.onnx")), output="embedding", same_voice=0.3, longest=2.0
    )
    encoder = speaker_encoder(settings)
    assert (encoder.size, encoder.same_voice) == (SIZE, 0.3)
    waves = [tone(100, 1.0), tone(300, 0.2), tone(200, 6.0)]
    found = encoder.embed(waves)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, SIZE)).astype(np.float32)

    def alone(wave: np.ndarray) -> np.ndarray:
        out = ((wave.reshape(-1, 4) @ weights) ** 2).mean(axis=0)
        return out / np.linalg.norm(out)

    assert np.allclose(found[0], alone(waves[0]), atol=1e-5)
    assert np.allclose(found[1], alone(np.resize(waves[1], RATE // 2)), atol=1e-5)
    pieces = np.mean([alone(piece) for piece in np.split(waves[2], 3)], axis=0)
    assert np.allclose(found[2], pieces / np.linalg.norm(pieces), atol=1e-5)
    # This graph takes multiples of 4 samples only.
    with pytest.raises(DataError, match="take another network"):
        encoder.embed([tone(200, 1.0)[:15_998]])


def test_a_network_that_hears_bands(tmp_path: Path) -> None:
    path = of_mel(tmp_path / "b.onnx")
    settings = GraphSettings(str(path), "logmel", bands=20)
    encoder = open_network(settings)
    rng = np.random.default_rng(0)
    rough = [rng.standard_normal(RATE).astype(np.float32) * f for f in (0.1, tone(9, 1.0))]
    found = encoder.embed(rough)
    assert found[0] @ found[1] < 0.999
    heard = network_input(tone(1000, 1.0), settings)
    assert heard.shape == (1, 98, 20)
    assert np.allclose(heard.mean(axis=1), 0, atol=1e-4)
    loud = network_input(tone(1000, 1.0), replace(settings, subtract_mean=False))
    assert loud[0].mean(axis=0).argmax() in (5, 6, 7)  # 15 of 45 mel
    with pytest.raises(AudioError, match="too short for a frame"):
        network_input(tone(1000, 0.02), settings)


def test_the_id_says_what_decides_the_values(tmp_path: Path) -> None:
    first = GraphSettings(str(of_waves(tmp_path / "a.onnx")), output="embedding")
    known = open_network(first).id
    moved = replace(first, path=str((tmp_path / "a.onnx").rename(tmp_path / "c.onnx")))
    assert open_network(moved).id == known
    assert open_network(replace(moved, same_voice=0.1)).id == known
    assert open_network(replace(moved, longest=3.0)).id != known
    other = GraphSettings(str(of_mel(tmp_path / "b.onnx")), "logmel", bands=20)
    assert open_network(other).id != known


def test_graphs_that_are_refused(tmp_path: Path) -> None:
    waves = of_waves(tmp_path / "a.onnx")
    both = GraphSettings(str(waves))
    with pytest.raises(DataError, match="which output is it: embedding, frames"):
        open_network(both)
    with pytest.raises(DataError, match=r"frames is \[1, 8000, 6\] and not \[batch, size\]"):
        open_network(replace(both, output="frames"))
    with pytest.raises(DataError, match="which output is it"):
        open_network(replace(both, output="other"))
    with pytest.raises(DataError, match=r"its input is .*, and logmel is a tensor\(float\)"):
        open_network(replace(both, input="logmel", output="embedding"))
    mel = GraphSettings(str(of_mel(tmp_path / "b.onnx")), "logmel", bands=21)
    with pytest.raises(DataError, match=r"does not take \[1, 198, 21\] of logmel"):
        open_network(mel)
    two = graph(tmp_path / "two.onnx", [["B", "n"]] * 2, [node("Add", "x0 x1", "y")], y=["B", "n"])
    with pytest.raises(DataError, match="2 inputs: a speaker network takes wave"):
        open_network(GraphSettings(str(two)))
    infinite = graph(
        tmp_path / "inf.onnx",
        [["B", "n"]],
        [node("ReduceMean", "x0", "y", axes=[1]), node("Sub", "y y", "z"), node("Div", "y z", "e")],
        e=["B", 1],
    )
    with pytest.raises(DataError, match="values that are no numbers"):
        open_network(GraphSettings(str(infinite)))
    wide = graph(tmp_path / "wide.onnx", [["B", "n"]], [node("Neg", "x0", "y")], y=["B", "n"])
    with pytest.raises(DataError, match="with a size of 1 to 4096"):
        open_network(GraphSettings(str(wide)))
    with pytest.raises(DataError, match=r"none\.onnx: the speaker network can't be read"):
        open_network(GraphSettings(str(tmp_path / "none.onnx")))
    (tmp_path / "junk.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(DataError, match="not an ONNX graph"):
        open_network(GraphSettings(str(tmp_path / "junk.onnx")))
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(DataError, match="no graph that can be run"):
        open_network(GraphSettings(str(tmp_path / "empty.onnx")))


def test_weights_elsewhere_are_not_followed(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros((4, SIZE), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    made = helper.make_graph(
        [node("MatMul", "x0 w", "y")],
        "toy",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["B", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", SIZE])],
        [tensor],
    )
    path = tmp_path / "e.onnx"
    path.write_bytes(helper.make_model(made).SerializeToString())
    with pytest.raises(DataError, match="weights in another file"):
        open_network(GraphSettings(str(path)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"bands": 0}, "bands = 0, outside 1 to 256"),
        ({"bands": 8.5}, "whole bands"),
        ({"window_ms": 1}, "window_ms = 1, outside"),
        ({"hop_ms": "10"}, "hop_ms = 10, outside"),
        ({"longest": float("nan")}, "longest = nan"),
        ({"shortest": 5.0, "longest": 2.0}, "longest not under shortest"),
        ({"same_voice": True}, "same_voice = True"),
        ({"input": "mfcc"}, "input = 'mfcc'"),
        ({"path": ""}, "give a path"),
        ({"path": 3}, "path and output are texts"),
        ({"output": None}, "path and output are texts"),
        ({"layers": 3}, "no setting 'layers'"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        GraphSettings.from_dict({"path": "x.onnx", **settings})


def test_settings_from_a_recipe() -> None:
    given = {"path": "x.onnx", "input": "logmel", "bands": 40}
    assert GraphSettings.from_dict(given) == GraphSettings("x.onnx", "logmel", bands=40)
