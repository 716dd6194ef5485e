"""Reads an ONNX file before onnxruntime does: only nodes that this package writes, which end in bounded time and memory.

The file is read as the fields of a protocol buffer, without the package `onnx`: a server has onnxruntime alone.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["check_model", "without_encoder"]

_NODES = frozenset((
    "Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "Clip", "Concat", "CumSum", "Div", "Equal", "Exp", "Gather", "Gemm",
    "Greater", "Identity", "LabelEncoder", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mul", "Neg", "Not", "Or",
    "Reciprocal", "ReduceMax", "ReduceSum", "Relu", "Sigmoid", "Softmax", "Sub", "Sum", "Tanh", "TreeEnsembleRegressor",
    "Unsqueeze", "Where",
))  # fmt: skip
_MOST = 10_000  # nodes; a stack of networks and trees has a few hundred
_AXES = 2  # of a stored tensor; with more, one node could give a result of any size
# Numbers of the fields in onnx.proto, release 1.17.
_GRAPH, _NODE, _INITIALIZER, _OP_TYPE, _DIMS, _PLACE = 7, 1, 5, 4, 1, 14
_NODE_OUTPUT, _INPUT, _NAME = 2, 11, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_model(model: bytes) -> None:
    """Refuses a model with nodes that no export writes, such as loops, with many axes, or with data in other files.

    Raises:
        ValueError: It has, or it is no protocol buffer.
    """
    graphs = [data for number, data in _fields(model) if number == _GRAPH]
    if len(graphs) != 1 or not isinstance(graphs[0], bytes):
        raise ValueError("it has no graph, or several")
    nodes = 0
    for number, data in _fields(graphs[0]):
        if number == _NODE:
            nodes += 1
            _check_node(data)
        elif number == _INITIALIZER:
            _check_tensor(data)
    if nodes > _MOST:
        raise ValueError(f"it has {nodes:,} nodes, at most {_MOST:,} are read")


def without_encoder(model: bytes, features: str, prefix: str, width: int) -> bytes:
    """Returns a checked model that reads encoded features in place of raw columns: the nodes before them are left out.

    Args:
        model: A policy's model.
        features: Name of the encoded features in it, the input of the new model, (N, width), single precision.
        prefix: What the names of the results before them begin with.
        width: Number of encoded features.
    """
    out = bytearray()
    for number, data in _fields(model):
        out += _field(number, _of_features(data, features, prefix, width) if number == _GRAPH else data)
    return bytes(out)


def _of_features(graph: bytes | int, features: str, prefix: str, width: int) -> bytes:
    kept = bytearray()
    for number, data in _fields(graph):
        if number == _NODE:
            results = [str(part, "utf-8") for n, part in _fields(data) if n == _NODE_OUTPUT and isinstance(part, bytes)]
            if results and (results[0] == features or results[0].startswith(prefix)):
                continue
        if number == _INPUT and dict(_fields(data))[_NAME] != b"price":
            continue
        kept += _field(number, data)
    shape = _field(1, _field(2, b"N")) + _field(1, _field(1, width))  # one named and one known dimension
    tensor = _field(1, 1) + _field(2, shape)  # single precision
    return bytes(kept + _field(_INPUT, _field(_NAME, features.encode()) + _field(2, _field(1, tensor))))


def _field(number: int, data: bytes | int) -> bytes:
    """Returns a field of a message."""
    if isinstance(data, int):
        return _packed(number << 3 | _VARINT) + _packed(data)
    return _packed(number << 3 | _BYTES) + _packed(len(data)) + data


def _packed(value: int) -> bytes:
    """Returns an integer in seven bits a byte."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _check_node(data: bytes | int) -> None:
    kinds = [part for number, part in _fields(data) if number == _OP_TYPE]
    kind = kinds[-1].decode("utf-8", "replace") if kinds and isinstance(kinds[-1], bytes) else ""
    if kind not in _NODES:
        raise ValueError(f"it has a node {kind[:40]!r}, which no export writes")


def _check_tensor(data: bytes | int) -> None:
    axes = 0
    for number, part in _fields(data):
        if number == _DIMS:  # packed into bytes, or one by one
            axes += 1 if isinstance(part, int) else sum(byte < 0x80 for byte in part)
        elif number == _PLACE and part != 0:
            raise ValueError("a tensor is stored in another file")
    if axes > _AXES:
        raise ValueError(f"a tensor has {axes} axes, at most {_AXES} are read")


def _fields(data: bytes | int) -> Iterator[tuple[int, bytes | int]]:
    """Yields number and content of each field of a message: bytes, or an integer."""
    if isinstance(data, int):
        raise ValueError("a field is of another kind than ONNX has")
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("it is no ONNX")
        if at + size > len(data):
            raise ValueError("it is cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns an integer of seven bits a byte, and the position behind it."""
    value = 0
    for k in range(10):
        if at + k >= len(data):
            break
        byte = data[at + k]
        value |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            return value, at + k + 1
    raise ValueError("it is cut off, or no ONNX")
