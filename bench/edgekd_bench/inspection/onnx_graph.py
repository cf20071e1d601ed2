"""What an ONNX graph is, read without the ``onnx`` package: shapes, operators, true precision.

A manifest says what a file should be; a conversion may have left it as it was. So the precision is
found in the graph: int8 where weights of layers pass through int8 (Q/DQ pairs or integer layers),
fp16 where most stored numbers are fp16. Field numbers are those of onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from edgekd_bench.errors import InputError
from edgekd_bench.inspection.findings import GraphFacts, Precision, TensorFacts
from edgekd_bench.protobuf_fields import fields, packed_ints

# ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto and what lies in them
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSET = 1, 2, 3, 7, 8
_NODE, _INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE, _NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 1, 2, 4, 5, 5
_DIMS, _DTYPE, _TENSOR_NAME, _LOCATION, _EXTERNAL = 1, 2, 8, 14, 1
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _ELEM_TYPE, _SHAPE, _DIM = 1, 2, 1, 1, 2, 1
_DIM_VALUE, _DIM_NAME = 1, 2
_DTYPES = {
    1: "fp32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "fp16", 11: "fp64", 12: "uint32", 13: "uint64", 16: "bf16", 17: "fp8", 19: "fp8",
    21: "uint4", 22: "int4",
}  # fmt: skip
_WEIGHT_INPUTS = {
    "Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1),
    "ConvInteger": (1,), "MatMulInteger": (0, 1), "QLinearConv": (3,), "QLinearMatMul": (0, 3),
}  # fmt: skip
_PASSES_ON = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Transpose", "Reshape"}
)


@dataclass(frozen=True)
class _Node:
    kind: str
    inputs: list[str]
    outputs: list[str]


@dataclass
class _Graph:
    dtypes: dict[str, str] = field(default_factory=dict)  # stored tensor → element type
    sizes: Counter[str] = field(default_factory=Counter)  # element type → numbers stored
    nodes: list[_Node] = field(default_factory=list)
    inputs: list[TensorFacts] = field(default_factory=list)
    outputs: list[TensorFacts] = field(default_factory=list)
    external: bool = False


def read_graph(path: Path) -> GraphFacts:
    """What the graph of an ONNX file is.

    Raises:
        InputError: not an ONNX file, truncated, or without a graph.
    """
    graph = _Graph()
    opsets: dict[str, int] = {}
    found: dict[int, int | memoryview] = {}
    try:
        for number, value in fields(memoryview(path.read_bytes())):
            if number == _GRAPH and isinstance(value, memoryview):
                _read_graph(value, graph)
            elif number == _OPSET and isinstance(value, memoryview):
                entry = dict(fields(value))
                opsets[_text(entry.get(1))] = _number(entry.get(2))
            found[number] = value
        producer = f"{_text(found.get(_PRODUCER))} {_text(found.get(_PRODUCER_VERSION))}".strip()
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: truncated, or not an ONNX file ({error}); copy it again") from (
            error
        )
    if not graph.nodes:
        raise InputError(f"{path}: not an ONNX file, it holds no graph; export it again")
    layers, int8_layers = _count_layers(graph)
    inputs = [tensor for tensor in graph.inputs if tensor.name not in graph.dtypes]
    return GraphFacts(
        producer=producer,
        ir_version=_number(found.get(_IR_VERSION)),
        opsets=opsets,
        inputs=inputs,  # before IR version 4 weights were listed among the inputs
        outputs=graph.outputs,
        num_nodes=len(graph.nodes),
        nodes=dict(Counter(node.kind for node in graph.nodes).most_common()),
        num_weights=dict(graph.sizes.most_common()),
        layers=layers,
        int8_layers=int8_layers,
        precision=_precision(graph, int8_layers),
        external_data=graph.external,
    )


def _read_graph(message: memoryview, graph: _Graph) -> None:
    for number, value in fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE:
            _read_node(value, graph)
        elif number == _INITIALIZER:
            _store(value, graph, name=None)
        elif number == _GRAPH_INPUT:
            graph.inputs.append(_read_value(value))
        elif number == _GRAPH_OUTPUT:
            graph.outputs.append(_read_value(value))


def _read_node(message: memoryview, graph: _Graph) -> None:
    node, tensors = _Node("", [], []), []
    kind = ""
    for number, value in fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE_INPUT:
            node.inputs.append(_text(value))
        elif number == _NODE_OUTPUT:
            node.outputs.append(_text(value))
        elif number == _NODE_TYPE:
            kind = _text(value)
        elif number == _NODE_ATTRIBUTE:
            tensors += [v for n, v in fields(value) if n == _ATTRIBUTE_TENSOR]
    graph.nodes.append(_Node(kind, node.inputs, node.outputs))
    if kind == "Constant":
        for tensor in tensors:
            if isinstance(tensor, memoryview):
                _store(tensor, graph, name=node.outputs[0])


def _store(message: memoryview, graph: _Graph, name: str | None) -> None:
    """Note a tensor's element type and size; ``name`` where the tensor has none of its own."""
    dims: list[int] = []
    own, code = "", 0
    for number, value in fields(message):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else packed_ints(value)
        elif number == _DTYPE:
            code = _number(value)
        elif number == _TENSOR_NAME:
            own = _text(value)
        elif number == _LOCATION and value == _EXTERNAL:
            graph.external = True
    dtype = _DTYPES.get(code, f"type {code}")
    graph.dtypes[name or own] = dtype
    graph.sizes[dtype] += math.prod(dims)


