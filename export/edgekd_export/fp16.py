"""Half precision for everything but the last steps of a detector, which would lose boxes in it.

fp16 has eleven significant bits. A coordinate near 640 pixels then moves in steps of half a pixel,
and the expectation of a distribution over box sides (DFL) or an index of a top-k loses more than
that, so what turns the head's convolutions into boxes and scores stays fp32. That part is found by
structure and is cheap: it works on one number per box side and class. Input and output stay fp32
too, so that every precision of a model is fed and read alike.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from edgekd_export.graph_wiring import tidy
from edgekd_export.onnx_graph import checked

_FP32_SUFFIX = "_cast_to_fp16"  # of what the converter casts: the fp32 side of the cast
# Before opset 19 these take fp32 only; what they quantise is cast on the way in and out.
_FLOAT_OPERATORS = ("QuantizeLinear", "DequantizeLinear")


def to_fp16(graph: onnx.ModelProto, *, keep_fp32: Collection[str]) -> onnx.ModelProto:
    """Convert a typed fp32 graph, or the float part of an int8 one, to fp16.

    The conversion is ONNX Runtime's own. It rounds between two neighbouring fp32 nodes as well;
    those casts are taken out again, or an fp32 island would be fp32 in name only.

    Args:
        graph: with the types of all tensors inferred; it is not changed.
        keep_fp32: names of nodes that stay fp32.

    Returns:
        A checked graph with fp32 input and output.
    """
    converted = convert_float_to_float16(
        onnx.ModelProto.FromString(graph.SerializeToString()),
        keep_io_types=True,
        disable_shape_infer=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_FLOAT_OPERATORS],
        node_block_list=list(keep_fp32),
    )
    _join_islands(converted.graph)
    tidy(converted.graph)
    _restore_names(converted.graph)
    return checked(converted)


def _join_islands(graph: onnx.GraphProto) -> None:
    """Where fp32 was cast to fp16 only to be cast back, read the fp32 tensor itself."""
    producers = {output: node for node in graph.node for output in node.output}
    replacements: dict[str, str] = {}
    for node in graph.node:
        if _casts_to(node, onnx.TensorProto.FLOAT):
            before = producers.get(node.input[0])
            if before is not None and _casts_to(before, onnx.TensorProto.FLOAT16):
                replacements[node.output[0]] = before.input[0]
    for node in graph.node:
        node.input[:] = [replacements.get(name, name) for name in node.input]
    for output in graph.output:
        if output.name in replacements:
            _rename(graph, producers[output.name], replacements[output.name], output.name)


def _restore_names(graph: onnx.GraphProto) -> None:
    """Call an fp32 tensor as before where no fp16 version of it is left to bear the name.

    Measured ranges and other tools know tensors by those names.
    """
    made = {name for node in graph.node for name in node.output}
    names = {name: name.removesuffix(_FP32_SUFFIX) for name in made if name.endswith(_FP32_SUFFIX)}
    names = {name: old for name, old in names.items() if old not in made}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _rename(graph: onnx.GraphProto, cast: onnx.NodeProto, old: str, new: str) -> None:
    """Let the producer of ``old`` write the graph's output itself, in place of a cast."""
    graph.node.remove(cast)
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _casts_to(node: onnx.NodeProto, element_type: int) -> bool:
    return node.op_type == "Cast" and any(
        attribute.name == "to" and attribute.i == element_type for attribute in node.attribute
    )
