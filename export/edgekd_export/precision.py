"""What each precision makes of a detector's fp32 graph.

A builder gets the checked fp32 graph and returns a typed graph with what the manifest must say
about it. The exporter labels, judges and publishes; it does not know how a precision comes about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import onnx

from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.manifest import Manifest
from edgekd_export.fp16 import to_fp16
from edgekd_export.fp16_overflow import overflowing_nodes
from edgekd_export.head_structure import find_head
from edgekd_export.parity_images import ParityImages
from edgekd_export.settings import ExportSettings
from edgekd_export.thresholds import Precision

_OVERFLOW_BATCHES = 8


@dataclass(frozen=True)
class PrecisionJob:
    """What a builder works with."""

    fp32: onnx.ModelProto  # raw or NMS-free output; suppression is appended later
    manifest: Manifest  # so far
    settings: ExportSettings
    data: Path | None
    images: ParityImages  # those of the parity gate
    target: Path  # where the artefact will be
    folder: Path  # for temporary files, on the same disk
    progress: BenchProgress
    say: Callable[[str], None]  # what the user should know, a line each


@dataclass(frozen=True)
class TypedGraph:
    """A graph of the wanted precision, not yet judged."""

    graph: onnx.ModelProto
    manifest_updates: dict[str, Any] = field(default_factory=dict)
    calibration_cache: str | None = None  # to be written beside the artefact
    failure: str | None = None  # a budget that was not met, one line


def build_fp32(job: PrecisionJob) -> TypedGraph:
    """The graph as it was traced."""
    return TypedGraph(job.fp32)


def build_fp16(job: PrecisionJob) -> TypedGraph:
    """fp16, but for the decoding of boxes and what would overflow."""
    head = find_head(job.fp32.graph)
    batches = islice(job.images.batches(job.settings.batch), _OVERFLOW_BATCHES)
    overflowing = overflowing_nodes(job.fp32, batches)
    if overflowing - head.decoding:
        job.say(f"fp16: {len(overflowing - head.decoding)} nodes kept in fp32, they would overflow")
    return TypedGraph(to_fp16(job.fp32, keep_fp32=head.decoding | overflowing))


def build_int8(job: PrecisionJob) -> TypedGraph:
    """Explicit Q/DQ on calibrated ranges, within a budget of mAP where one is set."""
    from edgekd_export.quantization.int8_builder import build

    return build(job)


BUILDERS: dict[Precision, Callable[[PrecisionJob], TypedGraph]] = {
    "fp32": build_fp32,
    "fp16": build_fp16,
    "int8": build_int8,
}
