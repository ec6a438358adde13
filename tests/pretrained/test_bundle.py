from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.toy import EMBEDDING, encoder, head, make_toy_bundle, spec, write_spec

from voicetone.errors import BundleError, VoicetoneError
from voicetone.pretrained import bundle, installed, load, verify


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return make_toy_bundle(tmp_path / "toy")


def _refused(folder: Path | str, words: str, *, by_load_only: bool = False) -> None:
    for check in [load] if by_load_only else [load, verify]:
        with pytest.raises(BundleError, match=words) as caught:
            check(folder)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(str(folder))


def test_load_and_verify(toy: Path) -> None:
    predictor = load(toy)
    assert predictor.spec == verify(toy)
    assert load(str(toy), threads=2).spec.name == "toy"
    assert load(toy / "bundle.json").spec.name == "toy"


def test_one_changed_byte(toy: Path) -> None:
    data = bytearray((toy / "head.onnx").read_bytes())
    data[-10] ^= 1
    (toy / "head.onnx").write_bytes(data)
    _refused(toy, "head.onnx: its SHA-256 is not the one in bundle.json: damaged or tampered")


def test_another_length(toy: Path) -> None:
    with (toy / "encoder.onnx").open("ab") as stream:
        stream.write(b"\0")
    _refused(toy, "encoder.onnx: .* bytes where bundle.json says")


def test_files_that_are_missing(toy: Path) -> None:
    (toy / "head.onnx").unlink()
    _refused(toy, "head.onnx: missing")
    (toy / "bundle.json").unlink()
    _refused(toy, "bundle.json: missing")


def test_every_listed_file_is_checked(toy: Path) -> None:
    (toy / "card.md").write_text("one")
    good = verify(toy).model_dump()["files"]
    write_spec(toy, {**spec(), "files": {**good, "card.md": {"sha256": "0" * 64, "bytes": 3}}})
    _refused(toy, "card.md: its SHA-256")


def test_no_such_place(tmp_path: Path) -> None:
    _refused(str(tmp_path / "none"), "neither an installed model")
    _refused(tmp_path / "none", "no such folder")
    (tmp_path / "file").write_text("")
    _refused(tmp_path / "file", "not a folder")


@pytest.mark.parametrize("name", ["../head.onnx", "/etc/passwd", "a/../head.onnx", "..", ""])
def test_a_path_outside_the_folder(toy: Path, name: str) -> None:
    content = spec()
    content["graphs"]["head"] = name
    write_spec(toy, content)
    _refused(toy, r"bundle.json: graphs\.head")


def test_links_that_leave_the_folder(toy: Path) -> None:
    shutil.move(toy / "head.onnx", toy.parent / "head.onnx")
    (toy / "head.onnx").symlink_to(toy.parent / "head.onnx")
    _refused(toy, "head.onnx: a link that leaves the bundle's folder")


def test_links_within_the_folder(toy: Path) -> None:
    (toy / "blobs").mkdir()
    shutil.move(toy / "head.onnx", toy / "blobs" / "head")
    (toy / "head.onnx").symlink_to(Path("blobs") / "head")
    assert verify(toy)
    elsewhere = toy.parent / "link"
    elsewhere.symlink_to(toy)
    assert verify(elsewhere), "the folder itself may be a link"


def test_a_link_to_itself(toy: Path) -> None:
    (toy / "head.onnx").unlink()
    (toy / "head.onnx").symlink_to("head.onnx")
    _refused(toy, "head.onnx: can't be read")


@pytest.mark.timeout(20)
def test_a_pipe_does_not_block(toy: Path) -> None:
    (toy / "head.onnx").unlink()
    os.mkfifo(toy / "head.onnx")
    _refused(toy, "head.onnx: not a regular file")
    (toy / "bundle.json").unlink()
    (toy / "bundle.json").mkdir()
    _refused(toy, r"bundle.json: (can't be read|not a regular file)")


def test_a_specification_of_a_gigabyte(toy: Path) -> None:
    with (toy / "bundle.json").open("ab") as stream:
        stream.truncate(1 << 30)
    _refused(toy, "bundle.json: larger than 1 MiB")


def test_a_graph_of_a_gigabyte(toy: Path) -> None:
    with (toy / "head.onnx").open("ab") as stream:
        stream.truncate(1 << 30)
    _refused(toy, "head.onnx: larger than 64 MiB")