def _read_value(message: memoryview) -> TensorFacts:
    outer = dict(fields(message))
    tensor = dict(fields(_nested(dict(fields(_nested(outer, _VALUE_TYPE))), _TENSOR_TYPE)))
    shape: list[int | str] = []
    for number, value in fields(_nested(tensor, _SHAPE)):
        if number == _DIM and isinstance(value, memoryview):
            dim = dict(fields(value))
            length = dim.get(_DIM_VALUE)
            shape.append(length if isinstance(length, int) else _text(dim.get(_DIM_NAME)) or "?")
    code = _number(tensor.get(_ELEM_TYPE))
    return TensorFacts(
        name=_text(outer.get(_VALUE_NAME)), dtype=_DTYPES.get(code, f"type {code}"), shape=shape
    )


def _count_layers(graph: _Graph) -> tuple[int, int]:
    """Layers with stored weights, and how many of these weights pass through int8."""
    made_by = {output: node for node in graph.nodes for output in node.outputs}
    layers = int8 = 0
    for node in graph.nodes:
        positions = [i for i in _WEIGHT_INPUTS.get(node.kind, ()) if i < len(node.inputs)]
        kinds = [_weight_kind(node.inputs[i], made_by, graph) for i in positions]
        stored = [kind for kind in kinds if kind is not None]
        layers += bool(stored)
        int8 += "int8" in stored
    return layers, int8


def _weight_kind(name: str, made_by: dict[str, _Node], graph: _Graph) -> str | None:
    """'int8' or 'float' of a stored weight, followed back from its layer; None: not stored."""
    through_int8 = False
    for _ in range(len(graph.nodes)):  # a broken graph may run in a circle
        if name in graph.dtypes:
            return "int8" if through_int8 or graph.dtypes[name] in ("int8", "uint8") else "float"
        node = made_by.get(name)
        if node is None or node.kind not in _PASSES_ON or not node.inputs:
            return None
        through_int8 |= node.kind == "QuantizeLinear"
        name = node.inputs[0]
    return None


def _precision(graph: _Graph, int8_layers: int) -> Precision | None:
    if int8_layers:
        return "int8"
    single, half = graph.sizes["fp32"], graph.sizes["fp16"]
    if not single and not half:
        return None
    return "fp16" if half > single else "fp32"


def _nested(message: dict[int, int | memoryview], number: int) -> memoryview:
    value = message.get(number)
    return value if isinstance(value, memoryview) else memoryview(b"")


def _text(value: int | memoryview | None) -> str:
    return bytes(value).decode() if isinstance(value, memoryview) else ""


def _number(value: int | memoryview | None) -> int:
    return value if isinstance(value, int) else 0
