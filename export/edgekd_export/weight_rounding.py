"""Whether a lower precision holds the weights it was made from, each rounded and not otherwise.

What a graph answers cannot show one filter in ten thousand that was lost: at int8 its noise drowns
it. But the weights are in the file, and rounding is exact: a weight of an int8 layer is the fp32
one within half a step of its channel, an fp16 weight within half a unit in its last place. So the
layers of the artefact are held against those of the fp32 graph it was made from, one by one.
Activations are not compared here; what their scales do shows in the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgekd_export.graph_wiring import WEIGHTED

Float64Array = npt.NDArray[np.float64]

# Through these a constant keeps its values on the way to its layer.
_PASSES_ON = frozenset({"Cast", "Identity"})
_SEVEN_BITS = 63  # some processors add up products of eight bits in sixteen, so a bit is left out
_TINY = 1e-12  # a channel of zeros has no step


@dataclass(frozen=True)
class WeightRounding:
    """What happened to the constants of layers besides rounding."""

    num_layers: int  # with weights, in the fp32 graph
    num_missing: int  # of these, not found in the artefact
    excess: float  # largest difference beyond half a step, in half steps
    worst_layer: str = ""


@dataclass(frozen=True)
class _Constant:
    values: Float64Array
    half_step: Float64Array  # largest error of honest rounding; broadcasts to values
    integer: bool = False  # a scale was chosen, and may have been chosen badly


def compare_weights(ancestor: onnx.ModelProto, artefact: onnx.ModelProto) -> WeightRounding:
    """Compare every layer of a graph with the layer of the same name in the one it came from.

    Args:
        ancestor: the fp32 graph; its nodes have names of their own.
        artefact: the same network in another precision; converters keep the names.
    """
    before, after = _layers(ancestor.graph), _layers(artefact.graph)
    found = [
        name for name, constants in before.items() if after.get(name, {}).keys() >= constants.keys()
    ]
    excess = {
        name: max(_excess(constant, after[name][index]) for index, constant in before[name].items())
        for name in found
    }
    worst = max(excess, key=excess.__getitem__, default="")
    beyond = max(excess.get(worst, 0.0) - 1, 0.0)
    return WeightRounding(len(before), len(before) - len(found), beyond, worst)


def _excess(reference: _Constant, candidate: _Constant) -> float:
    if reference.values.shape != candidate.values.shape:
        return float("inf")
    allowed = np.maximum(reference.half_step, candidate.half_step) + _TINY
    if candidate.integer:
        allowed = np.minimum(allowed, _coarsest_half_step(reference.values, candidate) + _TINY)
    return float((abs(candidate.values - reference.values) / allowed).max(initial=0))


def _coarsest_half_step(values: Float64Array, candidate: _Constant) -> Float64Array:
    """Half the step at which seven bits hold the largest value of a channel: wider is a waste."""
    shape = candidate.half_step.shape
    shared = tuple(axis for axis in range(values.ndim) if shape[axis] == 1)
    largest: Float64Array = abs(values).max(axis=shared, keepdims=True)
    return largest / _SEVEN_BITS / 2


def _layers(graph: onnx.GraphProto) -> dict[str, dict[int, _Constant]]:
    """Weight (input 1) and bias (2) of every layer that has constant ones, by the node's name."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    layers: dict[str, dict[int, _Constant]] = {}
    for node in graph.node:
        if node.op_type not in WEIGHTED:
            continue
        constants = {
            index: _constant(node.input[index], tensors, producers)
            for index in range(1, len(node.input))
        }
        found = {index: constant for index, constant in constants.items() if constant is not None}
        if 1 in found:
            layers[node.name] = found
    return layers


def _constant(name: str, tensors: dict[str, Any], producers: dict[str, Any]) -> _Constant | None:
    node = producers.get(name)
    while node is not None and node.op_type in _PASSES_ON:
        name = node.input[0]
        node = producers.get(name)
    if node is not None and node.op_type == "DequantizeLinear":
        return _dequantized(node, tensors)
    if name not in tensors:
        return None
    stored = numpy_helper.to_array(tensors[name])
    values = stored.astype(np.float64)
    if stored.dtype.kind != "f":
        return _Constant(values, np.zeros_like(values))
    kind = np.finfo(stored.dtype)
    half_step = np.maximum(abs(values) * float(kind.eps) / 2, float(kind.smallest_subnormal))
    return _Constant(values, half_step)


def _dequantized(node: onnx.NodeProto, tensors: dict[str, Any]) -> _Constant | None:
    if any(name not in tensors for name in node.input):
        return None
    stored, scale, *zero = (numpy_helper.to_array(tensors[name]) for name in node.input)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    shape = [1] * stored.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    step = scale.astype(np.float64).reshape(shape)
    offset = zero[0].astype(np.float64).reshape(shape) if zero else 0.0
    return _Constant((stored.astype(np.float64) - offset) * step, step / 2, integer=True)
