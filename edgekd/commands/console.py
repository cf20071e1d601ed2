"""What the commands share: arguments, settings from options, and how results are printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgekd.config import Config
    from edgekd_bench.record import BenchRecord

ConfigArgument = Annotated[Path, typer.Argument(help="YAML config, see configs/")]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer evaluates this on Python 3.10
    typer.Argument(help="overrides: key.sub=value", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="print the result as one JSON document")]


def console_for(as_json: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False)
    # Into a file or a pipe there is no window to fit: 80 columns would only break the table.
    return console if console.is_terminal else Console(stderr=as_json, highlight=False, width=120)


def load(config: Path, overrides: list[str] | None) -> Config:
    from edgekd.config import load_config

    return load_config(config, overrides or [])


def settings_from(model: Any, **given: Any) -> Any:
    """Build a settings model from options; a value out of range is one line and exit 2."""
    from pydantic import ValidationError

    from edgekd_bench.errors import InputError

    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        reason = first["msg"].removeprefix("Value error, ")  # from a check of our own
        raise InputError(f"{option}: {reason}, found {first['input']!r}") from error


def print_record(record: BenchRecord, as_json: bool, text: str) -> None:
    if as_json:
        typer.echo(record.model_dump_json(indent=2))
        return
    from edgekd_bench.table import results_table

    console = console_for(False)
    console.print(results_table(record))
    console.print(text)


def finish(result: Any, as_json: bool, text: str) -> None:
    """Print a result: JSON for machines, one line for people; of several processes, one does."""
    if os.environ.get("RANK", "0") != "0":
        return
    if not as_json:
        console_for(False).print(text)
        return
    from pydantic import TypeAdapter

    typer.echo(TypeAdapter(type(result)).dump_json(result, indent=2).decode())
