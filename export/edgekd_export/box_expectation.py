"""Take the expectation over box sides (DFL) in a way that a CPU does not stumble over.

A head with DFL gives each side of a box as a distribution over R = 16 distances; what counts is its
mean. As traced, that is a softmax across an inner axis, which ONNX Runtime computes row by row:
8,400 rows of 16 numbers take a twentieth of YOLO11n at 320 px, and a tenth of it in int8. The mean
of a softmax is a ratio of two sums, Σ r·exp(x_r) / Σ exp(x_r), and both sums are one small matrix
product that needs no transposition. The numbers are the same up to the last bits of fp32.

Files for TensorRT keep the traced form, which its parser and fusions have been tried on.

Source of DFL: Li et al., Generalized Focal Loss, NeurIPS 2020, https://arxiv.org/abs/2006.04388
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgekd_export.graph_wiring import Wiring

_AXES_ARE_INPUTS = 18  # opset from which ReduceMax takes them so
_SIDES = (0, 2, 1, 3)  # (B, 4, R, A) → (B, R, 4, A), what the softmax reads


@dataclass(frozen=True)
class _Expectation:
    """The nodes of one DFL, and what goes in and comes out."""

    transpose: onnx.NodeProto
    softmax: onnx.NodeProto
    conv: onnx.NodeProto
    distances: npt.NDArray[np.float32]  # (R,)


def take_expectations_by_product(graph: onnx.ModelProto) -> int:
    """Replace every DFL of a graph, in place; how many there were.

    Args:
        graph: every node named; afterwards its nodes need sorting (`onnx_graph.checked`).
    """
    opset = next(entry.version for entry in graph.opset_import if not entry.domain)
    found = _find(Wiring(graph.graph))
    for expectation in found:
        _replace(graph.graph, expectation, opset)
    return len(found)


def _find(wiring: Wiring) -> list[_Expectation]:
    matches = (_match(wiring, node) for node in wiring.nodes.values() if node.op_type == "Softmax")
    return [match for match in matches if match is not None]


def _match(wiring: Wiring, softmax: onnx.NodeProto) -> _Expectation | None:
    """The DFL around a softmax; None: it is another one, of an attention for example."""
    before, after = wiring.producer(softmax.input[0]), wiring.consumers(softmax)
    if before is None or before.op_type != "Transpose" or _attribute(before, "perm") != _SIDES:
        return None
    if _attribute(softmax, "axis") != 1 or len(after) != 1 or after[0].op_type != "Conv":
        return None
    conv = after[0]
    if len(conv.input) != 2 or not wiring.has_constant(conv, 1) or wiring.is_output(conv):
        return None
    weight = numpy_helper.to_array(wiring.initializers[conv.input[1]])
    if weight.shape[0] != 1 or weight.shape[2:] != (1, 1) or len(wiring.consumers(before)) != 1:
        return None
    # What reads (B, 1, 4, A) must not mind (B, 4, 1, A).
    if any(reader.op_type != "Reshape" for reader in wiring.consumers(conv)):
        return None
    return _Expectation(before, softmax, conv, weight.reshape(-1).astype(np.float32))


def _replace(graph: onnx.GraphProto, old: _Expectation, opset: int) -> None:
    name, logits = old.softmax.name, old.transpose.input[0]  # (B, 4, R, A)
    sums = np.stack([old.distances, np.ones_like(old.distances)])  # (2, R)

    def constant(label: str, values: npt.NDArray[np.generic]) -> str:
        graph.initializer.append(numpy_helper.from_array(values, f"{name}/{label}"))
        return f"{name}/{label}"

    def node(operator: str, inputs: list[str], *outputs: str, **attributes: object) -> list[str]:
        written = [f"{name}/{output}" for output in outputs]
        made = helper.make_node(operator, inputs, written, f"{name}/{operator}", **attributes)
        graph.node.append(made)
        return written

    axes: list[str] = []
    attributes: dict[str, object] = {"keepdims": 1}
    if opset >= _AXES_ARE_INPUTS:
        axes = [constant("axes", np.array([2], np.int64))]
    else:
        attributes["axes"] = [2]
    largest = node("ReduceMax", [logits, *axes], "largest", **attributes)
    shifted = node("Sub", [logits, *largest], "shifted")  # so that exp cannot overflow
    weights = node("Exp", shifted, "weights")
    both = node("MatMul", [constant("sums", sums), *weights], "both")  # (B, 4, 2, A)
    sizes = constant("sizes", np.array([1, 1], np.int64))
    mean = node("Split", [*both, sizes], "weighted", "total", axis=2)
    graph.node.append(helper.make_node("Div", mean, [old.conv.output[0]], f"{name}/Div"))
    for gone in (old.transpose, old.softmax, old.conv):
        graph.node.remove(gone)


def _attribute(node: onnx.NodeProto, name: str) -> object:
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return tuple(value) if isinstance(value, list) else value
    return None
