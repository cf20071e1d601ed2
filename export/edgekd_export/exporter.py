"""``edgekd export``: a checkpoint in, an ONNX file with a manifest out, or nothing.

Everything is written under a temporary name and takes its place only after the parity gate has
seen it. An artefact that fails the gate is kept for inspection under another name, so that a good
one from before is never replaced by a bad one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import (
    Manifest,
    Parent,
    library_versions,
    manifest_path,
    write_manifest,
)
from edgekd_bench.ultralytics_checkpoint import load_detector
from edgekd_export.onnx_graph import build_fp32, label
from edgekd_export.parity import check_onnx
from edgekd_export.parity_images import ParityImages, load_parity_images
from edgekd_export.parity_report import ParityReport
from edgekd_export.settings import ExportSettings
from edgekd_export.thresholds import PARITY_THRESHOLDS, Precision
from edgekd_export.weights import (
    Checkpoint,
    choose_head,
    count_parameters,
    read_checkpoint,
)

# One function a precision; each takes the network with its head chosen.
_BUILDERS: dict[Precision, Callable[[Any, int, ExportSettings], onnx.ModelProto]] = {
    "fp32": build_fp32
}


@dataclass(frozen=True)
class ExportResult:
    """What was written, and what the parity gate found."""

    onnx: Path
    manifest_path: Path
    manifest: Manifest
    parity: ParityReport


def run(
    weights: Path,
    *,
    out: Path,
    data: Path | None = None,
    settings: ExportSettings = ExportSettings(),  # noqa: B008 (frozen)
) -> ExportResult:
    """Export a detector to ONNX and hold it against PyTorch.

    Args:
        weights: an Ultralytics detector checkpoint; a manifest beside it is carried over.
        out: the ``.onnx`` to write, or the folder for ``<weights' stem>.onnx``.
        data: images for the parity gate: data.yaml, coco.yaml (val split) or a folder; None:
            pictures drawn in code.
        settings: image size, opset, limits and so on.

    Raises:
        InputError: unusable weights, data or settings, or nowhere to write; nothing is left behind.
        GateError: the artefact differs too much; it is kept as ``<name>.parity-failed.onnx``.
    """
    checkpoint = read_checkpoint(weights)
    image_size = checkpoint.image_size(settings.image_size)
    end_to_end = checkpoint.end_to_end(settings.end_to_end)
    images = load_parity_images(data, count=settings.num_parity_images, image_size=image_size)
    target = out if out.suffix == ".onnx" else out / f"{weights.stem}.onnx"
    with _staging(target) as folder:
        staged = folder / target.name
        graph, manifest = _build(checkpoint, settings, image_size, end_to_end)
        _save(graph, manifest, settings.batch, staged)
        report = _check(checkpoint, staged, images, settings, end_to_end)
        judged = {"parity": report.verdict, "parity_figures": report.figures}
        manifest = manifest.model_copy(update=judged)
        _save(graph, manifest, settings.batch, staged)  # the same graph, now with its verdict
        final = _final_name(target, report)
        manifest = _publish(staged, final, manifest)
    if report.verdict == "fail":
        raise GateError(f"{report.summary()}; kept as {final}, do not deploy it")
    return ExportResult(final, manifest_path(final), manifest, report)


def _check(
    checkpoint: Checkpoint,
    staged: Path,
    images: ParityImages,
    settings: ExportSettings,
    end_to_end: bool,
) -> ParityReport:
    return check_onnx(
        checkpoint.path,
        staged,
        images,
        end_to_end=end_to_end,
        batch=settings.batch,
        precision=settings.precision,
        thresholds=settings.parity or PARITY_THRESHOLDS[settings.precision],
    )


def _build(
    checkpoint: Checkpoint, settings: ExportSettings, image_size: int, end_to_end: bool
) -> tuple[onnx.ModelProto, Manifest]:
    """The graph, and what it is and where it comes from; the gate has not seen it yet."""
    model = choose_head(
        load_detector(checkpoint.path), end_to_end=end_to_end, image_size=image_size
    )
    graph = _BUILDERS[settings.precision](model, image_size, settings)
    inherited = checkpoint.manifest
    source = Parent(role="weights", name=checkpoint.path.name, sha256=checkpoint.sha256)
    manifest = Manifest(
        kind="onnx",
        init=inherited.init if inherited else "other",
        seed=inherited.seed if inherited else None,
        names=checkpoint.names,
        image_size=image_size,
        stride=checkpoint.stride,
        end_to_end=end_to_end,
        precision=settings.precision,
        num_params=count_parameters(model),  # of the fused network, which is what runs
        parents=[*(inherited.parents if inherited else []), source],
        teacher=inherited.teacher if inherited else None,
        versions=library_versions("torch", "ultralytics", "onnx", "onnxslim", "onnxruntime"),
        config_hash=inherited.config_hash if inherited else None,
    )
    return graph, manifest


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A hidden folder next to ``target``, on the same disk, that is gone afterwards.

    Raises:
        InputError: the folder cannot be made, or the disk is full.
    """
    if target.is_dir():
        raise InputError(f"{target}: cannot be written, it is a folder; give another --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            yield Path(name)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); "
            "give another --out, or free some space"
        ) from error


def _save(graph: onnx.ModelProto, manifest: Manifest, batch: int, path: Path) -> None:
    label(graph, manifest, batch)
    path.write_bytes(graph.SerializeToString())


def _final_name(target: Path, report: ParityReport) -> Path:
    if report.verdict == "pass":
        return target
    return target.with_name(f"{target.stem}.parity-failed.onnx")


def _publish(staged: Path, final: Path, manifest: Manifest) -> Manifest:
    """Move an artefact and its manifest into place, in this order.

    Killed in between, the old manifest names another hash than the new bytes have, and every
    reader refuses the pair.
    """
    staged_manifest = write_manifest(staged, manifest)
    complete = Manifest.model_validate_json(staged_manifest.read_text(encoding="utf-8"))
    with staged.open("rb") as stream:
        os.fsync(stream.fileno())
    staged.replace(final)
    staged_manifest.replace(manifest_path(final))
    return complete
