"""An inspection for people: what it is, then its parts; made for 100 columns and for pipes."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from edgekd_bench.inspection.findings import EngineFit, Inspection
from edgekd_bench.inspection.layout import bytes_text, facts
from edgekd_bench.inspection.manifest_text import describe_manifest
from edgekd_bench.inspection.part_text import (
    describe_bundle,
    describe_calibration,
    describe_distillation,
    describe_feature_cache,
    describe_graph,
    describe_record,
)

_TITLES = {
    "detector": "Detector, PyTorch",
    "onnx": "ONNX",
    "engine": "TensorRT engine",
    "manifest": "Manifest",
    "backbone": "Distilled backbone",
    "distillation checkpoint": "Distillation checkpoint",
    "benchmark": "Benchmark",
    "bundle": "Device bundle",
    "calibration cache": "Calibration cache",
    "feature cache": "Feature cache",
}


def describe(found: Inspection) -> RenderableType:
    """What to print; readable without colour."""
    parts: list[RenderableType] = [
        Text.assemble((_TITLES[found.kind], "bold"), "  ", found.path),
        facts(
            sha256=found.sha256,
            checked=found.hash_check,
            size=bytes_text(found.size_bytes),
        ),
        *(Text(f"! {note}", style="yellow") for note in found.notes),
    ]
    if found.engine_fit:
        parts.append(_fit(found.engine_fit))
    if found.manifest:
        parts += describe_manifest(found.manifest, found.manifest_source, found.graph)
    if found.graph:
        parts += describe_graph(found.graph)
    if found.distillation:
        parts += describe_distillation(found.distillation)
    if found.benchmark:
        parts += describe_record(found.benchmark)
    if found.bundle:
        parts += describe_bundle(found.bundle)
    if found.calibration:
        parts += describe_calibration(found.calibration)
    if found.feature_cache:
        parts += describe_feature_cache(found.feature_cache)
    return Group(*parts)


def _fit(fit: EngineFit) -> Text:
    if fit.fits:
        return Text(f"fits this machine: {fit.machine}", style="green")
    if fit.fits is None:
        return Text(f"! fits this machine: unknown, {fit.reason}", style="yellow")
    return Text(f"! does not fit this machine: {fit.reason}", style="bold red")
