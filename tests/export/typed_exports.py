"""Honest exports of one checkpoint in every precision, built once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx

from edgekd_bench.manifest import Manifest
from edgekd_bench.ultralytics_checkpoint import load_detector
from edgekd_export.fp16 import to_fp16
from edgekd_export.head_structure import find_head
from edgekd_export.onnx_graph import label, trace_fp32
from edgekd_export.parity import Forward, check_onnx, remembered, torch_forward
from edgekd_export.parity_images import ParityImages
from edgekd_export.parity_report import ParityReport
from edgekd_export.quantization.activation_histogram import ActivationHistogram
from edgekd_export.quantization.int8_graph import Int8Source
from edgekd_export.quantization.ranges import measure
from edgekd_export.settings import ExportSettings
from edgekd_export.thresholds import PARITY_THRESHOLDS, Precision
from edgekd_export.weights import choose_head, read_checkpoint

PERCENTILE = 99.99


@dataclass(frozen=True)
class TypedExports:
    """A checkpoint, the images to judge on, and what becomes of it."""

    weights: Path
    image_size: int
    images: ParityImages
    calibration: ParityImages

    @cached_property
    def end_to_end(self) -> bool:
        return read_checkpoint(self.weights).end_to_end(None)

    @cached_property
    def network(self) -> Forward:
        """PyTorch, asked about each image once."""
        return remembered(torch_forward(self.weights, self.image_size, end_to_end=self.end_to_end))

    @cached_property
    def fp32(self) -> onnx.ModelProto:
        model = choose_head(
            load_detector(self.weights), end_to_end=self.end_to_end, image_size=self.image_size
        )
        return trace_fp32(model, self.image_size, ExportSettings())

    @cached_property
    def fp16(self) -> onnx.ModelProto:
        return to_fp16(self.fp32, keep_fp32=find_head(self.fp32.graph).decoding)

    @cached_property
    def _source(self) -> Int8Source:
        return Int8Source(self.fp32)

    @cached_property
    def _histograms(self) -> dict[str, ActivationHistogram]:
        return measure(self.fp32, self._source.tensors, self.calibration.batches(1))

    def int8(self, method: str = "percentile") -> onnx.ModelProto:
        of = {
            "minmax": lambda histogram: histogram.largest,
            "entropy": lambda histogram: histogram.entropy(),
            "percentile": lambda histogram: histogram.percentile(PERCENTILE),
        }[method]
        ranges = {name: of(histogram) or 1.0 for name, histogram in self._histograms.items()}
        return self._source.int8(ranges, self._source.layers)

    def graph(self, precision: Precision) -> onnx.ModelProto:
        """A copy that may be operated on."""
        made = {"fp32": lambda: self.fp32, "fp16": lambda: self.fp16, "int8": self.int8}
        return onnx.ModelProto.FromString(made[precision]().SerializeToString())

    def save(self, graph: onnx.ModelProto, path: Path) -> Path:
        """Write a graph with what a runner wants to know about it."""
        checkpoint = read_checkpoint(self.weights)
        manifest = Manifest(
            kind="onnx",
            names=checkpoint.names,
            image_size=self.image_size,
            stride=checkpoint.stride,
            end_to_end=self.end_to_end,
        )
        label(graph, manifest, 1)
        onnx.save(graph, path)
        return path

    def judge(self, path: Path, precision: Precision, *, black_box: bool = False) -> ParityReport:
        """The gate's answer; as a black box it may not look into the file."""
        return check_onnx(
            self.network,
            path,
            self.images,
            end_to_end=self.end_to_end,
            batch=1,
            precision=precision,
            thresholds=PARITY_THRESHOLDS[precision],
            ancestor=None if black_box or precision == "fp32" else self.fp32,
        )


Exports = Callable[[str], TypedExports]  # "yolo11n", or "yolo11n-earlier" for stale weights
