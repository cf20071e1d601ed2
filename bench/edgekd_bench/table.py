"""The benchmark's answer on a terminal: one line a model, then the verdict in words.

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

_VERDICT_STYLES = {"better": "bold green", "worse": "bold red"}


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
        "forward ms\np50/p90/p99",
        "end-to-end ms\np50/p90/p99",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("parity", no_wrap=True)
    for row in record.rows:
        table.add_row(*_cells(row))
    style = _VERDICT_STYLES.get(record.verdict.outcome, "bold")
    return Group(table, Text(record.verdict.headline, style=style))


def _cells(row: Row) -> list[str]:
    kind = row.init if row.seed is None else f"{row.init}, seed {row.seed}"
    return [
        f"{row.model}\n{kind}",
        f"{row.backend}\n{row.precision} {row.image_size} px",
        f"{row.map50_95:.3f}",
        f"{row.map50:.3f}",
        _times(row.latency_p50_ms, row.latency_p90_ms, row.latency_p99_ms),
        _times(row.end_to_end_p50_ms, row.end_to_end_p90_ms, row.end_to_end_p99_ms),
        f"{row.size_mb:.1f} MB\n{row.num_params / 1e6:.2f} M par",
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
