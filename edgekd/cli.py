"""The command line: each command parses, makes one documented call, and prints.

Torch, Ultralytics and even NumPy are imported inside the commands, because ``edgekd --help`` must
answer at once. Exit codes: 0 done, 1 a failed gate, 2 bad input, 130 or 143 stopped by the user.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgekd.config import Config
    from edgekd_bench.record import BenchRecord

app = typer.Typer(
    name="edgekd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil a vision foundation model into a small detector, export it, and measure whether "
    "it paid.",
)

ConfigArgument = Annotated[Path, typer.Argument(help="YAML config, see configs/")]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer evaluates this on Python 3.10
    typer.Argument(help="overrides: key.sub=value", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="print the result as one JSON document")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from edgekd import __version__

        typer.echo(f"edgekd {__version__}")
        raise typer.Exit


@app.callback()
def _edgekd(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print and exit"),
    ] = False,
) -> None:
    """Options of the program itself; the commands do the work."""


@app.command()
def distill(
    config: ConfigArgument,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option(help="continue from distill/last.pt")] = False,
    overwrite: Annotated[bool, typer.Option(help="replace an earlier distillation")] = False,
    as_json: Json = False,
) -> None:
    """Distil a frozen teacher into the student's backbone on unlabelled images."""
    from edgekd import pipeline
    from edgekd.distill import run

    console = _console(as_json)
    options = pipeline.with_built_in_data(_load(config, overrides), console)
    result = run(options, resume=resume, overwrite=overwrite, console=console)
    _finish(result, as_json, f"next: edgekd train {config} --backbone-weights {result.backbone}")


@app.command()
def train(
    config: ConfigArgument,
    overrides: Overrides = None,
    backbone_weights: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="student_backbone.pt, an Ultralytics .pt or a LightlyTrain export; "
            "without it: the baseline"
        ),
    ] = None,
    seed: Annotated[Optional[int], typer.Option(help="instead of train.seeds[0]")] = None,  # noqa: UP045
    resume: Annotated[bool, typer.Option(help="continue a stopped training")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune the detector, from distilled backbone weights or as the baseline."""
    from edgekd import pipeline
    from edgekd.train import run

    console = _console(as_json)
    options = pipeline.with_built_in_data(_load(config, overrides), console)
    result = run(
        options, backbone_weights=backbone_weights, seed=seed, resume=resume, console=console
    )
    _finish(result, as_json, f"next: edgekd export {result.detector} --onnx")


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(help="trained detector, .pt")],
    onnx: Annotated[bool, typer.Option("--onnx", help="write ONNX (the default)")] = True,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="data.yaml, coco.yaml or a folder of images for the parity gate"),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="file or folder")] = None,  # noqa: UP045
    image_size: Annotated[Optional[int], typer.Option(help="default: the weights' own")] = None,  # noqa: UP045
    opset: Annotated[int, typer.Option(help="ONNX opset, at most 18")] = 17,
    as_json: Json = False,
) -> None:
    """Export a detector to ONNX and hold it against PyTorch on real images."""
    from edgekd_export import ExportSettings, run

    del onnx  # the one format so far, and the one every later format starts from
    settings = _settings(ExportSettings, image_size=image_size, opset=opset)
    result = run(weights, out=out or weights.parent, data=data, settings=settings)
    _console(as_json).print(result.parity.summary())
    _finish(result, as_json, f"[bold]{result.onnx}[/]  next: edgekd bench {result.onnx} --data …")


@app.command()
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

    settings = _settings(BenchSettings, min_seconds=min_seconds, threads=threads)
    console = _console(as_json)
    record = run(
        models, baselines=baseline or [], data=data, settings=settings, out=out, progress=console
    )
    _print_record(record, as_json, f"[bold]{out / 'results.json'}[/]  next: edgekd report {out}")


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder with results.json")],
    out: Annotated[Optional[Path], typer.Option(help="default: RUN/report.html")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about a run."""
    from edgekd_bench.report import run

    result = run(run_dir, out=out)
    _finish(result, as_json, f"{result.headline}\n[bold]{result.path}[/]")


@app.command("run")
def run_all(config: ConfigArgument, overrides: Overrides = None, as_json: Json = False) -> None:
    """Distil, train baseline and distilled, export, benchmark and report; can be restarted."""
    from edgekd import pipeline

    result = pipeline.run(_load(config, overrides), console=_console(as_json))
    _print_record(result.record, as_json, f"[bold]{result.results}[/]\n[bold]{result.report}[/]")


@app.command()
def demo(overrides: Overrides = None, as_json: Json = False) -> None:
    """The whole job on built-in dice scenes: offline, minutes on two CPU cores."""
    run_all(Path(__file__).parent / "configs" / "demo.yaml", overrides, as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine can do, what is missing, and how to get it."""
    from edgekd.doctor import print_findings, run

    findings = run()
    if as_json:
        _finish(findings, True, "")
    else:
        print_findings(findings, _console(False))


def main() -> None:
    """Entry point: turn edgekd's errors into one line and an exit code."""
    from edgekd_bench.errors import GateError, InputError

    try:
        app()
    except InputError as error:
        _fail("error", error, 2)
    except GateError as error:
        _fail("gate failed", error, 1)
    except ModuleNotFoundError as error:
        _fail("error", _missing_module(error), 2)
    except Exception as error:
        signal_name = getattr(error, "signal_name", None)
        if signal_name is None:
            raise
        _fail("stopped", error, 143 if signal_name == "SIGTERM" else 130)


def _fail(kind: str, error: Exception | str, code: int) -> None:
    typer.secho(f"{kind}: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(" ".join(str(error).split()), err=True)
    sys.exit(code)


def _missing_module(error: ModuleNotFoundError) -> str:
    name = (error.name or "").split(".")[0]
    if name in {
        "torch",
        "torchvision",
        "ultralytics",
        "timm",
        "lightning_fabric",
        "onnx",
        "onnxslim",
        "safetensors",
        "tensorboard",
    }:
        return f"'{name}' is not installed; this command needs: pip install 'edgekd[train]'"
    raise error


def _console(as_json: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False)
    # Into a file or a pipe there is no window to fit: 80 columns would only break the table.
    return console if console.is_terminal else Console(stderr=as_json, highlight=False, width=120)


def _load(config: Path, overrides: list[str] | None) -> Config:
    from edgekd.config import load_config

    return load_config(config, overrides or [])


def _settings(model: Any, **given: Any) -> Any:
    """Build a settings model from options; a value out of range is one line and exit 2."""
    from pydantic import ValidationError

    from edgekd_bench.errors import InputError

    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise InputError(f"{option}: {first['msg']}, found {first['input']!r}") from error


def _print_record(record: BenchRecord, as_json: bool, text: str) -> None:
    if as_json:
        typer.echo(record.model_dump_json(indent=2))
        return
    from edgekd_bench.table import results_table

    console = _console(False)
    console.print(results_table(record))
    console.print(text)


def _finish(result: Any, as_json: bool, text: str) -> None:
    """Print a result: JSON for machines, one line for people."""
    if not as_json:
        _console(False).print(text)
        return
    from pydantic import TypeAdapter

    typer.echo(TypeAdapter(type(result)).dump_json(result, indent=2).decode())
