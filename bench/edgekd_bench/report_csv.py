"""Records as CSV, for spreadsheets and for scripts that would rather not read JSON.

One line a row with every single-valued field of the record under the record's own name; intervals,
object sizes and flags are flattened, and what has a length of its own (quantiles, classes) stays in
``results.json``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from edgekd_bench.record import Row
from edgekd_bench.report_compare import RunComparison
from edgekd_bench.report_runs import Run

_NOT_SCALAR = (
    "map50_95_per_class",
    "map50_per_class",
    "latency_quantiles_ms",
    "latency_intervals_ms",
    "map50_95_by_size",
    "flags",
)
_SIZES = ("small", "medium", "large")


def rows_csv(runs: Sequence[Run]) -> str:
    """One line a row of every run, with the run's and the machine's name before it."""
    rows = [(run, row) for run in runs for row in run.record.rows]
    intervals = list(dict.fromkeys(key for _, row in rows for key in row.latency_intervals_ms))
    scalars = [name for name in Row.model_fields if name not in _NOT_SCALAR]
    head = [
        "run",
        "machine",
        *scalars,
        *(f"{key}_{end}" for key in intervals for end in ("low", "high")),
        *(f"map50_95_{size}" for size in _SIZES),
        "flags",
    ]
    lines = [
        [
            run.name,
            run.machine,
            *(getattr(row, name) for name in scalars),
            *(bound for key in intervals for bound in row.latency_intervals_ms.get(key, ("", ""))),
            *(row.map50_95_by_size.get(size) for size in _SIZES),
            "; ".join(row.flags),
        ]
        for run, row in rows
    ]
    return _written(head, lines)


def changes_csv(comparison: RunComparison) -> str:
    """One line a matched pair."""
    head = [
        *("model_before", "model_after", "backend", "precision", "device_before", "device_after"),
        *("image_size", "batch", "same_file", "map50_95_before", "map50_95_after"),
        *("map50_95_difference", "map50_95_reading", "latency_p50_ms_before"),
        *("latency_p50_ms_after", "latency_p50_ratio", "latency_p50_ratio_low"),
        *("latency_p50_ratio_high", "latency_p50_reading", "end_to_end_p50_ratio"),
        *("latency_p99_ratio", "energy_ratio", "flags"),
    ]
    lines = [
        [
            *(change.before.model, change.after.model, change.after.backend),
            *(change.after.precision, change.before.device, change.after.device),
            *(change.after.image_size, change.after.batch, change.same_file),
            *(change.before.map50_95, change.after.map50_95),
            *(change.map_difference, change.map_reading),
            *(change.before.latency_p50_ms, change.after.latency_p50_ms),
            *(change.latency.estimate, change.latency.low, change.latency.high),
            *(change.latency.reading, change.end_to_end.estimate),
            change.ratio(lambda row: row.latency_p99_ms),
            change.ratio(lambda row: row.energy_j_per_image),
            "; ".join([*change.before.flags, *change.after.flags]),
        ]
        for change in comparison.changes
    ]
    return _written(head, lines)


def _written(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """What is not known or not a number becomes an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    for line in lines:
        writer.writerow(["" if value is None or value != value else value for value in line])
    return stream.getvalue()
