"""Who writes a tensor and who reads it: what every rule about a graph's structure starts from.

Rules look at operators and at the way tensors take, never at names or layer numbers, because those
change with the model family, the exporter and the simplifier.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import onnx
from onnx import numpy_helper

from edgekd_bench.errors import InputError

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class Wiring:
    """An index of a graph as it is; changing the graph makes it stale."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: dict[str, onnx.NodeProto] = {node.name: node for node in graph.node}
        self.outputs: tuple[str, ...] = tuple(output.name for output in graph.output)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}
        self._consumers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._consumers[name].append(node)

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that writes a tensor; None for inputs and constants."""
        return self._producers.get(tensor)

    def producers(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The nodes a node reads from."""
        for name in node.input:
            producer = self._producers.get(name)
            if producer is not None:
                yield producer

    def consumers(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The nodes that read from a node."""
        return [reader for name in node.output for reader in self._consumers[name]]

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return self._consumers[tensor]

    def is_output(self, node: onnx.NodeProto) -> bool:
        """Whether a node writes an output of the graph."""
        return any(name in self.outputs for name in node.output)

    def has_constant(self, node: onnx.NodeProto, index: int) -> bool:
        """Whether an input of a node is a constant of the graph."""
        return len(node.input) > index and node.input[index] in self.initializers

    def weight_shape(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Shape of a node's second input, which must be a constant."""
        return tuple(numpy_helper.to_array(self.initializers[node.input[1]]).shape)


def name_all_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own: precisions are chosen node by node.

    Raises:
        InputError: two nodes share a name.
    """
    taken = {node.name for node in graph.node if node.name}
    if len(taken) != sum(bool(node.name) for node in graph.node):
        raise InputError("two nodes of the traced graph share a name; update torch")
    for index, node in enumerate(graph.node):
        if not node.name:
            node.name = f"{node.op_type}_unnamed_{index}"


def tidy(graph: onnx.GraphProto) -> None:
    """Drop what nothing reads and put nodes in an order in which they can run.

    Converters rewire nodes and append new ones at the end; ONNX demands that a tensor is written
    before it is read.
    """
    _drop_unread(graph)
    written = {tensor.name for tensor in (*graph.input, *graph.initializer)} | {""}
    waiting: list[onnx.NodeProto] = list(graph.node)
    ordered: list[onnx.NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if written.issuperset(node.input):
                ordered.append(node)
                written.update(node.output)
            else:
                later.append(node)
        assert len(later) < len(waiting), "a graph without loops has a node that can run next"
        waiting = later
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)


def _drop_unread(graph: onnx.GraphProto) -> None:
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {output.name for output in graph.output}
        unread = [node for node in graph.node if read.isdisjoint(node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
