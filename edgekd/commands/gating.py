"""``check`` and the gate of every command that measures: stop a build on a regression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgekd.commands.console import Json, console_for, finish

if TYPE_CHECKING:
    from edgekd_bench.record import GateOutcome

FailIf = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer evaluates this on Python 3.10
    typer.Option(
        "--fail-if",
        metavar="CONDITION",
        help="exit with 1 where this holds, e.g. 'map50_95 < baseline - 0.01' or "
        "'latency_p90_ms > 8'; with 'surely' before it only where its whole 95 % interval does; "
        "may be given several times",
    ),
]


def check(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN", help="folder with results.json, or such a file")
    ],
    fail_if: FailIf = None,
    as_json: Json = False,
) -> None:
    """Judge a finished benchmark; without conditions, by those it was run with."""
    from edgekd_bench.errors import InputError
    from edgekd_bench.gate_condition import check_keys, parse_conditions
    from edgekd_bench.record import read_record
    from edgekd_bench.regression_gate import judge

    conditions = parse_conditions(fail_if or ())
    record = read_record(run_dir / "results.json" if run_dir.is_dir() else run_dir)
    conditions = conditions or parse_conditions(record.settings.get("fail_if", ()))
    if not conditions:
        raise InputError(f"{run_dir}: nothing to check; give a condition with --fail-if")
    check_keys(conditions, record.data.get("classes", []))
    outcomes = judge(record, conditions)
    finish(outcomes, as_json, gate_lines(outcomes))
    _enforce(outcomes)


def close_gate(outcomes: Sequence[GateOutcome], as_json: bool) -> None:
    """Say how the conditions came out and fail on a violation, after the record was printed."""
    if outcomes and not as_json:
        console_for(False).print(gate_lines(outcomes), markup=False)
    _enforce(outcomes)


def gate_lines(outcomes: Sequence[GateOutcome]) -> str:
    """One line a condition and candidate, the violated ones first."""
    ordered = sorted(outcomes, key=lambda outcome: not outcome.violated)
    return "\n".join(f"{'FAIL' if o.violated else 'ok  '} {o.text}" for o in ordered)


def _enforce(outcomes: Sequence[GateOutcome]) -> None:
    from edgekd_bench.regression_gate import enforce

    enforce(outcomes)
