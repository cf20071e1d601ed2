"""The command line: the program ``edgekd``, its commands, and its exit codes.

Exit codes: 0 done, 1 a failed gate, 2 bad input, 130 or 143 stopped by the user.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edgekd.commands import (
    caching,
    exporting,
    gating,
    inspecting,
    measuring,
    studying,
    suggesting,
    training,
    whole_job,
)

app = typer.Typer(
    name="edgekd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil a vision foundation model into a small detector, export it, and measure whether "
    "it paid.",
)


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


app.command()(training.distill)
app.command()(caching.cache)
app.command()(training.train)
app.command()(exporting.export)
app.command()(exporting.targets)
app.command()(suggesting.suggest)
app.command()(inspecting.inspect)
app.command()(measuring.bench)
app.command()(gating.check)
app.command()(measuring.report)
app.command("run")(whole_job.run_all)
app.command()(studying.study)
app.command()(whole_job.demo)
app.command()(whole_job.doctor)


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
