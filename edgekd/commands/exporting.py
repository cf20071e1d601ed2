"""``export`` and ``targets``: from a detector to the file that a device runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgekd.commands import bundling
from edgekd.commands.console import (
    Json,
    console_for,
    finish,
    settings_from,
)

if TYPE_CHECKING:
    from rich.console import Console

    from edgekd_export.tensorrt.builder import EngineResult

_TENSORRT = "TensorRT engine"  # heading of its options in --help
_INT8 = "int8"
_BUNDLE = "Device bundle"


def export(
    weights: Annotated[
        Path, typer.Argument(help="trained detector, .pt; with --trt also .onnx or a bundle")
    ],
    onnx: Annotated[bool, typer.Option("--onnx", help="write ONNX (the default)")] = True,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="data.yaml, coco.yaml or a folder of images: for the parity gate (val split), for "
            "int8 also to calibrate on (train split)"
        ),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="file or folder")] = None,  # noqa: UP045
    image_size: Annotated[Optional[int], typer.Option(help="default: the weights' own")] = None,  # noqa: UP045
    opset: Annotated[int, typer.Option(help="ONNX opset, at most 18")] = 17,
    precision: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="fp32, fp16 or int8; default: the target's, else fp32"),
    ] = None,
    batch: Annotated[int, typer.Option(help="images per inference")] = 1,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="let the file take any number of images")
    ] = False,
    nms: Annotated[
        bool,
        typer.Option("--nms", help="put NMS into the graph; output (B, 300, 6), best first"),
    ] = False,
    calibration: Annotated[
        str,
        typer.Option(
            help="minmax, entropy, percentile, or auto: what keeps the most mAP",
            rich_help_panel=_INT8,
        ),
    ] = "auto",
    calibration_data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="data.yaml (train split) or folder instead", rich_help_panel=_INT8),
    ] = None,
    calibration_images: Annotated[
        int, typer.Option(help="how many images to calibrate on", rich_help_panel=_INT8)
    ] = 256,
    calibration_cache: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="ranges of an earlier export to reuse", rich_help_panel=_INT8),
    ] = None,
    int8_for: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="the runtime to lay it out for: tensorrt, onnxruntime or openvino (both on a "
            "CPU); default: the target's, else tensorrt",
            rich_help_panel=_INT8,
        ),
    ] = None,
    max_map_drop: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="return layers to float until no more mAP50-95 is lost than this",
            rich_help_panel=_INT8,
        ),
    ] = None,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="device profile with sensible defaults, see `edgekd targets`"),
    ] = None,
    trt: Annotated[
        bool, typer.Option("--trt", help="build an engine too", rich_help_panel=_TENSORRT)
    ] = False,
    builder: Annotated[
        str, typer.Option(help="auto, tensorrt or rtx", rich_help_panel=_TENSORRT)
    ] = "auto",
    workspace_gb: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="memory for one layer while building", rich_help_panel=_TENSORRT),
    ] = None,
    builder_level: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="0 quick build to 5 fast engine", rich_help_panel=_TENSORRT),
    ] = None,
    timing_cache: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="file of kernel times to reuse", rich_help_panel=_TENSORRT),
    ] = None,
    batch_profile: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="min,opt,max images at a time, for dynamic batch", rich_help_panel=_TENSORRT
        ),
    ] = None,
    dla: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="core of the accelerator to use", rich_help_panel=_TENSORRT),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="let weights be replaced later", rich_help_panel=_TENSORRT),
    ] = False,
    strip_weights: Annotated[
        bool,
        typer.Option(
            "--strip-weights", help="leave weights out, to be refitted", rich_help_panel=_TENSORRT
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="print TensorRT's warnings", rich_help_panel=_TENSORRT),
    ] = False,
    bundle: Annotated[
        bool,
        typer.Option(
            "--bundle",
            help="pack a folder that a device builds, verifies and measures from",
            rich_help_panel=_BUNDLE,
        ),
    ] = False,
    bundle_tar: Annotated[
        bool,
        typer.Option("--bundle-tar", help="the same as one .tar", rich_help_panel=_BUNDLE),
    ] = False,
    bundle_images: Annotated[
        int, typer.Option(help="labelled images to take along", rich_help_panel=_BUNDLE)
    ] = 16,
    baseline: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="checkpoint to compare with there; repeatable", rich_help_panel=_BUNDLE),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a detector to ONNX or TensorRT and hold it against PyTorch on real images."""
    from edgekd_bench.bundle import is_bundle
    from edgekd_export import ExportSettings
    from edgekd_export.targets import load_target
    from edgekd_export.tensorrt import TensorRTSettings

    del onnx  # every other format starts from it
    tensorrt = settings_from(
        TensorRTSettings,
        builder=builder,
        target=target,
        workspace_gb=workspace_gb,
        builder_level=builder_level,
        timing_cache=timing_cache,
        batch_profile=batch_profile,
        dla_core=dla,
        refit=refit,
        strip_weights=strip_weights,
    )
    if is_bundle(weights):
        bundling.build(
            weights,
            trt=trt,
            out=out,
            settings=tensorrt,
            precision=precision,
            as_json=as_json,
            show=lambda engine, console: _print_engine(engine, console, verbose),
        )
        return
    if precision is None:
        precision = load_target(target).precision if target else "fp32"
    _refuse_int8_options(
        precision,
        int8_for=int8_for,
        calibration_data=calibration_data,
        calibration_cache=calibration_cache,
        max_map_drop=max_map_drop,
    )
    if int8_for is None:
        int8_for = load_target(target).int8_for if target else "tensorrt"
    settings = settings_from(
        ExportSettings,
        image_size=image_size,
        opset=opset,
        precision=precision,
        batch=batch,
        dynamic_batch=dynamic_batch,
        nms=nms,
        int8_for=int8_for,
        calibration=calibration,
        calibration_data=calibration_data,
        calibration_images=calibration_images,
        calibration_cache=calibration_cache,
        max_map_drop=max_map_drop,
        tensorrt=tensorrt,
    )
    if bundling.wanted(bundle or bundle_tar, baselines=bool(baseline), trt=trt):
        bundling.pack(
            weights,
            out=out or weights.parent,
            data=data,
            baselines=baseline or [],
            settings=settings,
            images=bundle_images,
            tar=bundle_tar,
            as_json=as_json,
        )
        return
    if trt:
        from edgekd_export.engine_export import run as run_engine

        console = console_for(as_json)
        engine = run_engine(
            weights, out=out or weights.parent, data=data, settings=settings, console=console
        )
        _print_engine(engine, console, verbose)
        finish(engine, as_json, f"[bold]{engine.engine}[/]")
        return
    from edgekd_export import run

    console = console_for(as_json)
    result = run(weights, out=out or weights.parent, data=data, settings=settings, console=console)
    console.print(result.parity.summary())
    finish(result, as_json, f"[bold]{result.onnx}[/]  next: edgekd bench {result.onnx} --data …")


