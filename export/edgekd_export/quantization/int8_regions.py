"""Which operators around int8 layers compute in int8 too, so that a whole region needs no float.

A CPU gains little from int8 convolutions if each activation between them is a round trip to float.
ONNX Runtime has int8 kernels for most of what detectors put in between, and uses them where all
that such an operator reads and writes is quantised. So int8 spreads from the layers along the
tensors they write, and stops where there is no kernel. Operators are known by type and by what they
read, not by name; the head's arithmetic stays float because its convolutions do.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx

from edgekd_export.graph_wiring import Wiring

# A product or a sigmoid of a float value is better left float.
_ALL_INT8 = frozenset({"Mul", "Sigmoid"})
# What moves or merges values may quantise the odd float one among them.
_ANY_INT8 = frozenset({"Add", "AveragePool", "Concat", "MaxPool", "Resize", "Slice", "Split"})
_NO_CONSTANTS = frozenset({"Add", "Mul"})
REGION_OPERATORS = _ALL_INT8 | _ANY_INT8


def region(
    graph: onnx.GraphProto, layers: Sequence[str], operators: Collection[str]
) -> tuple[str, ...]:
    """Names of int8 layers and of all that computes in int8 with them, in the order of the graph.

    Args:
        graph: sorted, every node named.
        layers: those that are int8.
        operators: which others may be, of `REGION_OPERATORS`.
    """
    wiring = Wiring(graph)
    inside = set(layers)
    for node in graph.node:
        if node.op_type in operators and _joins(wiring, node, inside):
            inside.add(node.name)
    return tuple(node.name for node in graph.node if node.name in inside)


def tensors_around(graph: onnx.GraphProto, names: Collection[str]) -> tuple[str, ...]:
    """The activations that these nodes read and write, each once."""
    wiring = Wiring(graph)
    found: list[str] = []
    for node in graph.node:
        if node.name in names:
            found += [name for name in node.input if name and name not in wiring.initializers]
            found += node.output
    return tuple(dict.fromkeys(found))


def _joins(wiring: Wiring, node: onnx.NodeProto, inside: Collection[str]) -> bool:
    before = [producer.name in inside for producer in wiring.producers(node)]
    if node.op_type in _NO_CONSTANTS and len(before) < len(node.input):
        return False
    return bool(before) and (all if node.op_type in _ALL_INT8 else any)(before)
