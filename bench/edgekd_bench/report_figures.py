"""The few numbers a reader takes away: which comparison leads the page, and its key figures.

A record may hold many backends; the tiles, the bars by class and the sentences below the headline
must all speak of the same one, so it is chosen here, once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekd_bench.manifest import Init
from edgekd_bench.record import BenchRecord, Comparison, Row
from edgekd_bench.report_numbers import MISSING, mean, signed
from edgekd_bench.report_plots import INITS, configuration, measured
from edgekd_bench.report_tables import COLUMNS, Column

_LARGE_FIRST: tuple[Init, ...] = ("distilled", "other", "baseline")


@dataclass(frozen=True)
class KeyFigure:
    """A tile: the candidate's figure large, below it the baseline's and their difference."""

    label: str
    value: str
    detail: str
    change: str = ""


def lead_comparison(record: BenchRecord) -> Comparison | None:
    """The comparison the verdict leads with: the record's first."""
    return next(iter(record.verdict.comparisons), None)


def lead_rows(record: BenchRecord) -> list[Row]:
    """The rows of the leading comparison; without one, those measured like the first row.

    Only rows that count: a failed parity voids a row here too.
    """
    rows, lead = measured(record.rows), lead_comparison(record)
    if lead is None:
        return [row for row in rows if configuration(row) == configuration(record.rows[0])]
    models = {*lead.baselines, *lead.candidates}
    return [
        row
        for row in rows
        if row.model in models and (row.backend, row.precision) == (lead.backend, lead.precision)
    ]


def key_figures(rows: Sequence[Row]) -> list[KeyFigure]:
    """Tiles for one configuration: means over seeds, the candidate large, the baseline below.

    Args:
        rows: as ``lead_rows`` gives them. Without a candidate the baseline's figure is large.
    """
    tiles = []
    heads = {"f50": "forward p50", "e50": "end to end p50", "size": "file size"}
    for column in COLUMNS:
        if column.key in ("map50_95", "map50", "f50", "e50", "size", "params"):
            label = heads.get(column.key, column.head)
            tiles.append(_tile(label, column, rows))
    return tiles


def _tile(label: str, column: Column, rows: Sequence[Row]) -> KeyFigure:
    means: dict[Init, float] = {
        init: mean([column.value(row) for row in rows if row.init == init]) for init in INITS
    }
    present = [name for name in _LARGE_FIRST if math.isfinite(means[name])]
    if not present:
        return KeyFigure(label, MISSING, "")
    value, baseline = means[present[0]], means["baseline"]
    unit = f" {column.unit}" if column.unit else ""
    text = column.write(value)
    if len(present) < 2 or present[-1] != "baseline":
        return KeyFigure(label, text + unit, present[0])
    digits = len(text.partition(".")[2])
    same = text == column.write(baseline)
    change = "no change" if same else signed(value - baseline, digits) + unit
    return KeyFigure(label, text + unit, f"baseline {column.write(baseline)}", change)
