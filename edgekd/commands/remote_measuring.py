"""``bench … --ssh``: the same command, run on another machine.

Whatever options were given are given on to the command over there, word for word; a new option of
``bench`` needs no line here. Only paths cannot travel, so those that name local files are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgekd.commands.console import console_for, print_record

if TYPE_CHECKING:
    from edgekd_bench.remote.bench import RemoteOptions, RemoteResult

_OWN = {"models", "out", "ssh", "ssh_config", "remote_edgekd", "remote_dir", "as_json"}


def forwarded_arguments(context: typer.Context) -> list[str]:
    """The options that were given, as arguments for the same command elsewhere.

    Raises:
        InputError: one of them names a file here.
    """
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in _OWN or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [_word(parameter.opts[0], one) for one in values]
    return words


def bench_over_ssh(context: typer.Context, models: list[Path], options: RemoteOptions) -> None:
    """Measure one bundle on another machine, print its record, and end as it ended there."""
    from edgekd_bench.bundle import is_bundle
    from edgekd_bench.errors import InputError
    from edgekd_bench.remote.bench import run

    if len(models) != 1 or not is_bundle(models[0]):
        raise InputError(
            "--ssh measures one bundle, which brings models and images along; pack one with: "
            "edgekd export WEIGHTS --bundle --data data.yaml --baseline WEIGHTS"
        )
    out, host = context.params["out"], options.host.name
    console = console_for(True)  # what happens is no result
    try:
        result = run(
            models[0],
            options=options,
            arguments=forwarded_arguments(context),
            out=out,
            say=lambda line: console.print(line, markup=False),
        )
    except KeyboardInterrupt:
        console.print(f"stopped watching; a run on {host} goes on, repeat the command to follow it")
        raise typer.Exit(130) from None
    _finish(result, host, out, context.params["as_json"])


def _word(option: str, value: Any) -> str:
    from edgekd_bench.errors import InputError

    if isinstance(value, Path):
        raise InputError(f"{option} names a file here, which is not there; leave it out with --ssh")
    return f"{option}={value}"


def _finish(result: RemoteResult, host: str, out: Path, as_json: bool) -> None:
    """Print the record if there is one; a failure over there is a failure here, same exit code."""
    if result.record is not None:
        text = f"measured on {host}: [bold]{out / 'results.json'}[/]  next: edgekd report {out}"
        print_record(result.record, as_json, text)
    if result.failure is not None:
        typer.secho(f"{host}: ", fg="red", bold=True, err=True, nl=False)
        typer.echo(result.failure, err=True)
        raise typer.Exit(result.code)
