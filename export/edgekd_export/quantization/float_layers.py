"""Which nodes of an int8 graph stay fp32 and which compute in fp16.

An int8 engine whose float layers ran in fp32 would be slower than an fp16 one. But a cast between
DequantizeLinear and a convolution would hide the pair from TensorRT, and the activation between two
int8 layers is fused with them anyway. So only layers that compute in float go to fp16, along with
what stands between two of them.
"""

from __future__ import annotations

import onnx

from edgekd_export.graph_wiring import WEIGHTED, Wiring
from edgekd_export.head_structure import HeadStructure
from edgekd_export.quantization.quantize_dequantize import DQ, Q, int8_layers


def fp32_nodes(graph: onnx.GraphProto, head: HeadStructure) -> set[str]:
    """Names of the nodes of an int8 graph that must not become fp16."""
    wiring = Wiring(graph)
    fixed = set(head.decoding) | int8_layers(graph)
    fixed |= {node.name for node in graph.node if node.op_type in (Q, DQ)}
    half = {
        node.name
        for node in graph.node
        if node.op_type in WEIGHTED | {"Softmax"} and node.name not in fixed
    }
    grown = True
    while grown:
        joining = {
            node.name
            for node in graph.node
            if node.name not in half | fixed and _is_between(wiring, node, half)
        }
        half |= joining
        grown = bool(joining)
    return set(wiring.nodes) - half


def _is_between(wiring: Wiring, node: onnx.NodeProto, half: set[str]) -> bool:
    """Whether all that a node reads, or all that reads it, is fp16 already."""
    before = [producer.name for producer in wiring.producers(node)]
    after = [consumer.name for consumer in wiring.consumers(node)]
    reads_half = bool(before) and half.issuperset(before)
    feeds_half = bool(after) and half.issuperset(after)
    return reads_half or feeds_half
