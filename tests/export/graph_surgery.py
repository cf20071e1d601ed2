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


def subtract_mean_colour(graph: onnx.GraphProto) -> None:
    """Caffe's habit, with the channels in BGR order."""
    mean = np.array([103.939, 116.779, 123.68], np.float32).reshape(1, 3, 1, 1) / np.float32(255)
    _before_input(graph, "Sub", mean)


def negate_a_filter(graph: onnx.GraphProto) -> None:
    """Flip the sign of one filter in the middle of the network."""
    _change_middle_conv(graph, lambda weight: _with_filter(weight, -weight[0]))


def zero_a_filter(graph: onnx.GraphProto) -> None:
    """Lose one filter in the middle of the network."""
    _change_middle_conv(graph, lambda weight: _with_filter(weight, 0 * weight[0]))


def exchange_two_filters(graph: onnx.GraphProto) -> None:
    """Right weights in the wrong places."""
    order = np.array([1, 0])
    _change_middle_conv(
        graph, lambda weight: np.concatenate([weight[order], weight[2:]]).astype(weight.dtype)
    )


def transpose_kernels(graph: onnx.GraphProto) -> None:
    """Height and width of kernels exchanged, all over the network."""
    for tensor in _conv_weights(graph):
        weight = numpy_helper.to_array(tensor)
        if weight.shape[2] > 1:
            _replace(tensor, weight.swapaxes(2, 3))


def forget_a_bias(graph: onnx.GraphProto) -> None:
    """Batch norm folded into the weights of a layer, not into its bias."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    biased = [n for n in graph.node if n.op_type == "Conv" and len(n.input) > 2]
    middle = biased[len(biased) // 2].input[2]
    producers = {name: node for node in graph.node for name in node.output}
    while middle not in tensors:  # a cast in an fp16 graph
        middle = producers[middle].input[0]
    _replace(tensors[middle], 0 * numpy_helper.to_array(tensors[middle]))


def scale_a_layer(graph: onnx.GraphProto) -> None:
    """Batch norm folded with another epsilon: a layer is two percent too strong."""
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) > 2:
            scales = _scale_constants(graph, node.input[1])
            if scales:
                for tensor in scales:
                    _replace(tensor, numpy_helper.to_array(tensor) * np.float32(1.02))
                return
    raise AssertionError("no convolution whose weights can be scaled")


def round_weights_to_fp16(graph: onnx.GraphProto) -> None:
    """Claim fp32 but hold fp16 values."""
    for tensor in _conv_weights(graph):
        weight = numpy_helper.to_array(tensor)
        _replace(tensor, weight.astype(np.float16).astype(np.float32))


def round_weights_to_int8(graph: onnx.GraphProto) -> None:
    """Claim fp32 or fp16 but hold the values of int8, one scale a filter."""
    _round_weights(graph, levels=127)


def round_weights_to_int4(graph: onnx.GraphProto) -> None:
    """Hold what four bits can hold, whatever the file claims."""
    _round_weights(graph, levels=7)


def widen_an_activation_range(graph: onnx.GraphProto) -> None:
    """int8: a scale thirty-two times too large leaves three bits of one activation."""
    _change_activation_scales(graph, 32.0, every=False)


def clip_activations(graph: onnx.GraphProto) -> None:
    """int8: ranges of another network, four times too small."""
    _change_activation_scales(graph, 0.25, every=True)


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
    tensor = _anchor_constant(graph)
    _replace(tensor, numpy_helper.to_array(tensor) - np.float32(0.5))


def anchors_of_levels_exchanged(graph: onnx.GraphProto) -> None:
    """Grids of the pyramid levels in the wrong order."""
    tensor = _anchor_constant(graph)
    _replace(tensor, np.ascontiguousarray(numpy_helper.to_array(tensor)[..., ::-1]))


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
    """Four-dimensional constants in fp32, fp16 or int8."""
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
    return [t for t in graph.initializer if len(t.dims) == 4 and t.data_type in kinds]


def _change_middle_conv(graph: onnx.GraphProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    weights = _conv_weights(graph)
    tensor = weights[len(weights) // 2]
    _replace(tensor, change(numpy_helper.to_array(tensor)))


def _with_filter(weight: np.ndarray, first: np.ndarray) -> np.ndarray:
    changed = weight.copy()
    changed[0] = first
    return changed


def _replace(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    kept = np.ascontiguousarray(values.astype(numpy_helper.to_array(tensor).dtype))
    tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))


def _round_weights(graph: onnx.GraphProto, levels: int) -> None:
    for tensor in _conv_weights(graph):
        weight = numpy_helper.to_array(tensor).astype(np.float32)
        step = abs(weight).max(axis=(1, 2, 3), keepdims=True) / levels + 1e-12
        _replace(tensor, np.round(weight / step).clip(-levels, levels) * step)


def _scale_constants(graph: onnx.GraphProto, weight: str) -> list[onnx.TensorProto]:
    """What to multiply to scale a layer: its float weights, or the scales of its int8 ones."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}.get(weight)
    if weight in tensors:
        return [tensors[weight]]
    if producer is not None and producer.op_type == "DequantizeLinear":
        return [tensors[producer.input[1]]]
    return []


def _change_activation_scales(graph: onnx.GraphProto, factor: float, *, every: bool) -> None:
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    scales = list(dict.fromkeys(node.input[1] for node in quantizers))
    for name in scales if every else scales[len(scales) // 2 :][:1]:
        _replace(tensors[name], numpy_helper.to_array(tensors[name]) * np.float32(factor))


def _anchor_constant(graph: onnx.GraphProto) -> onnx.TensorProto:
    for tensor in graph.initializer:
        if len(tensor.dims) == 3 and tuple(tensor.dims[:2]) == (1, 2):
            return tensor
    raise AssertionError("no anchor constant in this graph")
