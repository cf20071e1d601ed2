"""Tiny ONNX files with the inputs and outputs of a detector, for what only reads their shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from edgekd_bench.manifest import Manifest
from edgekd_export.deployment.served_model import ServedModel, read_served_model

SIDE = 64
NAMES = {0: "bolt", 1: "nut", 2: "washer"}
OUTPUTS = {"raw": [4 + len(NAMES), 84], "end_to_end": [84, 6]}


def served(
    folder: Path, kind: str, batch: int | None = 1, element: int | None = None, **facts: Any
) -> ServedModel:
    """A detector of a kind in ``OUTPUTS``, as the deployment files are told about it."""
    path = folder / f"{kind}.onnx"
    onnx.save(graph(OUTPUTS[kind], batch, element or onnx.TensorProto.FLOAT), path)
    return read_served_model(path, manifest(kind, batch, **facts), "bolts")


def manifest(kind: str, batch: int | None, **facts: Any) -> Manifest:
    """What goes with `graph`."""
    return Manifest(
        kind="onnx",
        names=NAMES,
        image_size=facts.pop("image_size", SIDE),
        stride=32,
        end_to_end=kind == "end_to_end",
        dynamic_batch=batch is None,
        **facts,
    )


def graph(output: list[int], batch: int | None, element: int) -> onnx.ModelProto:
    """An input of images and an output that is constant: it loads, and that is all."""
    first: int | str = "batch" if batch is None else batch
    images = onnx.helper.make_tensor_value_info("images", element, [first, 3, SIDE, SIDE])
    result = onnx.helper.make_tensor_value_info("output0", element, [first, *output])
    node = onnx.helper.make_node("Identity", ["images"], ["output0"])
    return onnx.helper.make_model(onnx.helper.make_graph([node], "g", [images], [result]))
