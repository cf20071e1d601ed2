"""Count a network's parameters in an ONNX file without the ``onnx`` package.

A device has ONNX Runtime but not ``onnx``, and ONNX Runtime does not tell; so the few protobuf
fields that matter are walked here. Only weights and biases of layers count (inputs of Conv, Gemm,
MatMul, or quantised weights behind DequantizeLinear), not anchors or shapes that an exporter turned
into constants: that makes the figure equal to the fused PyTorch model's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE = 1, 2, 4
_TENSOR_DIMS, _TENSOR_NAME = 1, 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger"})
# Through these a weight keeps its identity on the way to its layer.
_PASSES_ON = frozenset({"DequantizeLinear", "QuantizeLinear", "Cast", "Identity"})


@dataclass
class _Graph:
    sizes: dict[str, int] = field(default_factory=dict)  # initializer → number of elements
    origin: dict[str, str] = field(default_factory=dict)  # passed-on value → where it came from
    used: set[str] = field(default_factory=set)  # inputs of layers


def count_onnx_parameters(data: bytes) -> int:
    """Parameters of a serialised ONNX model; 0 only where it holds no layer weights.

    Raises:
        ValueError: not a protobuf message.
    """
    graph = _Graph()
    for number, value in _fields(memoryview(data)):
        if number == _GRAPH and isinstance(value, memoryview):
            _read_graph(value, graph)
    # Exporters store equal tensors once, behind an Identity for each use; the network still has
    # one parameter for each, so it is the layers' inputs that count, not what they resolve to.
    return sum(graph.sizes.get(_origin(name, graph), 0) for name in graph.used)


def _origin(name: str, graph: _Graph) -> str:
    while name in graph.origin:
        name = graph.origin[name]
    return name


def _read_graph(message: memoryview, graph: _Graph) -> None:
    for number, value in _fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == _INITIALIZER:
            name, size = _read_tensor(value)
            graph.sizes[name] = size
        elif number == _NODE:
            _read_node(value, graph)


def _read_node(message: memoryview, graph: _Graph) -> None:
    inputs: list[str] = []
    outputs: list[str] = []
    kind = ""
    for number, value in _fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE_INPUT:
            inputs.append(bytes(value).decode())
        elif number == _NODE_OUTPUT:
            outputs.append(bytes(value).decode())
        elif number == _NODE_TYPE:
            kind = bytes(value).decode()
    if kind in _LAYERS:
        graph.used.update(inputs)
    elif kind in _PASSES_ON and inputs and outputs:
        graph.origin[outputs[0]] = inputs[0]


def _read_tensor(message: memoryview) -> tuple[str, int]:
    name, dims = "", []
    for number, value in _fields(message):
        if number == _TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif number == _TENSOR_DIMS and isinstance(value, int):
            dims.append(value)
        elif number == _TENSOR_DIMS and isinstance(value, memoryview):  # packed
            dims += _packed(value)
    return name, math.prod(dims)


def _packed(message: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(message):
        value, position = _varint(message, position)
        values.append(value)
    return values


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of each field: an int, or the bytes of a nested message."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"protobuf wire type {wire} at byte {position}")
        if position + length > len(message):
            raise ValueError(f"protobuf field runs past the end at byte {position}")
        yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError(f"broken protobuf number at byte {position}")
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if not byte & 0x80:
            return value, position
        shift += 7
