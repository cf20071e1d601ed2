"""Which rows of a record count, which belong together, and what is best among them.

Tables, plots and sentences must agree on this, so it is decided once: a failed parity voids a row
everywhere, seeds of one model are one contender, and only rows measured alike compete.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgekd_bench.manifest import Init
from edgekd_bench.record import Comparison, Row
from edgekd_bench.report_numbers import mean

INITS: tuple[Init, ...] = ("baseline", "distilled", "other")
SHAPES: dict[Init, str] = {"baseline": "circle", "distilled": "diamond", "other": "square"}
_SEED = re.compile(r"[-_.]?seed[-_]?\d+", re.IGNORECASE)


def measured(rows: Iterable[Row]) -> list[Row]:
    """The rows that count: parity not failed, accuracy and latency finite."""
    return [
        row
        for row in rows
        if row.parity != "fail"
        and math.isfinite(row.map50_95)
        and math.isfinite(row.latency_p50_ms)
        and row.latency_p50_ms > 0
    ]


def configuration(row: Row) -> tuple[str, str, str, int, int]:
    """What must be equal for two rows to be compared."""
    return row.backend, row.precision, row.device, row.image_size, row.batch


def configuration_name(row: Row, rows: Sequence[Row]) -> str:
    """``onnxruntime fp32``, and as much more as tells it apart from the others in ``rows``."""
    name = f"{row.backend} {row.precision}"
    rivals = {configuration(r) for r in rows if (r.backend, r.precision) == configuration(row)[:2]}
    for text, differs in (
        (row.device, len({rival[2] for rival in rivals}) > 1),
        (f"{row.image_size} px", len({rival[3] for rival in rivals}) > 1),
        (f"batch {row.batch}", len({rival[4] for rival in rivals}) > 1),
    ):
        name += f", {text}" if differs else ""
    return name


def family(row: Row) -> str:
    """The model's name without its seed: ``distilled-seed2.onnx`` → ``distilled.onnx``."""
    return row.model if row.seed is None else _SEED.sub("", row.model)


@dataclass(frozen=True)
class SeedGroup:
    """One model under one configuration: its seeds, or the single row it has."""

    name: str
    init: Init
    rows: list[Row]

    def mean(self, value: Callable[[Row], float | None]) -> float:
        """Mean of ``value`` over the seeds that have it; NaN where none has."""
        return mean([found for row in self.rows if (found := value(row)) is not None])

    @property
    def flags(self) -> list[str]:
        """What was wrong with the machine while any of the seeds was timed."""
        return list(dict.fromkeys(flag for row in self.rows for flag in row.flags))


def seed_groups(rows: Iterable[Row]) -> list[SeedGroup]:
    """Rows that count, grouped over seeds, in the order they come in."""
    groups: dict[tuple[object, ...], SeedGroup] = {}
    for row in measured(rows):
        key = (*configuration(row), row.init, family(row))
        groups.setdefault(key, SeedGroup(family(row), row.init, [])).rows.append(row)
    return list(groups.values())


def pareto_front(points: Sequence[tuple[float, float]], same: float = 0.0) -> list[int]:
    """Indices of the points no other beats, fastest first.

    Args:
        points: ``(latency, accuracy)``; lower latency and higher accuracy are better.
        same: share of a latency below which a model is not called slower, so that the luck of a
            measurement keeps no inaccurate model on the front.
    """

    def beaten(point: tuple[float, float]) -> bool:
        latency, accuracy = point
        return any(
            (a > accuracy and t <= latency * (1 + same)) or (a >= accuracy and t < latency)
            for t, a in points
        )

    unbeaten = [index for index, point in enumerate(points) if not beaten(point)]
    return sorted(unbeaten, key=lambda index: points[index])


def sides(comparison: Comparison, rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows that count on the baseline's and on the candidate's side of a comparison."""
    counted = measured(rows)
    before = (
        comparison.baseline_backend or comparison.backend,
        comparison.baseline_precision or comparison.precision,
    )
    after = (comparison.backend, comparison.precision)
    return (
        [r for r in counted if r.model in comparison.baselines and _runs_on(r) == before],
        [r for r in counted if r.model in comparison.candidates and _runs_on(r) == after],
    )


def _runs_on(row: Row) -> tuple[str, str]:
    return row.backend, row.precision


def comparison_name(comparison: Comparison) -> str:
    """``onnxruntime fp32``, or ``tensorrt fp16 against onnxruntime fp32``."""
    name = f"{comparison.backend} {comparison.precision}"
    backend = comparison.baseline_backend or comparison.backend
    precision = comparison.baseline_precision or comparison.precision
    reference = f"{backend} {precision}"
    return name if reference == name else f"{name} against {reference}"


def references(comparisons: Iterable[Comparison], rows: Sequence[Row]) -> set[int]:
    """``id`` of each row that others are compared with, whatever its training started from."""
    compared = [row for comparison in comparisons for row in sides(comparison, rows)[0]]
    return {id(row) for row in (*compared, *(row for row in rows if row.init == "baseline"))}


@dataclass(frozen=True)
class Series:
    """One side of what a plot compares: its name, its style, and one row a seed."""

    name: str
    style: Init
    rows: list[Row]


def series_of(comparison: Comparison | None, rows: Sequence[Row]) -> list[Series]:
    """The sides of a comparison; without one, the rows measured like the first, by init."""
    if comparison is None:
        alike = [r for r in measured(rows) if configuration(r) == configuration(rows[0])]
        found = [Series(init, init, [r for r in alike if r.init == init]) for init in INITS]
        return [series for series in found if series.rows]
    before, after = sides(comparison, rows)
    distilled = all(row.init == "distilled" for row in after) and comparison.kind == "training"
    found = [
        Series("baseline", "baseline", before),
        Series("distilled" if distilled else "candidate", _candidate_style(after), after),
    ]
    return [series for series in found if series.rows]


def _candidate_style(rows: Sequence[Row]) -> Init:
    """Never the baseline's, which is for the other side."""
    return "distilled" if all(row.init == "distilled" for row in rows) else "other"


def flagged(rows: Iterable[Row]) -> list[Row]:
    """Rows timed on a machine that was throttled, busy or otherwise not itself."""
    return [row for row in rows if row.flags]
