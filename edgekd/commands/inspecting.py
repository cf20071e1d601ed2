"""``inspect``: say what a file is, before anything is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.commands.console import Json, console_for


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".pt, .onnx, .engine, .json or .tar; a bundle, a feature cache or a run folder",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Say what a file is: history, licence, precision, parity, and whether it is still whole."""
    from edgekd_bench.inspection import describe
    from edgekd_bench.inspection import inspect as look_at

    found = look_at(path)
    if as_json:
        typer.echo(found.model_dump_json(indent=2, exclude_none=True))
        return
    console_for(False).print(describe(found))
