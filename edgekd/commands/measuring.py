"""``bench`` and ``report``: what a model costs and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgekd.commands.console import (
    Json,
    console_for,
    finish,
    print_record,
    settings_from,
)


def bench(
    models: Annotated[list[Path], typer.Argument(help=".onnx and .pt detectors")],
    data: Annotated[Path, typer.Option(help="data.yaml or coco.yaml with a val split")],
    baseline: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="what to compare with; may be given several times"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for results.json")] = Path("runs/bench"),
    min_seconds: Annotated[float, typer.Option(help="time each model at least this long")] = 3.0,
    threads: Annotated[Optional[int], typer.Option(help="CPU threads")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """Measure latency and mAP of models on real images, interleaved with the baseline."""
    from edgekd_bench import BenchSettings, run

    settings = settings_from(BenchSettings, min_seconds=min_seconds, threads=threads)
    console = console_for(as_json)
    record = run(
        models, baselines=baseline or [], data=data, settings=settings, out=out, progress=console
    )
    print_record(record, as_json, f"[bold]{out / 'results.json'}[/]  next: edgekd report {out}")


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder with results.json")],
    out: Annotated[Optional[Path], typer.Option(help="default: RUN/report.html")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about a run."""
    from edgekd_bench.report import run

    result = run(run_dir, out=out)
    finish(result, as_json, f"{result.headline}\n[bold]{result.path}[/]")
