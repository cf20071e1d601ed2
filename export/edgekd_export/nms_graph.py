"""Non-maximum suppression inside the graph, for devices that should receive boxes and nothing else.

`NonMaxSuppression` of ONNX returns a list whose length depends on the image, which no fixed output
can hold. So the scores it selected are put back into an empty score map, from which the best K are
taken: shapes stay fixed, any batch size works, and what is missing to K is a row of zeros. It is
class-aware and gives a box several classes, as `edgekd_bench.detections.decode_raw` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd_bench.manifest import Nms
from edgekd_export.onnx_graph import OUTPUT_NAME, checked

_PREFIX = "nms/"


def add_nms(graph: onnx.ModelProto, nms: Nms) -> onnx.ModelProto:
    """Append suppression to a raw detector.

    Args:
        graph: output (B, 4 + nc, A) cx, cy, w, h and class probabilities, fp32; not changed.
        nms: thresholds.

    Returns:
        A checked graph with output (B, K, 6): x1, y1, x2, y2, score, class, best first, rows beyond
        the last detection all zero; K is ``nms.max_det``, or all class scores where they are fewer.
    """
    extended = onnx.ModelProto.FromString(graph.SerializeToString())
    output = extended.graph.output[0]
    batch, channels, anchors = output.type.tensor_type.shape.dim
    num_classes, num_anchors = channels.dim_value - 4, anchors.dim_value
    num_rows = min(nms.max_det, num_classes * num_anchors)
    for node in extended.graph.node:
        node.output[:] = [_PREFIX + "raw" if name == OUTPUT_NAME else name for name in node.output]
        node.input[:] = [_PREFIX + "raw" if name == OUTPUT_NAME else name for name in node.input]
    extended.graph.initializer.extend(_constants(nms, num_classes, num_anchors, num_rows))
    extended.graph.node.extend(_nodes())
    shape = [batch.dim_param or batch.dim_value, num_rows, 6]
    output.CopyFrom(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, shape))
    return checked(extended)


def _constants(
    nms: Nms, num_classes: int, num_anchors: int, num_rows: int
) -> list[onnx.TensorProto]:
    values: dict[str, npt.NDArray[np.generic]] = {
        "split": np.array([4, num_classes], np.int64),
        "max_per_class": np.array([nms.max_det], np.int64),
        "iou": np.array([nms.iou], np.float32),
        "conf": np.array([nms.conf], np.float32),
        "zero": np.array(0, np.float32),
        "half": np.array(0.5, np.float32),
        "all_scores": np.array([0, num_classes * num_anchors], np.int64),  # 0: the batch as it is
        "num_rows": np.array([num_rows], np.int64),
        "num_anchors": np.array(num_anchors, np.int64),
        "four": np.array([1, 1, 4], np.int64),
        "last_axis": np.array([2], np.int64),
    }
    return [numpy_helper.from_array(value, _PREFIX + name) for name, value in values.items()]


def _nodes() -> list[onnx.NodeProto]:
    return [*_selection(), *_best_rows(), *_assembly()]


def _selection() -> list[onnx.NodeProto]:
    """Raw output (B, 4 + nc, A) → scores that survive (B, nc, A), all others zero."""
    return [
        _node("Split", ["raw", "split"], ["boxes_by_side", "scores"], axis=1),
        _node("Transpose", ["boxes_by_side"], ["boxes"], perm=[0, 2, 1]),  # (B, A, 4)
        _node(
            "NonMaxSuppression",
            ["boxes", "scores", "max_per_class", "iou", "conf"],
            ["selected"],  # (N, 3): image, class, anchor
            center_point_box=1,
        ),
        _node("GatherND", ["scores", "selected"], ["selected_scores"]),  # (N,)
        _node("Mul", ["scores", "zero"], ["no_scores"]),
        _node("ScatterND", ["no_scores", "selected", "selected_scores"], ["kept"]),  # (B, nc, A)
    ]


def _best_rows() -> list[onnx.NodeProto]:
    """Surviving scores (B, nc, A) → the best K with their class and anchor, (B, K) each."""
    return [
        _node("Reshape", ["kept", "all_scores"], ["flat"]),  # (B, nc * A)
        _node("TopK", ["flat", "num_rows"], ["best", "place"], axis=1),
        _node("Div", ["place", "num_anchors"], ["class_index"]),
        _node("Mul", ["class_index", "num_anchors"], ["class_start"]),
        _node("Sub", ["place", "class_start"], ["anchor"]),
        _node("Greater", ["best", "zero"], ["is_found"]),
        _node("Cast", ["is_found"], ["found"], to=TensorProto.FLOAT),
    ]


def _assembly() -> list[onnx.NodeProto]:
    """Scores, classes and anchors (B, K) → rows (B, K, 6)."""
    return [
        _node("Unsqueeze", ["anchor", "last_axis"], ["anchor_column"]),
        _node("Expand", ["anchor_column", "four"], ["anchor_by_side"]),  # (B, K, 4)
        _node("GatherElements", ["boxes", "anchor_by_side"], ["chosen"], axis=1),
        _node("Split", ["chosen"], ["centre", "sides"], axis=2),  # (B, K, 2) each
        _node("Mul", ["sides", "half"], ["reach"]),
        _node("Sub", ["centre", "reach"], ["low"]),
        _node("Add", ["centre", "reach"], ["high"]),
        _node("Cast", ["class_index"], ["class"], to=TensorProto.FLOAT),
        _node("Unsqueeze", ["best", "last_axis"], ["score_column"]),
        _node("Unsqueeze", ["class", "last_axis"], ["class_column"]),
        _node("Unsqueeze", ["found", "last_axis"], ["found_column"]),
        _node("Concat", ["low", "high", "score_column", "class_column"], ["rows"], axis=2),
        helper.make_node(
            "Mul", [_PREFIX + "rows", _PREFIX + "found_column"], [OUTPUT_NAME], _PREFIX + "output"
        ),
    ]


def _node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object
) -> onnx.NodeProto:
    return helper.make_node(
        operator,
        [_PREFIX + name for name in inputs],
        [_PREFIX + name for name in outputs],
        _PREFIX + outputs[0],
        **attributes,
    )
