"""The benchmark's answer on a terminal: a few lines a model, then what to make of them in words.

Made for 100 columns, because that is what a terminal beside an editor has; what does not fit
(classes, hashes, full precision) is in ``results.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgekd_bench.record import BenchRecord, Row
from edgekd_bench.self_check import describe_check

_VERDICT_STYLES = {"better": "bold green", "worse": "bold red"}
_CHECK_STYLES = {True: "dim", False: "bold red"}
_MAX_FLAGS = 8
_MAX_NAMES = 2


def results_table(record: BenchRecord) -> RenderableType:
    """What to print for a record; readable without colour."""
    table = Table(
        title=_title(record),
        caption=_caption(record),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.title_justify = table.caption_justify = "left"
    table.add_column("model", overflow="fold", min_width=15)
    table.add_column("runs on", no_wrap=True)
    for heading in (
        "mAP\n50-95",
        "mAP\n50",
        "host ms\np50/p90/p99",
        "end-to-end ms\np50/p90/p99",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("parity", no_wrap=True)
    for row in record.rows:
        table.add_row(*_cells(row))
    style = _VERDICT_STYLES.get(record.verdict.outcome, "bold")
    return Group(
        table,
        *(Text(describe_check(c), style=_CHECK_STYLES[c.passed]) for c in record.self_checks),
        *(Text(f"! {flag}", style="yellow") for flag in flag_lines(record.rows)),
        Text(record.verdict.headline, style=style),
    )


def flag_lines(rows: Sequence[Row]) -> list[str]:
    """Each flag once, with the models it is about where these are not all."""
    bearers: dict[str, list[Row]] = {}
    for row in rows:
        for flag in row.flags:
            bearers.setdefault(flag, []).append(row)
    lines = [f"{flag}{_whose(bearing, rows)}" for flag, bearing in bearers.items()]
    hidden = len(lines) - _MAX_FLAGS
    return lines[:_MAX_FLAGS] + ([f"{hidden} more flags in results.json"] if hidden > 0 else [])


def _whose(bearing: Sequence[Row], rows: Sequence[Row]) -> str:
    if len(bearing) == len(rows):
        return ""
    backend = bearing[0].backend
    if list(bearing) == [row for row in rows if row.backend == backend] and len(bearing) > 1:
        return f" (all on {backend})"
    names = [f"{row.model} on {row.backend}" for row in bearing[:_MAX_NAMES]]
    more = len(bearing) - len(names)
    return f" ({', '.join(names)}{f' and {more} more' if more else ''})"


def _cells(row: Row) -> list[str]:
    kind = row.init if row.seed is None else f"{row.init}, seed {row.seed}"
    return [
        f"{row.model}\n{kind}",
        f"{row.backend}\n{row.precision} {row.image_size} px",
        f"{row.map50_95:.3f}",
        f"{row.map50:.3f}",
        _times(row.latency_p50_ms, row.latency_p90_ms, row.latency_p99_ms) + _device(row),
        _times(row.end_to_end_p50_ms, row.end_to_end_p90_ms, row.end_to_end_p99_ms) + _rate(row),
        f"{row.size_mb:.1f} MB" + (f"\n{row.num_params / 1e6:.2f} M par" if row.num_params else ""),
        row.parity,
    ]


def any_class_means(rows: Sequence[Row]) -> str:
    """``baseline 0.466, distilled 0.456``: means by init; empty where there is one class."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.map50_95_any_class is not None and len(row.map50_95_per_class) > 1:
            found.setdefault(row.init, []).append(row.map50_95_any_class)
    return ", ".join(f"{init} {sum(v) / len(v):.3f}" for init, v in found.items())


def _times(*values: float) -> str:
    """Three significant figures are what a latency can carry."""
    return "/".join(f"{v:.2f}" if v < 10 else f"{v:.1f}" if v < 100 else f"{v:.0f}" for v in values)


def _device(row: Row) -> str:
    """On a CPU both clocks see the same work, and a second figure would only look like more."""
    if row.device_p50_ms is None or row.device == "cpu":
        return ""
    return f"\ndevice {_times(row.device_p50_ms)}"


def _rate(row: Row) -> str:
    rate = row.throughput_images_per_s
    figures = [] if rate is None else [f"{_times(rate)} img/s"]
    if row.energy_j_per_image is not None:
        figures.append(f"{_times(row.energy_j_per_image)} J")
    return "\n" + ", ".join(figures) if figures else ""


def _title(record: BenchRecord) -> str:
    data = record.data
    return f"{data.get('name')} {data.get('split')}, {data.get('num_images')} images"


def _caption(record: BenchRecord) -> str:
    environment = record.environment
    cpu = environment.get("board") or environment.get("cpu", "unknown processor")
    cores = environment.get("cpu_cores_usable", environment.get("cpu_cores", "?"))
    devices = ", ".join(sorted({row.device for row in record.rows}))
    batch = record.rows[0].batch if record.rows else 1
    timed = min((row.num_timed for row in record.rows), default=0)
    warmup = min((row.num_warmup for row in record.rows), default=0)
    machine = f"{cpu}, {cores} cores"
    counts = f"at least {warmup} warm-up and {timed} timed calls"
    lines = [f"on {devices} of {machine}; batch {batch}; {counts}"]
    if any_class := any_class_means(record.rows):
        lines.append(f"mAP50-95 of the boxes alone, whatever their class: {any_class}")
    return "\n".join(lines)
