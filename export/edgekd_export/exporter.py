"""``edgekd export``: a checkpoint in, an ONNX file with a manifest out, or nothing.

Everything is written under a temporary name and takes its place only after the parity gate has
seen it. An artefact that fails the gate is kept for inspection under another name, so that a good
one from before is never replaced by a bad one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.errors import GateError
from edgekd_bench.manifest import (
    Manifest,
    Nms,
    Parent,
    TeacherIdentity,
    library_versions,
    manifest_path,
    write_text_atomically,
)
from edgekd_bench.ultralytics_checkpoint import load_detector
from edgekd_export.nms_graph import add_nms
from edgekd_export.onnx_graph import label, trace_fp32
from edgekd_export.parity import check_onnx
from edgekd_export.parity_images import ParityImages, load_parity_images
from edgekd_export.parity_report import ParityReport
from edgekd_export.precision import BUILDERS, PrecisionJob, TypedGraph
from edgekd_export.quantization.calibration_cache import cache_path
from edgekd_export.settings import ExportSettings, Int8Backend
from edgekd_export.staging import publish, staging_folder
from edgekd_export.thresholds import PARITY_THRESHOLDS, Precision
from edgekd_export.weights import (
    Checkpoint,
    choose_head,
    count_parameters,
    read_checkpoint,
)

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class ExportResult:
    """What was written, and what the parity gate found."""

    onnx: Path
    manifest_path: Path
    manifest: Manifest
    parity: ParityReport
    calibration_cache: Path | None = None  # int8 only


def run(
    weights: Path,
    *,
    out: Path,
    data: Path | None = None,
    settings: ExportSettings = ExportSettings(),  # noqa: B008 (frozen)
    console: Console | None = None,
) -> ExportResult:
    """Export a detector to ONNX and hold it against PyTorch.

    Args:
        weights: an Ultralytics detector checkpoint; a manifest beside it is carried over.
        out: the ``.onnx`` to write, or the folder for `artefact_name`.
        data: images for the parity gate, and for int8 those to calibrate on: data.yaml, coco.yaml
            (val split, train split) or a folder; None: pictures drawn in code for the gate.
        settings: precision, image size, opset, limits and so on.
        console: where progress is shown; None: nowhere.

    Raises:
        InputError: unusable weights, data or settings, or nowhere to write; nothing is left behind.
        GateError: the artefact differs too much, or int8 loses more mAP than was allowed; it is
            kept as ``<name>.parity-failed.onnx`` or ``<name>.map-drop-failed.onnx``.
    """
    checkpoint = read_checkpoint(weights)
    image_size = checkpoint.image_size(settings.image_size)
    native = checkpoint.end_to_end(settings.end_to_end)
    images = load_parity_images(data, count=settings.num_parity_images, image_size=image_size)
    target = out
    if out.suffix != ".onnx":
        target = out / artefact_name(weights, settings.precision, settings.int8_for)
    with staging_folder(target) as folder, BenchProgress(console) as progress:
        model = choose_head(load_detector(weights), end_to_end=native, image_size=image_size)
        fp32 = trace_fp32(model, image_size, settings)
        job = PrecisionJob(
            fp32=fp32,
            manifest=_describe(checkpoint, settings, image_size, native, count_parameters(model)),
            settings=settings,
            data=data,
            images=images,
            target=target,
            folder=folder,
            progress=progress,
            say=partial(console.print, markup=False) if console else _say_nothing,
        )
        typed = BUILDERS[settings.precision](job)
        graph, manifest = _finish(job, typed, settings.suppression(native=native))
        staged = folder / target.name
        manifest, report = _judge(checkpoint, graph, manifest, images, settings, staged)
        final = _final_name(target, report, typed)
        manifest = publish(staged, final, manifest)
        calibration = typed.calibration_cache
        cache = _publish_calibration(calibration, staged, final) if calibration else None
    if report.verdict == "fail":
        raise GateError(f"{report.summary()}; kept as {final}, do not deploy it")
    if typed.failure is not None:
        raise GateError(f"{typed.failure}; kept as {final}")
    return ExportResult(final, manifest_path(final), manifest, report, cache)


def artefact_name(weights: Path, precision: Precision, int8_for: Int8Backend = "tensorrt") -> str:
    """``detector.onnx``, ``detector.fp16.onnx``, ``detector.int8.onnx``; for other runtimes than
    TensorRT ``detector.int8-openvino.onnx``, so that one does not replace the other.
    """
    if precision == "fp32":
        return f"{weights.stem}.onnx"
    is_special = precision == "int8" and int8_for != "tensorrt"
    return f"{weights.stem}.{precision}{f'-{int8_for}' if is_special else ''}.onnx"


def _judge(
    checkpoint: Checkpoint,
    graph: onnx.ModelProto,
    manifest: Manifest,
    images: ParityImages,
    settings: ExportSettings,
    staged: Path,
) -> tuple[Manifest, ParityReport]:
    """Write a graph, hold it against PyTorch, and write it again with its verdict."""
    _save(graph, manifest, settings.batch, staged)
    report = check_onnx(
        checkpoint.path,
        staged,
        images,
        end_to_end=manifest.end_to_end,
        batch=settings.batch,
        precision=settings.precision,
        thresholds=settings.parity or PARITY_THRESHOLDS[settings.precision],
        nms=manifest.nms,
        backend=settings.judged_on,
    )
    judged = manifest.model_copy(
        update={"parity": report.verdict, "parity_figures": report.figures}
    )
    _save(graph, judged, settings.batch, staged)
    return judged, report


def _describe(
    checkpoint: Checkpoint,
    settings: ExportSettings,
    image_size: int,
    native: bool,
    num_params: int,
) -> Manifest:
    """What the graph is and where it comes from; the gate has not seen it yet."""
    inherited = checkpoint.manifest
    source = Parent(role="weights", name=checkpoint.path.name, sha256=checkpoint.sha256)
    teacher = inherited.teacher if inherited else None
    return Manifest(
        kind="onnx",
        init=inherited.init if inherited else "other",
        seed=inherited.seed if inherited else None,
        names=checkpoint.names,
        image_size=image_size,
        stride=checkpoint.stride,
        end_to_end=native,
        dynamic_batch=settings.dynamic_batch,
        precision=settings.precision,
        num_params=num_params,  # of the fused network, which is what runs
        parents=[*(inherited.parents if inherited else []), source],
        teacher=teacher,
        licence=_licence(teacher),
        versions=library_versions("torch", "ultralytics", "onnx", "onnxslim", "onnxruntime"),
        config_hash=inherited.config_hash if inherited else None,
    )


def _licence(teacher: TeacherIdentity | None) -> str:
    """Weights trained in Ultralytics are under its licence, and the teacher's follows them."""
    own = "AGPL-3.0"
    return own if teacher is None else f"{own}; teacher {teacher.name}: {teacher.licence}"


