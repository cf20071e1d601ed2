"""``edgekd export --trt BUNDLE``: build engines on the device and hold them against PyTorch there.

The device has no torch, so the answers of PyTorch come from the bundle. Base install and JetPack's
TensorRT are enough; pycuda is needed to run what was built. An engine that cannot be run where it
was built (TensorRT-RTX builds for GPUs that are elsewhere) is not called verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgekd_bench.backends import is_installed
from edgekd_bench.bundle import ENGINE_FOLDER, Bundle, BundledModel, open_bundle
from edgekd_bench.errors import InputError
from edgekd_export.engine_parity import engine_verifier
from edgekd_export.settings import ExportSettings
from edgekd_export.tensorrt import (
    EngineResult,
    TensorRTSettings,
    build_engine,
    plan_build,
    read_onnx_source,
)
from edgekd_export.tensorrt.plan import BuildPlan, NoGpuError
from edgekd_export.thresholds import Precision


@dataclass(frozen=True)
class BundleEngines:
    """The engines built from a bundle."""

    bundle: Path
    folder: Path
    engines: tuple[EngineResult, ...]


def run(
    path: Path,
    *,
    out: Path | None = None,
    settings: TensorRTSettings = TensorRTSettings(),  # noqa: B008 (frozen)
    precision: str | None = None,
    console: Console | None = None,
) -> BundleEngines:
    """Build an engine from every checkpoint's ONNX file in a bundle.

    Args:
        path: the bundle, a folder or a tar.
        out: folder for the engines; None: the bundle's own ``engines/``, where `edgekd bench`
            finds them.
        settings: builder, limits, flags; without a target the bundle's own is taken.
        precision: which of the packed ones; None: the one the bundle was packed for.
        console: where to say what is being done.

    Raises:
        InputError: a bundle that is not whole, no GPU or TensorRT, nothing to verify with.
        GateError: an engine differs too much; it is kept as ``<name>.parity-failed.engine``.
    """
    bundle = open_bundle(path)
    models = _choose(bundle, precision)
    if settings.target is None:
        settings = settings.model_copy(update={"target": bundle.description.target})
    plans = {p: _plan(path, settings, p) for p in {model.precision for model in models}}
    _require_runner(plans[models[0].precision])
    folder = out or bundle.folder / ENGINE_FOLDER
    built = tuple(
        _build(bundle, model, plans[model.precision], folder, console) for model in models
    )
    return BundleEngines(bundle.folder, folder, built)


def _choose(bundle: Bundle, precision: str | None) -> list[BundledModel]:
    models = bundle.description.models
    if precision is None:
        return [model for model in models if not model.fallback]
    chosen = [model for model in models if model.precision == precision]
    if not chosen:
        packed = ", ".join(sorted({model.precision for model in models}))
        raise InputError(
            f"--precision {precision}: {bundle.folder} holds {packed}; leave it out, or pack the "
            "bundle again with that precision"
        )
    return chosen


def _plan(path: Path, settings: TensorRTSettings, precision: Precision) -> BuildPlan:
    try:
        return plan_build(settings, precision)
    except NoGpuError as error:
        raise InputError(
            f"{path}: there is no NVIDIA GPU here to build on; copy the bundle to the device and "
            "run this there, or build ahead of time with --builder rtx"
        ) from error


def _require_runner(plan: BuildPlan) -> None:
    """Refuse at once what would only fail after minutes of building."""
    if plan.runs_here and not is_installed("tensorrt"):
        raise InputError(
            "pycuda is not installed, so the engines could be built but not verified; "
            "pip install pycuda"
        )


def _build(
    bundle: Bundle, model: BundledModel, plan: BuildPlan, folder: Path, console: Console | None
) -> EngineResult:
    onnx = bundle.path(model.onnx)
    manifest = read_onnx_source(onnx)
    verify = engine_verifier(
        bundle.path(model.expected), manifest, plan, data=None, settings=ExportSettings()
    )
    return build_engine(onnx, manifest, plan.settings, folder, console, verify=verify, plan=plan)
