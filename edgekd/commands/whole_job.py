"""``run``, ``demo`` and ``doctor``: everything in one go, and whether it can go."""

from __future__ import annotations

from pathlib import Path

from edgekd.commands.console import (
    ConfigArgument,
    Json,
    Overrides,
    console_for,
    finish,
    load,
    print_record,
)
from edgekd.commands.gating import close_gate


def run_all(config: ConfigArgument, overrides: Overrides = None, as_json: Json = False) -> None:
    """Distil, train baseline and distilled, export, benchmark and report; can be restarted."""
    wanted = load(config, overrides)  # before the heavy import: a typing error shows at once
    from edgekd import pipeline

    result = pipeline.run(wanted, console=console_for(as_json))
    print_record(result.record, as_json, f"[bold]{result.results}[/]\n[bold]{result.report}[/]")
    close_gate(result.record.gate, as_json)


def demo(overrides: Overrides = None, as_json: Json = False) -> None:
    """The whole job on built-in dice scenes: offline, minutes on two CPU cores."""
    run_all(Path(__file__).parent.parent / "configs" / "demo.yaml", overrides, as_json)


def doctor(as_json: Json = False) -> None:
    """What this machine can do, what is missing, and how to get it."""
    from edgekd.doctor import print_findings, run

    findings = run()
    if as_json:
        finish(findings, True, "")
    else:
        print_findings(findings, console_for(False))