def _finish(
    job: PrecisionJob, typed: TypedGraph, nms: Nms | None
) -> tuple[onnx.ModelProto, Manifest]:
    """The whole graph, with suppression where it is wanted, and what it is."""
    manifest = job.manifest.model_copy(update=typed.manifest_updates)
    if nms is None:
        return typed.graph, manifest
    with_nms = manifest.model_copy(update={"nms": nms, "end_to_end": True})
    return add_nms(typed.graph, nms), with_nms


def _say_nothing(_: str) -> None:
    """Where there is no console."""


def _save(graph: onnx.ModelProto, manifest: Manifest, batch: int, path: Path) -> None:
    label(graph, manifest, batch)
    path.write_bytes(graph.SerializeToString())


def _final_name(target: Path, report: ParityReport, typed: TypedGraph) -> Path:
    if report.verdict == "fail":
        return target.with_name(f"{target.stem}.parity-failed.onnx")
    if typed.failure is not None:
        return target.with_name(f"{target.stem}.map-drop-failed.onnx")
    return target


def _publish_calibration(text: str, staged: Path, final: Path) -> Path:
    """Put measured ranges beside their artefact; killed before, the next export measures again."""
    staged_cache, final_cache = cache_path(staged), cache_path(final)
    write_text_atomically(staged_cache, text)
    staged_cache.replace(final_cache)
    return final_cache
