"""Ways an export goes wrong in practice, done to a good graph on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

Surgery = Callable[[onnx.GraphProto], None]


def operate(source: Path, target: Path, surgery: Surgery) -> Path:
    """Copy an ONNX file with one fault in it."""
    model = onnx.load(source)
    surgery(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
    return target


def expect_bgr(graph: onnx.GraphProto) -> None:
    """The channel order of OpenCV."""
    _before_input(graph, "Gather", np.array([2, 1, 0]), axis=1)


def expect_bytes_scaled_twice(graph: onnx.GraphProto) -> None:
    """Divide by 255 again inside the network."""
    _before_input(graph, "Mul", np.array(1 / 255, np.float32))


def expect_unscaled(graph: onnx.GraphProto) -> None:
    """Feed 0 … 255, as if the division were missing."""
    _before_input(graph, "Mul", np.array(255, np.float32))


def negate_a_weight_block(graph: onnx.GraphProto) -> None:
    """Flip the sign of one filter in the middle of the network."""
    _change_middle_conv(graph, lambda weight: _with_block(weight, -weight[:1]))


def round_weights_to_fp16(graph: onnx.GraphProto) -> None:
    """Claim fp32 but hold fp16 values."""
    for tensor in _conv_weights(graph):
        weight = numpy_helper.to_array(tensor)
        rounded = weight.astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))


def swap_first_two_classes(graph: onnx.GraphProto) -> None:
    """Raw output: exchange two class channels."""
    channels = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    order = np.arange(channels)
    order[[4, 5]] = order[[5, 4]]
    _after_output(graph, "Gather", order, axis=1)


def shift_class_ids(graph: onnx.GraphProto) -> None:
    """End-to-end output: count classes from one."""
    _after_output(graph, "Add", np.array([0, 0, 0, 0, 0, 1], np.float32))


def anchors_at_corners(graph: onnx.GraphProto) -> None:
    """Decode boxes around cell corners instead of cell centres."""
    for tensor in graph.initializer:
        if len(tensor.dims) == 3 and tuple(tensor.dims[:2]) == (1, 2):
            anchors = numpy_helper.to_array(tensor) - np.float32(0.5)
            tensor.CopyFrom(numpy_helper.from_array(anchors, tensor.name))
            return
    raise AssertionError("no anchor constant in this graph")


def shift_boxes_a_little(graph: onnx.GraphProto) -> None:
    """Raw output: move every box by a tenth of a pixel."""
    channels = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shift = np.zeros((1, channels, 1), np.float32)
    shift[:, :2] = 0.1
    _after_output(graph, "Add", shift)


def _before_input(graph: onnx.GraphProto, op: str, operand: np.ndarray, **attributes: int) -> None:
    name = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["fed" if used == name else used for used in node.input]
    graph.initializer.append(numpy_helper.from_array(operand, "operand"))
    graph.node.insert(0, helper.make_node(op, [name, "operand"], ["fed"], **attributes))


def _after_output(graph: onnx.GraphProto, op: str, operand: np.ndarray, **attributes: int) -> None:
    name = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["inner" if made == name else made for made in node.output]
    graph.initializer.append(numpy_helper.from_array(operand, "operand"))
    graph.node.append(helper.make_node(op, ["inner", "operand"], [name], **attributes))


def _conv_weights(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    return [t for t in graph.initializer if len(t.dims) == 4 and t.data_type == 1]


def _change_middle_conv(graph: onnx.GraphProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    weights = _conv_weights(graph)
    tensor = weights[len(weights) // 2]
    changed = change(numpy_helper.to_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))


def _with_block(weight: np.ndarray, block: np.ndarray) -> np.ndarray:
    changed = weight.copy()
    changed[: len(block)] = block
    return changed
