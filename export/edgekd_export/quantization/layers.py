"""Which layers an int8 graph may compute in int8, read off the graph's structure.

Convolutions and matrix products with constant weights gain from int8 and bear it. Left float are

- the head's predictions and all that follows: box sides run to hundreds of pixels and probabilities
  to one, and a scale for the former rounds the latter to nothing;
- products of two activations (queries with keys, attention with values) and the softmax between
  them: neither operand is known before the image is, and TensorRT's parser refuses Q/DQ on the
  constants around them;
- transposed convolutions, which TensorRT runs in int8 only for some shapes.
"""

from __future__ import annotations

import onnx

from edgekd_export.graph_wiring import Wiring
from edgekd_export.head_structure import HeadStructure

_QUANTISABLE = frozenset({"Conv", "MatMul"})


def quantisable_layers(graph: onnx.GraphProto, head: HeadStructure) -> tuple[str, ...]:
    """Names of the layers that may become int8, in the order of the graph."""
    wiring = Wiring(graph)
    float_only = head.decoding | head.predictions
    return tuple(
        node.name
        for node in graph.node
        if node.op_type in _QUANTISABLE
        and node.name not in float_only
        and wiring.has_constant(node, 1)
        and not wiring.has_constant(node, 0)
    )


def input_tensors(graph: onnx.GraphProto, layers: tuple[str, ...]) -> tuple[str, ...]:
    """The activations that these layers read: what has to be calibrated, each once."""
    nodes = Wiring(graph).nodes
    return tuple(dict.fromkeys(nodes[name].input[0] for name in layers))
