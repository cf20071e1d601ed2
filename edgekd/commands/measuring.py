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
from edgekd.commands.gating import FailIf, close_gate
from edgekd_bench.backends import BACKENDS, Device, choose_backends

_REMOTE = "On another machine"


def bench(
    context: typer.Context,
    models: Annotated[
        list[Path], typer.Argument(help=".onnx, .pt and .engine detectors, or bundles")
    ],
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="data.yaml or coco.yaml with a val split; default: a bundle's own"),
    ] = None,
    baseline: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="what to compare with; may be given several times"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for results.json")] = Path("runs/bench"),
    backend: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help=f"{', '.join(BACKENDS)}; may be given several times; default: every one that "
            "the machine has and that runs the files"
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="where the networks run")] = "cpu",
    batch: Annotated[int, typer.Option(help="images per call")] = 1,
    image_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="side of the square input; default: each model's own"),
    ] = None,
    threads: Annotated[Optional[int], typer.Option(help="CPU threads")] = None,  # noqa: UP045
    min_seconds: Annotated[
        float, typer.Option(help="time each model at least this long, per clock")
    ] = 3.0,
    min_count: Annotated[
        int, typer.Option(help="and at least this many calls; a p99 takes several hundred")
    ] = 64,
    warmup: Annotated[
        int, typer.Option(help="untimed calls at least; goes on until the median settles")
    ] = 10,
    throughput: Annotated[
        bool, typer.Option(help="also measure images per second with all images at hand")
    ] = True,
    throughput_batch: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(min=1, help="further batch sizes to try for that; may be given several times"),
    ] = None,
    energy_seconds: Annotated[
        float, typer.Option(help="run each model alone so long to measure its power; 0: do not")
    ] = 5.0,
    cuda_graph: Annotated[
        bool, typer.Option(help="TensorRT: replay a captured graph where that is possible")
    ] = True,
    fail_if: FailIf = None,
    ssh: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="USER@HOST",
            help="measure a bundle on that machine and bring the record back",
            rich_help_panel=_REMOTE,
        ),
    ] = None,
    ssh_config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="instead of ~/.ssh/config", rich_help_panel=_REMOTE),
    ] = None,
    remote_edgekd: Annotated[
        str,
        typer.Option(
            metavar="PROGRAM",
            help="edgekd over there, e.g. '~/venv/bin/edgekd'",
            rich_help_panel=_REMOTE,
        ),
    ] = "edgekd",
    remote_dir: Annotated[
        str, typer.Option(help="where to work over there", rich_help_panel=_REMOTE)
    ] = "~/.cache/edgekd/remote",
    as_json: Json = False,
) -> None:
    """Measure latency and mAP of models on real images, interleaved with the baseline."""
    if ssh is not None:
        from edgekd.commands.remote_measuring import bench_over_ssh
        from edgekd_bench.remote.bench import RemoteOptions
        from edgekd_bench.remote.ssh import SshHost

        host = SshHost(ssh, ssh_config)
        bench_over_ssh(context, models, RemoteOptions(host, remote_dir, remote_edgekd))
        return
    from edgekd_bench import BenchSettings, run
    from edgekd_bench.bundle_inputs import resolve_inputs
    from edgekd_bench.gate_condition import parse_conditions

    parse_conditions(fail_if or ())  # the error in one line, before anything is opened
    inputs = resolve_inputs(models, baseline or [], data)
    settings = settings_from(
        BenchSettings,
        backends=choose_backends(backend or (), [*inputs.models, *inputs.baselines], device),
        device=device,
        batch=batch,
        image_size=image_size,
        threads=threads,
        min_seconds=min_seconds,
        min_count=min_count,
        warmup=warmup,
        throughput=throughput,
        throughput_batches=throughput_batch or (),
        energy_seconds=energy_seconds,
        cuda_graph=cuda_graph,
        fail_if=tuple(fail_if or ()),
    )
    console = console_for(as_json)
    record = run(
        inputs.models,
        baselines=inputs.baselines,
        data=inputs.data,
        settings=settings,
        out=out,
        progress=console,
    )
    next_step = f"[bold]{out / 'results.json'}[/]  next: edgekd report {out}"
    print_record(record, as_json, "\n".join([*inputs.notes, next_step]))
    close_gate(record.gate, as_json)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="folders with results.json, or such files"),
    ],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="the page; default: report.html or compare.html beside the runs"),
    ] = None,
    csv: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="also write the rows as CSV; -: to standard output"),
    ] = None,
    markdown: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="also write verdict and table as Markdown; -: to standard output"),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="what changed between two runs, before and after")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about a run, or about several in one."""
    from edgekd_bench.errors import InputError
    from edgekd_bench.report import STDOUT, run

    piped = STDOUT in (csv, markdown)
    if piped and as_json:
        raise InputError("--json and - both ask for standard output; give the table a file name")
    result = run(*runs, out=out, csv=csv, markdown=markdown, compare=compare)
    written = [path for path in (result.path, csv, markdown) if path not in (None, STDOUT)]
    text = "\n".join([result.headline, *(f"[bold]{path}[/]" for path in written)])
    if piped:
        console_for(True).print(text)
    else:
        finish(result, as_json, text)
