"""Which nodes of a network would leave the range of fp16.

Nothing in a sound detector comes near 65504, but nothing forbids it either, and one infinity ruins
an image. So the largest values are looked at on real images, inside the graph, where only one
number a tensor has to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd_export.graph_wiring import Wiring
from edgekd_export.quantization.ranges import Batch, run_all

_LIMIT = float(np.finfo(np.float16).max) / 4  # other images may reach further than these
_LARGEST = "/largest"


def overflowing_nodes(graph: onnx.ModelProto, batches: Iterable[Batch]) -> set[str]:
    """Names of the nodes that write or read values fp16 may not hold.

    Args:
        graph: fp32, with the types of all tensors inferred.
        batches: network inputs.
    """
    wiring = Wiring(graph.graph)
    large = [name for name, value in _largest_values(graph, batches).items() if value > _LIMIT]
    large += [
        name
        for name, tensor in wiring.initializers.items()
        if tensor.data_type == TensorProto.FLOAT and _largest(tensor) > _LIMIT
    ]
    nodes: set[str] = set()
    for name in large:
        nodes |= {reader.name for reader in wiring.readers(name)}
        producer = wiring.producer(name)
        if producer is not None:
            nodes.add(producer.name)
    return nodes


def _largest_values(graph: onnx.ModelProto, batches: Iterable[Batch]) -> dict[str, float]:
    """Tensor → largest |x| over all images."""
    watched = onnx.ModelProto.FromString(graph.SerializeToString())
    tensors = [
        info.name
        for info in graph.graph.value_info
        if info.type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    for name in tensors:
        watched.graph.node.append(helper.make_node("Abs", [name], [name + "/abs"]))
        watched.graph.node.append(
            helper.make_node("ReduceMax", [name + "/abs"], [name + _LARGEST], keepdims=0)
        )
        watched.graph.output.append(
            helper.make_tensor_value_info(name + _LARGEST, TensorProto.FLOAT, [])
        )
    largest = dict.fromkeys(tensors, 0.0)
    for values, _ in run_all(watched, [name + _LARGEST for name in tensors], batches):
        for name in tensors:
            largest[name] = max(largest[name], float(values[name + _LARGEST]))
    return largest


def _largest(tensor: onnx.TensorProto) -> float:
    values = numpy_helper.to_array(tensor)
    return float(abs(values).max()) if values.size else 0.0
