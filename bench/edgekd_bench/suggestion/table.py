"""A suggestion on a terminal: what meets the budget, the Pareto front first, and what it rests on.

Made for 100 columns, as the benchmark's table.
"""

from __future__ import annotations

from collections import Counter

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgekd_bench.suggestion.result import Option, Suggestion

_SHOWN = ("meets", "borderline")


def suggestion_table(suggestion: Suggestion) -> RenderableType:
    """What to print for a suggestion; readable without colour."""
    shown = [option for option in suggestion.options if option.status in _SHOWN]
    parts: list[RenderableType] = []
    if shown:
        parts.append(_table(suggestion, shown))
    parts.append(Text(headline(suggestion), style="bold"))
    parts += [Text(line) for line in _others(suggestion)]
    parts += [Text(f"! {note}", style="dim") for note in suggestion.notes]
    urls = ", ".join(dict.fromkeys(suggestion.sources.values()))
    parts.append(Text(f"! published figures: {urls}", style="dim"))
    return Group(*parts)


def headline(suggestion: Suggestion) -> str:
    """How many combinations meet the budget, in one sentence."""
    total = len(suggestion.options)
    counts = Counter(option.status for option in suggestion.options)
    budget = f"{suggestion.target_ms:g} ms (p{suggestion.percentile}, network alone, batch 1)"
    if not counts["meets"]:
        return f"None of {total} combinations is known to stay within {budget}."
    front = sum(option.pareto for option in suggestion.options)
    return (
        f"{counts['meets']} of {total} combinations stay within {budget}; {front} of them are on "
        "the Pareto front of their image size."
    )


def _table(suggestion: Suggestion, shown: list[Option]) -> Table:
    table = Table(
        title=f"students on {_machine(suggestion)}",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.title_justify = "left"
    for heading in ("", "student", "px", "numbers", "runs on"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "network ms\np50/p90/p99",
        "overhead\nms p50",
        "COCO mAP\npublished",
        "M par",
        "GFLOPs\nat 640",
        "MB",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for option in shown:
        table.add_row(*_cells(option))
    return table


def _cells(option: Option) -> list[str]:
    timing, choice = option.timing, option.choice
    assert timing is not None, "what is shown was measured"
    overhead = timing.overhead_p50_ms
    mark = "*" if option.pareto else "?" if option.status == "borderline" else ""
    return [
        mark,
        choice.student,
        str(choice.image_size),
        choice.precision,
        choice.backend,
        "/".join(_ms(value) for value in (timing.p50_ms, timing.p90_ms, timing.p99_ms)),
        "" if overhead is None else _ms(max(overhead, 0.0)),
        f"{option.published_map50_95:.1f}",
        f"{timing.num_params / 1e6:.1f}",
        f"{option.published_gflops:g}",
        f"{timing.size_mb:.1f}",
    ]


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _others(suggestion: Suggestion) -> list[str]:
    """One line for each kind of combination that is not in the table."""
    lines = ["* Pareto front of its image size   ? the interval contains the budget"]
    counts = Counter(option.status for option in suggestion.options)
    over = [option for option in suggestion.options if option.status == "over"]
    if over:
        nearest = min(over, key=lambda option: option.timing.p90_ms if option.timing else 0.0)
        lines.append(f"over budget: {len(over)}, the nearest {_name(nearest)}, {nearest.reason}")
    if counts["skipped"]:
        lines.append(
            f"not tried: {counts['skipped']}, because a smaller one misses the budget by far"
        )
    waiting = [option for option in suggestion.options if option.status == "not measured"]
    if waiting:
        lines.append(f"not measured: {len(waiting)}, {waiting[0].reason}")
    return lines


def _name(option: Option) -> str:
    choice = option.choice
    return f"{choice.student} {choice.image_size} px {choice.precision} on {choice.backend}"


def _machine(suggestion: Suggestion) -> str:
    environment = suggestion.environment
    threads = environment.get("threads")
    counted = f", threads limited to {threads}" if threads else ""
    device = suggestion.settings.get("device", "cpu")
    return f"{device} of {environment.get('device_name', 'this machine')}{counted}"