def test_weights_in_another_file(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file at hand in the working folder the runtime itself would take it."""
    model = head()
    tensor = next(t for t in model.graph.initializer if t.name == "S")
    (toy / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    (toy / "head.onnx").write_bytes(model.SerializeToString())
    write_spec(toy, spec())
    monkeypatch.chdir(toy)
    _refused(toy, "head.onnx: keeps weights in another file")


def test_what_is_no_graph(toy: Path) -> None:
    (toy / "head.onnx").write_bytes(b"\x80\x04\x95 not a graph, but a pickle")
    write_spec(toy, spec())
    _refused(toy, "head.onnx: not an ONNX graph")
    (toy / "head.onnx").write_bytes(b"\x08\x09")
    write_spec(toy, spec())
    _refused(toy, "head.onnx: ", by_load_only=True)


def test_a_graph_with_other_ports(toy: Path) -> None:
    (toy / "head.onnx").write_bytes(encoder().SerializeToString())
    write_spec(toy, spec())
    _refused(toy, "head.onnx: its inputs are features, state and not", by_load_only=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state_size": 9}, "encoder.onnx: state has the shape"),
        ({"embedding_size": 17}, "encoder.onnx: frames has the shape"),
        ({"features": {**spec()["features"], "mels": 17}}, "encoder.onnx: features has the shape"),
        (
            {"label_spaces": {**spec()["label_spaces"], "emotion": ["anger"]}},
            "head.onnx: emotion has the shape",
        ),
    ],
)
def test_sizes_other_than_the_specification_says(
    toy: Path, change: dict[str, object], words: str
) -> None:
    write_spec(toy, {**spec(), **change})
    _refused(toy, words, by_load_only=True)


def test_ports_of_another_type(toy: Path) -> None:
    model = head()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    (toy / "head.onnx").write_bytes(model.SerializeToString())
    write_spec(toy, spec())
    _refused(toy, "head.onnx: ", by_load_only=True)


def _with_head(toy: Path, name: str, replaced: list[object]) -> None:
    """A head whose output of this name comes from other nodes."""
    model = head()
    nodes = [node for node in model.graph.node if node.output[0] != name]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *replaced])
    (toy / "head.onnx").write_bytes(model.SerializeToString())
    write_spec(toy, spec())


def test_a_graph_that_fails_when_run(toy: Path) -> None:
    """Its declared shapes are right, and it loads."""
    node = helper.make_node("Reshape", ["pooled", "shape"], ["square"])
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[-1, EMBEDDING + 1])
    out = helper.make_node("Slice", ["square", "zero", "three", "one_axis"], ["sentiment"])
    constants = [
        helper.make_node("Constant", [], [key], value_ints=[value])
        for key, value in (("zero", 0), ("three", 3), ("one_axis", 1))
    ]
    _with_head(toy, "sentiment", [shape, node, *constants, out])
    _refused(toy, "failed", by_load_only=True)


def test_a_graph_that_gives_no_numbers(toy: Path) -> None:
    product = helper.make_node("MatMul", ["pooled", "S"], ["finite"])
    zero = helper.make_node("Sub", ["finite", "finite"], ["zeros"])
    nan = helper.make_node("Div", ["zeros", "zeros"], ["sentiment"])
    _with_head(toy, "sentiment", [product, zero, nan])
    _refused(toy, "head.onnx gave NaN", by_load_only=True)


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_threads(toy: Path, threads: int) -> None:
    with pytest.raises(VoicetoneError, match="threads"):
        load(toy, threads=threads)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for installed packages, empty so far."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(place)
    known = metadata.entry_points

    def ours_only(**wanted: str) -> object:
        return [e for e in known(**wanted) if e.value.startswith("voicetone_test_")]

    monkeypatch.setattr(metadata, "entry_points", ours_only)
    return place


def _install(site: Path, name: str) -> Path:
    package = "voicetone_test_" + name.replace("-", "_")
    folder = make_toy_bundle(site / package, name=name)
    (folder / "__init__.py").write_text("raise RuntimeError('a bundle runs no code')")
    info = site / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[{bundle.GROUP}]\n{name} = {package}\n")
    return folder


def test_nothing_installed(site: Path) -> None:
    assert installed() == {}
    with pytest.raises(BundleError, match="no model is installed: install voicetone-tone-small"):
        load()


def test_the_only_installed_bundle_is_the_default(site: Path) -> None:
    folder = _install(site, "one")
    assert installed() == {"one": folder}
    assert load().spec.name == "one"
    assert load("one").spec.name == "one"
    with pytest.raises(BundleError, match=r"two: neither an installed model \(installed: one\)"):
        load("two")


def test_among_several_the_default_is_tone_small(site: Path) -> None:
    _install(site, "one")
    _install(site, "two")
    with pytest.raises(BundleError, match=r"several models are installed \(one, two\)"):
        load()
    _install(site, "tone-small")
    assert load().spec.name == "tone-small"
    assert list(installed()) == ["one", "tone-small", "two"]


def test_an_entry_without_its_package(site: Path) -> None:
    folder = _install(site, "one")
    shutil.rmtree(folder)
    assert installed() == {}


def test_the_bytes_that_were_hashed_are_loaded(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapping a file after the check changes nothing: it is read once."""
    read: list[str] = []
    inner = bundle._read

    def once(folder: Path, name: str, limit: int) -> bytes:
        data = inner(folder, name, limit)
        read.append(name)
        (folder / name).write_bytes(b"swapped")
        return data

    monkeypatch.setattr(bundle, "_read", once)
    predictor = load(toy)
    assert sorted(read) == ["bundle.json", "encoder.onnx", "head.onnx"]
    frames = np.zeros((1, 160, EMBEDDING), dtype=np.float32)
    scores = predictor.classify(frames, np.ones((1, 160), dtype=np.float32))
    assert scores["sentiment"].shape == (1, 3)
