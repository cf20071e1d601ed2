"""``edgekd export --trt``: weights or a typed ONNX file in, an engine that has proven itself out.

The order matters: whether an engine can be built at all is settled first, then the ONNX file is
exported and judged, then the engine is built from it and judged in turn. An ONNX file as source
needs neither torch nor onnx, so a device can do the last part alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest
from edgekd_export.engine_parity import engine_verifier
from edgekd_export.settings import ExportSettings
from edgekd_export.targets import Target
from edgekd_export.tensorrt.builder import EngineResult, build_engine
from edgekd_export.tensorrt.engine_manifest import ENGINE_SUFFIX, engine_name, read_onnx_source
from edgekd_export.tensorrt.plan import BuildPlan, NoGpuError, plan_build, workspace_limit
from edgekd_export.tensorrt.profiles import open_batch
from edgekd_export.tensorrt.trtexec import trtexec_command

if TYPE_CHECKING:
    from rich.console import Console


def run(
    source: Path,
    *,
    out: Path,
    data: Path | None = None,
    settings: ExportSettings = ExportSettings(),  # noqa: B008 (frozen)
    console: Console | None = None,
) -> EngineResult:
    """Export a detector to a TensorRT engine, or build one from an ONNX file.

    Args:
        source: an Ultralytics detector checkpoint, or the ``.onnx`` exported from one.
        out: the ``.engine`` to write, or a folder; a new ONNX file goes into the same folder.
        data: images for the parity gate, see `edgekd_export.exporter.run`.
        settings: of the ONNX file and, in their section ``tensorrt``, of the engine.
        console: where progress is shown; None: nowhere.

    Raises:
        InputError: see `edgekd_export.exporter.run` and `build_engine`. Where it is for want of a
            GPU, the command to type on the device is printed first.
        GateError: the ONNX file or the engine differs too much.
    """
    is_onnx = source.suffix.lower() == ".onnx"
    manifest = read_onnx_source(source) if is_onnx else None
    folder = out.parent if out.suffix == ENGINE_SUFFIX else out
    plan = _plan(source, manifest, folder, settings, console)
    onnx = source
    if manifest is None:
        from edgekd_export.exporter import run as export_onnx

        exported = export_onnx(source, out=folder, data=data, settings=settings, console=console)
        if console:
            console.print(exported.parity.summary())
        onnx, manifest = exported.onnx, exported.manifest
    verify = engine_verifier(source, manifest, plan, data=data, settings=settings)
    return build_engine(onnx, manifest, settings.tensorrt, out, console, verify=verify, plan=plan)


def _plan(
    source: Path,
    manifest: Manifest | None,
    folder: Path,
    settings: ExportSettings,
    console: Console | None,
) -> BuildPlan:
    precision = manifest.precision if manifest else settings.precision
    int8_for = (manifest.int8_for if manifest else settings.int8_for) or "tensorrt"
    if precision == "int8" and int8_for != "tensorrt":
        raise InputError(
            f"{source}: int8 for {int8_for} is laid out in a way that TensorRT refuses; "
            "export with --int8-for tensorrt to build an engine"
        )
    try:
        return plan_build(settings.tensorrt, precision)
    except NoGpuError as error:
        if console:
            command = _device_command(source, manifest, folder, settings, error.target)
            console.print(f"on the device: {command}", soft_wrap=True, markup=False)
        raise


def _device_command(
    source: Path,
    manifest: Manifest | None,
    folder: Path,
    settings: ExportSettings,
    target: Target | None,
) -> str:
    """What builds on the device the engine that cannot be built here."""
    precision = manifest.precision if manifest else settings.precision
    dynamic = manifest.dynamic_batch if manifest else settings.dynamic_batch
    onnx, side = source, manifest.image_size if manifest else 0
    if manifest is None:
        from edgekd_export.exporter import artefact_name
        from edgekd_export.weights import read_checkpoint

        onnx = folder / artefact_name(source, precision)
        side = read_checkpoint(source).image_size(settings.image_size)
    return trtexec_command(
        onnx,
        folder / engine_name(onnx, precision, "tensorrt"),
        settings.tensorrt,
        builder="tensorrt",
        input_shape=(-1 if dynamic else settings.batch, 3, side, side),
        batch=open_batch(settings.tensorrt, target),
        workspace_gb=workspace_limit(settings.tensorrt, target),
        exact_fp32=precision == "fp32",
    )
