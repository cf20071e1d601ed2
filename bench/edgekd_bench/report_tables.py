"""Turn the rows of ``results.json`` into what the results table shows.

Only rows measured under the same conditions (machine, backend, device, precision, input size,
batch) stand in one group and compete for bold; a row that failed parity is shown, and never
competes. A quantity nobody measured gets no column, and what was wrong with the machine stands
below its row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgekd_bench.record import Row
from edgekd_bench.report_numbers import MISSING, counted, fixed, milliseconds, significant
from edgekd_bench.report_rows import INITS, configuration, measured, seed_groups
from edgekd_bench.report_runs import Run

_LABEL_LENGTH = 26


@dataclass(frozen=True)
class Column:
    """One measured quantity: where it is in a row, how it is written, which way is better."""

    key: str
    group: str
    head: str
    unit: str
    value: Callable[[Row], float | None]
    write: Callable[[float | None], str]
    higher_is_better: bool = False

    @property
    def title(self) -> str:
        """The heading, with its unit where the heading of its group does not say it."""
        named = not self.unit or self.group.endswith(f", {self.unit}")
        return self.head if named else f"{self.head}, {self.unit}"

    @property
    def full_title(self) -> str:
        """The heading for a table without headings of groups: ``host p50, ms``."""
        whose, _, unit = self.group.partition(", ")
        return f"{whose} {self.head}, {unit}" if unit else self.title


def _tenths(value: float | None) -> str:
    return fixed(value, 1)


def _hundredths(value: float | None) -> str:
    return fixed(value, 2)


_HOST, _WHOLE = "host, ms", "end to end, ms"
COLUMNS = (
    Column("map50_95", "accuracy", "mAP50-95", "", lambda row: row.map50_95, fixed, True),
    Column("map50", "accuracy", "mAP50", "", lambda row: row.map50, fixed, True),
    Column("f50", _HOST, "p50", "ms", lambda row: row.latency_p50_ms, milliseconds),
    Column("f90", _HOST, "p90", "ms", lambda row: row.latency_p90_ms, milliseconds),
    Column("f99", _HOST, "p99", "ms", lambda row: row.latency_p99_ms, milliseconds),
    Column("e50", _WHOLE, "p50", "ms", lambda row: row.end_to_end_p50_ms, milliseconds),
    Column("e90", _WHOLE, "p90", "ms", lambda row: row.end_to_end_p90_ms, milliseconds),
    Column("e99", _WHOLE, "p99", "ms", lambda row: row.end_to_end_p99_ms, milliseconds),
    Column(
        "throughput",
        "offline",
        "images/s",
        "",
        lambda row: row.throughput_images_per_s,
        significant,
        True,
    ),
    Column("energy", "energy", "J/image", "", lambda row: row.energy_j_per_image, significant),
    Column("size", "model", "size", "MB", lambda row: row.size_mb, _tenths),
    Column("params", "model", "params", "M", lambda row: row.num_params / 1e6, _hundredths),
)
_ONLY_ALONE = ("e90", "e99", "params")


@dataclass(frozen=True)
class Cell:
    """A figure as text, whether it is the best of its group, and whether a column group starts."""

    text: str
    best: bool
    starts: bool


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

    run: Run
    title: str
    conditions: str
    rows: list[TableRow]
    means: list[TableRow]
    shared_flags: list[str]

    def own_flags(self, line: TableRow) -> list[str]:
        """What is flagged of a row and not of all its neighbours: that is said once."""
        flags = line.row.flags if line.row is not None else []
        return [flag for flag in flags if flag not in self.shared_flags]


@dataclass(frozen=True)
class ResultsTable:
    """All rows of all runs; ``heads`` are ``(column group, number of columns)``."""

    columns: list[Column]
    heads: list[tuple[str, int]]
    groups: list[TableGroup]


def results_table(runs: Sequence[Run]) -> ResultsTable:
    """Rows grouped by machine and conditions; a seed's baseline precedes its candidate.

    A column nobody measured is left out. Where several runs need a column for the machine, the tail
    of the end-to-end clock makes room for it: it stands with the clocks too.
    """
    rows = [row for run in runs for row in run.record.rows]
    columns = [
        column
        for column in COLUMNS
        if (len(runs) == 1 or column.key not in _ONLY_ALONE)
        and (not rows or any(column.value(row) is not None for row in rows))
    ]
    groups = [
        _group(run, list(members), columns)
        for run in runs
        for _, members in groupby(sorted(run.record.rows, key=_order), key=configuration)
    ]
    heads = [(name, len(list(found))) for name, found in groupby(c.group for c in columns)]
    return ResultsTable(columns, heads, groups)


def _order(row: Row) -> tuple[object, ...]:
    seed = (row.seed is None, row.seed or 0)
    return (*configuration(row), *seed, INITS.index(row.init), row.model)


def _group(run: Run, rows: list[Row], columns: Sequence[Column]) -> TableGroup:
    first = rows[0]
    lines = [
        TableRow(
            row.model,
            row.init,
            MISSING if row.seed is None else str(row.seed),
            _cells([column.value(row) for column in columns], columns, row, rows),
            row,
        )
        for row in rows
    ]
    conditions = (
        f"{first.device} · {first.image_size} px · batch {first.batch} · "
        f"{_span([row.num_warmup for row in rows])} warm-up, "
        f"{_span([row.num_timed for row in rows])} timed"
    )
    title = f"{first.backend} {first.precision}"
    shared = [flag for flag in first.flags if all(flag in row.flags for row in rows)]
    return TableGroup(
        run,
        title,
        conditions,
        lines,
        _mean_lines(rows, columns),
        shared if len(rows) > 1 else [],
    )


def _cells(
    values: Sequence[float | None], columns: Sequence[Column], row: Row | None, rivals: list[Row]
) -> list[Cell]:
    before = ["", *(column.group for column in columns)]
    return [
        Cell(
            column.write(value),
            row is not None and _is_best(column, row, rivals),
            column.group != before[index] and index > 0,
        )
        for index, (column, value) in enumerate(zip(columns, values, strict=True))
    ]


def _span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def _is_best(column: Column, row: Row, rows: list[Row]) -> bool:
    """Best as written, so that two equal texts are both bold or neither is."""
    found = [column.value(rival) for rival in measured(rows)]
    rivals = [value for value in found if value is not None and math.isfinite(value)]
    texts = {column.write(value) for value in rivals}
    if row.parity == "fail" or len(texts) < 2:
        return False
    best = max(rivals) if column.higher_is_better else min(rivals)
    return column.write(column.value(row)) == column.write(best)


def _mean_lines(rows: list[Row], columns: Sequence[Column]) -> list[TableRow]:
    lines = []
    groups = seed_groups(rows)
    for group in sorted(groups, key=lambda group: INITS.index(group.init)):
        if len(group.rows) < 2:
            continue
        alone = [other.init for other in groups].count(group.init) == 1
        label = f"mean of {counted(len(group.rows), 'seed')}"
        means = [group.mean(column.value) for column in columns]
        lines.append(
            TableRow(
                label if alone else f"{group.name}, {label}",
                group.init,
                "",
                _cells(means, columns, None, rows),
                None,
            )
        )
    return lines
