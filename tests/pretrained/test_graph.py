from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper
from tests.toy import encoder, head

from voicetone.pretrained.graph import has_external_data


def _outside(tensor: TensorProto) -> TensorProto:
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret"
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def _tensor() -> TensorProto:
    return helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])


def _initializer(model: ModelProto) -> None:
    _outside(model.graph.initializer[0])


def _location_only(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _entry_only(model: ModelProto) -> None:
    model.graph.initializer[0].external_data.add().key = "location"


def _attribute(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=_outside(_tensor())))


def _attribute_list(model: ModelProto) -> None:
    attribute = AttributeProto(name="a", type=AttributeProto.TENSORS)
    attribute.tensors.append(_outside(_tensor()))
    model.graph.node[0].attribute.append(attribute)


def _subgraph(model: ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [], [_outside(_tensor())])
    model.graph.node.append(
        helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    )


def _sparse(model: ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(_tensor())
    sparse.indices.CopyFrom(_outside(_tensor()))


def _function(model: ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=_outside(_tensor()))
    model.functions.append(helper.make_function("d", "f", [], ["c"], [node], []))


def _training(model: ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(_outside(_tensor()))


def test_self_contained_graphs_pass() -> None:
    assert not has_external_data(encoder().SerializeToString())
    assert not has_external_data(head().SerializeToString())


@pytest.mark.parametrize(
    "hide",
    [
        _initializer,
        _location_only,
        _entry_only,
        _attribute,
        _attribute_list,
        _subgraph,
        _sparse,
        _function,
        _training,
    ],
)
def test_tensors_elsewhere_are_found(hide: object) -> None:
    model = encoder()
    hide(model)  # type: ignore[operator]
    assert has_external_data(model.SerializeToString())


def test_the_word_alone_is_no_reason() -> None:
    model = encoder()
    model.doc_string = "external_data location"
    model.graph.initializer.append(
        helper.make_tensor("n", TensorProto.STRING, [1], [b"external_data"])
    )
    assert not has_external_data(model.SerializeToString())


def test_a_graph_cut_short_is_no_graph() -> None:
    data = encoder().SerializeToString()
    with pytest.raises(ValueError, match="cut short"):
        has_external_data(data[:-1])


def test_bottomless_nesting_is_refused() -> None:
    def wrapped(number: int, inner: bytes) -> bytes:
        size, length = len(inner), b""
        while size >= 0x80:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + inner

    graph = b""
    for _ in range(2000):
        graph = wrapped(1, wrapped(5, wrapped(6, graph)))  # node, attribute, graph
    with pytest.raises(ValueError, match="nested too deeply"):
        has_external_data(wrapped(7, graph))


@given(st.binary(max_size=200))
def test_any_bytes_give_an_answer_or_a_value_error(data: bytes) -> None:
    try:
        assert has_external_data(data) in (True, False)
    except ValueError as error:
        assert str(error)  # noqa: PT017
