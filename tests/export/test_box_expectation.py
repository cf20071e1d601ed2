"""The mean box side without a softmax: the same numbers, for every head that has DFL."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export.slim_families import SIDE, slim_detector, traced
from onnx import TensorProto, helper, numpy_helper

from edgekd_export.box_expectation import take_expectations_by_product
from edgekd_export.onnx_graph import checked
from edgekd_export.settings import ExportSettings

R, ANCHORS = 16, 21


def dfl(opset: int = 17) -> onnx.ModelProto:
    """The decoding of box sides as it is traced: (2, 64, A) → (2, 4, A)."""
    shapes = {"apart": [2, 4, R, ANCHORS], "sides": [2, 4, ANCHORS]}
    distances = np.arange(R, dtype=np.float32).reshape(1, R, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["logits", "apart"], ["a"], "reshape"),
            helper.make_node("Transpose", ["a"], ["b"], "transpose", perm=[0, 2, 1, 3]),
            helper.make_node("Softmax", ["b"], ["c"], "softmax", axis=1),
            helper.make_node("Conv", ["c", "distances"], ["d"], "conv"),
            helper.make_node("Reshape", ["d", "sides"], ["output0"], "flatten"),
        ],
        "dfl",
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [2, 4 * R, ANCHORS])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [2, 4, ANCHORS])],
        [
            numpy_helper.from_array(distances, "distances"),
            *(numpy_helper.from_array(np.array(s, np.int64), n) for n, s in shapes.items()),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def answer(graph: onnx.ModelProto, logits: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: logits})[0]


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("scale", [0.1, 5.0, 500.0])
def test_the_mean_is_that_of_the_softmax(opset: int, scale: float) -> None:
    logits = np.random.default_rng(0).normal(0, scale, (2, 4 * R, ANCHORS)).astype(np.float32)
    expected = answer(dfl(opset), logits)
    graph = dfl(opset)
    assert take_expectations_by_product(graph) == 1
    graph = checked(graph)
    assert not {"Softmax", "Transpose", "Conv"} & {node.op_type for node in graph.graph.node}
    np.testing.assert_allclose(answer(graph, logits), expected, rtol=1e-5, atol=1e-5)


def test_another_softmax_is_left_alone() -> None:
    for axis, perm in ((2, [0, 2, 1, 3]), (1, [0, 1, 2, 3])):
        graph = dfl()
        graph.graph.node[2].attribute[0].i = axis
        graph.graph.node[1].attribute[0].ints[:] = perm
        before = graph.SerializeToString()
        assert take_expectations_by_product(graph) == 0
        assert graph.SerializeToString() == before


@pytest.mark.parametrize(("family", "num_left"), [("yolov8n", 0), ("yolov10n", 1), ("yolo26n", 2)])
def test_a_detector_answers_the_same(family: str, num_left: int) -> None:
    pictures = np.random.default_rng(0).random((2, 3, SIDE, SIDE), np.float32)
    graphs = [
        traced(slim_detector(family), precision=precision, dynamic_batch=True)
        for precision in ("fp16", "fp32")  # the fp32 graph that each of them starts from
    ]
    as_traced, by_product = (answer(graph, pictures) for graph in graphs)
    np.testing.assert_allclose(by_product, as_traced, rtol=1e-4, atol=1e-3)
    left = [node for node in graphs[1].graph.node if node.op_type == "Softmax"]
    assert len(left) == num_left, "those of attention"


def test_files_for_tensorrt_keep_the_form_its_parser_knows() -> None:
    assert ExportSettings().is_for_cpu
    assert ExportSettings(precision="int8", int8_for="openvino").is_for_cpu
    assert not ExportSettings(precision="int8").is_for_cpu
    assert not ExportSettings(precision="fp16", int8_for="openvino").is_for_cpu
