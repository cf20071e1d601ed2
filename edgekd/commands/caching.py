"""``cache``: fill the feature cache ahead of a distillation, or check that it is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekd.commands.console import (
    ConfigArgument,
    Json,
    Overrides,
    console_for,
    finish,
    load,
)


def cache(
    config: ConfigArgument,
    overrides: Overrides = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="read every record again, remove damaged shards")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute the teacher's features of all views once, for every later distillation."""
    wanted = load(config, overrides)  # before the heavy imports: a typing error shows at once
    from edgekd import pipeline
    from edgekd.distill.feature_cache import command
    from edgekd_bench.errors import GateError

    console = console_for(as_json)
    options = pipeline.with_built_in_data(wanted, console)
    if not verify:
        filled = command.fill(options, console=console)
        finish(filled, as_json, f"[bold]{filled.folder}[/]  next: edgekd distill {config}")
        return
    results = command.verify_all(options)
    finish(results, as_json, "\n".join(command.in_words(result) for result in results))
    if any(result.damaged for result in results):
        raise GateError("damaged shards were removed; fill them again with `edgekd cache CONFIG`")
