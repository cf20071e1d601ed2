"""Detectors of a few nodes, for what the parser and the builder do with a file, not with a network.

They carry the metadata every detector needs, so that they pass for one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = {0: "bolt", 1: "nut", 2: "washer"}
SIDE = 64


def write_tiny_detector(
    path: Path, *, batch: int | str = 1, zero_point: int | None = None, operator: str = "Conv"
) -> Path:
    """``images`` (B, 3, 64, 64) → ``output0`` (B, 7, 64), in one convolution.

    Args:
        path: where to write it.
        batch: a number, or a name for a dynamic one.
        zero_point: of a Q/DQ pair ahead of the convolution; None: no such pair.
        operator: "Conv", or one that no runtime knows.
    """
    kernel = np.random.default_rng(0).normal(size=(7, 3, 8, 8)).astype(np.float32)
    constants = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array([0, 7, -1], np.int64), "shape"),
    ]
    nodes, source = [], "images"
    if zero_point is not None:
        constants += [
            numpy_helper.from_array(np.float32(0.01), "scale"),
            numpy_helper.from_array(np.int8(zero_point), "zero"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["q"], name="quantise"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], name="dequantise"),
        ]
        source = "dq"
    if operator == "Conv":
        conv = helper.make_node(
            operator, [source, "kernel"], ["map"], name="conv", kernel_shape=[8, 8], strides=[8, 8]
        )
    else:
        conv = helper.make_node(operator, [source], ["map"], name="conv", domain="no.such")
    nodes += [conv, helper.make_node("Reshape", ["map", "shape"], ["output0"], name="flatten")]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, 7, 64])],
        constants,
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("no.such", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    metadata = {"names": str(NAMES), "stride": "32", "imgsz": str([SIDE, SIDE]), "task": "detect"}
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path
