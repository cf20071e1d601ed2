"""Turn the rows of ``results.json`` into what the results table shows.

Only rows measured under the same conditions (backend, device, precision, input size, batch) stand
in one group and compete for bold; a row that failed parity is shown, and never competes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgekd_bench.record import Row
from edgekd_bench.report_numbers import MISSING, counted, fixed, mean, milliseconds
from edgekd_bench.report_plots import INITS, configuration, measured

SHORT_HASH = 12
_LABEL_LENGTH = 26


@dataclass(frozen=True)
class Column:
    """One measured quantity: where it is in a row, how it is written, which way is better."""

    key: str
    head: str
    unit: str
    value: Callable[[Row], float]
    write: Callable[[float | None], str]
    higher_is_better: bool = False


def _thousandths(value: float | None) -> str:
    return fixed(value, 3)


def _tenths(value: float | None) -> str:
    return fixed(value, 1)


COLUMNS = (
    Column("map50_95", "mAP50-95", "", lambda row: row.map50_95, _thousandths, True),
    Column("map50", "mAP50", "", lambda row: row.map50, _thousandths, True),
    Column("f50", "p50", "ms", lambda row: row.latency_p50_ms, milliseconds),
    Column("f90", "p90", "ms", lambda row: row.latency_p90_ms, milliseconds),
    Column("f99", "p99", "ms", lambda row: row.latency_p99_ms, milliseconds),
    Column("e50", "p50", "ms", lambda row: row.end_to_end_p50_ms, milliseconds),
    Column("e90", "p90", "ms", lambda row: row.end_to_end_p90_ms, milliseconds),
    Column("e99", "p99", "ms", lambda row: row.end_to_end_p99_ms, milliseconds),
    Column("size", "size", "MB", lambda row: row.size_mb, _tenths),
    Column("params", "params", "M", lambda row: row.num_params / 1e6, lambda v: fixed(v, 2)),
)


@dataclass(frozen=True)
class Cell:
    """A figure as text, and whether it is the best of its group."""

    text: str
    best: bool


@dataclass(frozen=True)
class TableRow:
    """One line of the table; ``row`` is None for a line of means."""

    label: str
    init: str
    seed: str
    cells: list[Cell]
    row: Row | None

    @property
    def short_label(self) -> str:
        """The end of a long label: paths differ there."""
        kept = self.label[-_LABEL_LENGTH:]
        return self.label if len(self.label) <= _LABEL_LENGTH else f"…{kept}"


@dataclass(frozen=True)
class TableGroup:
    """Rows measured under the same conditions."""

    title: str
    conditions: str
    rows: list[TableRow]
    means: list[TableRow]


def table_groups(rows: Sequence[Row]) -> list[TableGroup]:
    """Rows grouped by conditions; in a group the baseline of a seed precedes its distilled twin."""
    ordered = sorted(rows, key=lambda row: (*configuration(row), *_seed_order(row)))
    return [_group(list(members)) for _, members in groupby(ordered, key=configuration)]


def _seed_order(row: Row) -> tuple[bool, int, int, str]:
    return row.seed is None, row.seed or 0, INITS.index(row.init), row.model


def _group(rows: list[Row]) -> TableGroup:
    first = rows[0]
    lines = [
        TableRow(
            row.model,
            row.init,
            MISSING if row.seed is None else str(row.seed),
            [Cell(c.write(c.value(row)), _is_best(c, row, rows)) for c in COLUMNS],
            row,
        )
        for row in rows
    ]
    conditions = (
        f"{first.device} · {first.image_size} px · batch {first.batch} · "
        f"{_span([row.num_warmup for row in rows])} warm-up, "
        f"{_span([row.num_timed for row in rows])} timed"
    )
    return TableGroup(f"{first.backend} {first.precision}", conditions, lines, _mean_lines(rows))


def _span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def _is_best(column: Column, row: Row, rows: list[Row]) -> bool:
    """Best as written, so that two equal texts are both bold or neither is."""
    rivals = [column.value(rival) for rival in measured(rows)]
    rivals = [value for value in rivals if math.isfinite(value)]
    texts = {column.write(value) for value in rivals}
    if row.parity == "fail" or len(texts) < 2:
        return False
    best = max(rivals) if column.higher_is_better else min(rivals)
    return column.write(column.value(row)) == column.write(best)


def _mean_lines(rows: list[Row]) -> list[TableRow]:
    lines = []
    for init in INITS:
        members = [row for row in measured(rows) if row.init == init]
        num_seeds = len({row.seed for row in members})
        if num_seeds < 2:
            continue
        cells = [Cell(c.write(mean([c.value(row) for row in members])), False) for c in COLUMNS]
        lines.append(TableRow(f"mean of {counted(num_seeds, 'seed')}", init, "", cells, None))
    return lines
