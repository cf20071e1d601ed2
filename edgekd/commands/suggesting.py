"""``suggest``: choose a student by what it costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgekd.commands.console import Json, console_for, settings_from
from edgekd_bench.backends import BACKENDS, Device


def suggest(
    target_ms: Annotated[float, typer.Option(help="what one image may take, network alone")],
    percentile: Annotated[int, typer.Option(help="50, 90 or 99: what must stay within it")] = 90,
    families: Annotated[
        str, typer.Option(help="separated by commas")
    ] = "yolov8,yolo11,yolo12,yolo26",
    scales: Annotated[str, typer.Option(help="of n, s, m, l, x")] = "n,s,m",
    image_sizes: Annotated[str, typer.Option(help="pixels, multiples of 32")] = "320,480,640",
    precisions: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="of fp32, fp16, int8; default: fp32,int8 on a cpu, fp32,fp16 on a GPU"),
    ] = None,
    backend: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help=f"of {', '.join(BACKENDS)}, those that run .onnx; may be given several times; "
            "default: every one that the machine has"
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="where the networks run")] = "cpu",
    threads: Annotated[Optional[int], typer.Option(help="CPU threads")] = None,  # noqa: UP045
    num_classes: Annotated[int, typer.Option(help="that the detector will have")] = 80,
    max_minutes: Annotated[float, typer.Option(help="start nothing new after this long")] = 15.0,
    min_seconds: Annotated[float, typer.Option(help="time each at least this long")] = 1.5,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="another device: says how to measure there, for nothing is guessed"),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="measure again what is known")] = False,
    out: Annotated[Path, typer.Option(help="folder that keeps measurements")] = Path(
        "runs/suggest"
    ),
    as_json: Json = False,
) -> None:
    """List the detectors that meet a latency budget on this machine, before training any."""
    from edgekd.suggest import run
    from edgekd_bench.backends import choose_backends
    from edgekd_bench.suggestion.settings import SuggestionSettings
    from edgekd_bench.suggestion.table import suggestion_table

    if target is not None:
        _refuse_elsewhere(target)
    wanted = precisions or ("fp32,int8" if device == "cpu" else "fp32,fp16")
    settings = settings_from(
        SuggestionSettings,
        target_ms=target_ms,
        percentile=percentile,
        families=_listed(families),
        scales=_listed(scales),
        image_sizes=_listed(image_sizes),
        precisions=_listed(wanted),
        backends=choose_backends(backend or (), [Path("student.onnx")], device),
        device=device,
        threads=threads,
        num_classes=num_classes,
        max_minutes=max_minutes,
        min_seconds=min_seconds,
    )
    console = console_for(as_json)
    suggestion = run(settings, cache_folder=out, fresh=fresh, console=console)
    if as_json:
        typer.echo(suggestion.model_dump_json(indent=2))
        return
    console.print(suggestion_table(suggestion))
    console.print(f"[bold]{suggestion.cache}[/]  next: edgekd run CONFIG student.model=….yaml")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _refuse_elsewhere(target: str) -> None:
    """Name the way to measure on another device.

    Raises:
        InputError: always; an unknown device is named with the nearest known ones.
    """
    from edgekd_bench.errors import InputError
    from edgekd_export.targets import load_target

    title = load_target(target).title
    raise InputError(
        f"--target {target}: latencies are measured, not guessed, and {title} is not this machine; "
        "run `edgekd suggest` on it, or export a bundle (`edgekd export … --bundle`) and measure "
        "it there with `edgekd bench BUNDLE --ssh user@host`"
    )
