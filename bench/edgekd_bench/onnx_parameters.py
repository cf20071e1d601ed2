"""Count a network's parameters in an ONNX file without the ``onnx`` package.

A device has ONNX Runtime but not ``onnx``, and ONNX Runtime does not tell; so the protobuf is read
directly. Only weights and biases of layers count (inputs of Conv, Gemm, MatMul, or quantised
weights behind DequantizeLinear), not anchors or shapes that an exporter turned into constants: that
makes the figure equal to the fused PyTorch model's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edgekd_bench.protobuf_fields import fields, packed_ints

_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE = 1, 2, 4
_TENSOR_DIMS, _TENSOR_NAME = 1, 8
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
    for number, value in fields(memoryview(data)):
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
    for number, value in fields(message):
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
    for number, value in fields(message):
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
    for number, value in fields(message):
        if number == _TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif number == _TENSOR_DIMS and isinstance(value, int):
            dims.append(value)
        elif number == _TENSOR_DIMS and isinstance(value, memoryview):  # packed
            dims += packed_ints(value)
    return name, math.prod(dims)
