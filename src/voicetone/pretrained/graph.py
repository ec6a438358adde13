"""A look into the bytes of an ONNX graph, before anything loads them.

ONNX lets a tensor live in another file, named by a path. A runtime that loads a graph from memory
resolves that path against the working folder, so such a graph could read any file there. The
walk below follows the messages in which a tensor can occur and finds any that says so; it needs
no ONNX package. Field numbers: the public `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# Message → {field number: message it holds}, for the paths that lead to tensors.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "Sparse",
        23: "Sparse",
    },
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_DEPTH = 64


def has_external_data(data: bytes) -> bool:
    """Whether any tensor of the graph lies in another file.

    Raises:
        ValueError: the bytes are not an ONNX graph.
    """
    return _walk(memoryview(data), "Model", 0)


def _walk(data: memoryview, message: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    inner = _FIELDS[message]
    for number, value in _fields(data):
        if message == "Tensor":
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif (
            number in inner
            and isinstance(value, memoryview)
            and _walk(value, inner[number], depth + 1)
        ):
            return True
    return False


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number and value; fixed-width values come as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            whole, at = _varint(data, at)
            yield number, whole
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown kind of field {kind}")
        if at + size > len(data):
            raise ValueError("cut short")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("number too long")
