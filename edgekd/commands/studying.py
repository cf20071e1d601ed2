"""``study``: how many labels distilling saves, if any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekd.commands.console import ConfigArgument, Json, Overrides, console_for, finish, load

if TYPE_CHECKING:
    from rich.table import Table

    from edgekd.study.record import StudyRecord


def study(config: ConfigArgument, overrides: Overrides = None, as_json: Json = False) -> None:
    """Compare ways to begin over fractions of the labels and seeds: does distilling pay?"""
    wanted = load(config, overrides)  # before the heavy import: a typing error shows at once
    from edgekd.study import run

    console = console_for(as_json)
    result = run(wanted, console=console)
    if as_json:
        finish(result.record, True, "")
        return
    console.print(_table(result.record))
    for verdict in result.record.verdicts:
        console.print(f"[bold]{verdict.text}[/]")
    console.print(f"[bold]{result.results}[/]\n[bold]{result.plot}[/]")


def _table(record: StudyRecord) -> Table:
    from rich.table import Table

    from edgekd_bench.report_numbers import fixed, interval, signed

    table = Table(title=f"mAP50-95 on {record.data['name']}, mean over seeds", title_justify="left")
    for head in ("labels", "init", "against", "mAP", "its mAP", "difference", "95 % interval", ""):
        table.add_column(head, justify="left" if head in ("init", "against", "") else "right")
    for c in sorted(record.comparisons, key=lambda c: c.num_labels):
        table.add_row(
            str(c.num_labels),
            c.init,
            c.against,
            fixed(c.map50_95),
            fixed(c.map50_95_against),
            signed(c.difference.estimate),
            interval(c.difference.low, c.difference.high),
            c.difference.outcome,
        )
    return table
