"""A detector as an ONNX graph: fused, fp32, checked, and labelled with its history.

The legacy tracer is used on purpose: the graph it writes for these networks at opset 17 is the one
that ONNX Runtime, TensorRT's parser and quantisers have been tried on.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import Any

import onnx

from edgekd_bench.manifest import MANIFEST_KEY, Manifest
from edgekd_export.box_expectation import take_expectations_by_product
from edgekd_export.graph_wiring import name_all_nodes, tidy
from edgekd_export.settings import ExportSettings

INPUT_NAME = "images"
OUTPUT_NAME = "output0"
BATCH_SYMBOL = "batch"
_MAX_IR_VERSION = 10  # ONNX Runtime 1.18 (JetPack 6) reads no newer


def trace_fp32(model: Any, image_size: int, settings: ExportSettings) -> onnx.ModelProto:
    """Trace a detector.

    Args:
        model: an Ultralytics detector with its head chosen; it is fused in place.
        image_size: side of the square input.
        settings: batch and whether it is fixed, opset, simplify.

    Returns:
        A checked graph, ``images`` (B, 3, S, S) float32 RGB in [0, 1] → ``output0``:
        (B, 4 + nc, A) cx, cy, w, h in pixels and class probabilities, or with the NMS-free head
        (B, K, 6) x1, y1, x2, y2, score, class, best first. B is a number or, where the batch is
        dynamic, the symbol ``batch``; every node has a name of its own.
    """
    graph = onnx.load_from_string(_trace(model, image_size, settings))
    if settings.simplify:
        import onnxslim

        graph = onnxslim.slim(graph)
    graph.ir_version = min(graph.ir_version, _MAX_IR_VERSION)
    name_all_nodes(graph.graph)
    if settings.is_for_cpu:
        take_expectations_by_product(graph)
    return checked(graph)


def checked(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in order, with the types of all tensors inferred anew, past ONNX' own checker."""
    tidy(graph.graph)
    del graph.graph.value_info[:]  # it may describe tensors as they were before a conversion
    graph = onnx.shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def content_hash(graph: onnx.ModelProto) -> str:
    """SHA-256 of what a graph computes: its nodes, constants and shapes, not its metadata."""
    return hashlib.sha256(graph.graph.SerializeToString(deterministic=True)).hexdigest()


def label(graph: onnx.ModelProto, manifest: Manifest, batch: int) -> None:
    """Replace the metadata: the manifest, and the keys Ultralytics and others look for.

    Args:
        graph: changed in place; nothing but its metadata is touched.
        manifest: embedded without the artefact's hash, which cannot contain itself.
        batch: the fixed batch size, or the one it was tried with where any will do.
    """
    onnx.helper.set_model_props(
        graph,
        {
            MANIFEST_KEY: manifest.model_copy(update={"sha256": ""}).model_dump_json(),
            "task": "detect",
            "names": str(manifest.names),
            "stride": str(manifest.stride),
            "imgsz": str([manifest.image_size, manifest.image_size]),
            "batch": str(batch),
            "channels": "3",
            "end2end": str(manifest.end_to_end),
            "license": manifest.licence or "",
        },
    )


def _trace(model: Any, image_size: int, settings: ExportSettings) -> bytes:
    import torch

    fused = model.fuse(verbose=False)
    head = fused.model[-1]
    head.export, head.format = True, "onnx"
    # A batch of one would let the tracer take it for a constant where it may become any.
    batch = max(settings.batch, 2) if settings.dynamic_batch else settings.batch
    symbols = {name: {0: BATCH_SYMBOL} for name in (INPUT_NAME, OUTPUT_NAME)}
    example = torch.zeros(batch, 3, image_size, image_size)
    buffer: Any = io.BytesIO()  # the legacy tracer takes it, though its annotation names paths only
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shape checks become constants: the shape is fixed
        fused(example)  # computes the anchor grid outside the trace, so it becomes a constant
        torch.onnx.export(
            fused,
            (example,),
            buffer,
            opset_version=settings.opset,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes=symbols if settings.dynamic_batch else None,
            dynamo=False,
        )
    traced: bytes = buffer.getvalue()
    return traced
