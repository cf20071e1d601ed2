"""The few numbers a reader takes away: which comparison leads the page, and its key figures.

A record may hold many backends; the tiles, the bars by class and the sentences below the headline
must all speak of the same one, so it is chosen here, once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekd_bench.record import BenchRecord, Comparison
from edgekd_bench.report_numbers import MISSING, mean, signed
from edgekd_bench.report_rows import Series
from edgekd_bench.report_tables import COLUMNS, Column


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


def key_figures(series: Sequence[Series]) -> list[KeyFigure]:
    """Tiles: means over seeds, the candidate large, the baseline below.

    Args:
        series: as ``series_of`` gives them. Without a candidate the baseline's figure is large.
    """
    tiles = []
    heads = {"f50": "host p50", "e50": "end to end p50", "size": "file size"}
    for column in COLUMNS:
        if column.key in ("map50_95", "map50", "f50", "e50", "size", "params"):
            label = heads.get(column.key, column.head)
            tiles.append(_tile(label, column, series))
    return tiles


def _tile(label: str, column: Column, series: Sequence[Series]) -> KeyFigure:
    means: list[tuple[Series, float]] = []
    for side in series:
        average = mean([v for row in side.rows if (v := column.value(row)) is not None])
        if math.isfinite(average):
            means.append((side, average))
    if not means:
        return KeyFigure(label, MISSING, "")
    (first, before), (last, after) = means[0], means[-1]
    unit = f" {column.unit}" if column.unit else ""
    text = column.write(after)
    if first is last or first.style != "baseline":
        return KeyFigure(label, text + unit, last.name)
    digits = len(text.partition(".")[2])
    same = text == column.write(before)
    change = "no change" if same else signed(after - before, digits) + unit
    return KeyFigure(label, text + unit, f"baseline {column.write(before)}", change)
