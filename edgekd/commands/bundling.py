"""``export --bundle`` and ``export --trt BUNDLE``: what is packed here and built on the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.commands.console import console_for, finish, settings_from

if TYPE_CHECKING:
    from rich.console import Console

    from edgekd_export.settings import ExportSettings
    from edgekd_export.tensorrt import EngineResult, TensorRTSettings


def wanted(bundle: bool, *, baselines: bool, trt: bool) -> bool:
    """Whether a bundle is to be packed.

    Raises:
        InputError: options that contradict each other.
    """
    from edgekd_bench.errors import InputError

    if bundle and trt:
        raise InputError("--trt builds an engine here, --bundle packs for a device; choose one")
    if baselines and not bundle:
        raise InputError(
            "--baseline goes into a bundle; add --bundle, or compare with edgekd bench"
        )
    return bundle


def pack(
    weights: Path,
    *,
    out: Path,
    data: Path | None,
    baselines: list[Path],
    settings: ExportSettings,
    images: int,
    tar: bool,
    as_json: bool,
) -> None:
    """Pack a bundle and say what to do with it."""
    from edgekd_export.bundle.packer import run
    from edgekd_export.bundle.settings import BundleSettings

    how = settings_from(BundleSettings, bundle_images=images, bundle_tar=tar)
    console = console_for(as_json)
    result = run(
        weights,
        out=out,
        data=data,
        baselines=baselines,
        settings=settings,
        bundle=how,
        console=console,
    )
    for model in result.description.models:
        kind = f"{model.role}, to fall back on" if model.fallback else model.role
        console.print(f"  {model.onnx}: {kind}, parity pass", markup=False)
    console.print(f"  {result.description.evaluation.note}", markup=False)
    text = f"[bold]{result.path}[/] ({result.size_mb:.1f} MB)  next, on the device:"
    name = result.path.name
    finish(result, as_json, f"{text}\n  edgekd export --trt {name}\n  edgekd bench {name}")


def build(
    bundle: Path,
    *,
    trt: bool,
    out: Path | None,
    settings: TensorRTSettings,
    precision: str | None,
    as_json: bool,
    show: Callable[[EngineResult, Console], None],
) -> None:
    """Build the engines of a bundle; ``show`` prints what came of one."""
    from edgekd_bench.errors import InputError
    from edgekd_export.bundle.engines import run

    if not trt:
        raise InputError(f"{bundle}: is a bundle; add --trt to build the engines of it")

    console = console_for(as_json)
    result = run(bundle, settings=settings, precision=precision, out=out, console=console)
    for engine in result.engines:
        show(engine, console)
    finish(result, as_json, f"[bold]{result.folder}[/]  next: edgekd bench {result.bundle}")