def _refuse_int8_options(precision: str, **given: object) -> None:
    """An option that another precision would silently ignore is a mistake of the user's."""
    from edgekd_bench.errors import InputError

    for name, value in given.items():
        if value is not None and precision != "int8":
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} is for --precision int8, not for {precision}; leave it out")


def _print_engine(result: EngineResult, console: Console, verbose: bool) -> None:
    build = result.manifest.engine
    if build is None:
        return
    size_mb = result.engine.stat().st_size / 1e6
    console.print(
        f"engine: {build.builder} {build.version}, {size_mb:.1f} MB, built in "
        f"{build.options['build_seconds']} s, {len(result.warnings)} warnings",
        markup=False,
    )
    if result.parity is not None:
        console.print(result.parity.summary(), markup=False)
    for line in [*result.notes, *(result.warnings if verbose else ())]:
        console.print(f"note: {line}", markup=False, soft_wrap=True)
    console.print(f"the same with NVIDIA's tool: {result.trtexec}", markup=False, soft_wrap=True)


def targets(as_json: Json = False) -> None:
    """List the device profiles that `export --target` knows."""
    from edgekd_export.targets import load_targets

    profiles = load_targets()
    if as_json:
        finish(profiles, True, "")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("target", "device", "SM", "GB", "DLA", "TensorRT", "built by", "precision"):
        table.add_column(heading)
    for profile in profiles:
        table.add_row(
            profile.name,
            profile.title,
            profile.compute_capability or "-",
            f"{profile.memory_gb:g}" if profile.memory_gb else "-",
            str(profile.dla_cores or "-"),
            ", ".join(software.tensorrt for software in profile.software) or "-",
            ", ".join(profile.builders) or ("not supported" if profile.unsupported else "-"),
            profile.precision,
        )
    console_for(False).print(table)
