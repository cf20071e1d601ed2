"""The distribution of single calls: a model is felt at its p99, not at its mean.

From the 101 quantiles of a row a histogram is drawn as it is, not smoothed and to its very last
call; below it stand p50, p90 and p99 with their intervals. Rows without quantiles (records of
earlier versions) show the three percentiles alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from edgekd_bench.record import Row
from edgekd_bench.report_numbers import MISSING, milliseconds
from edgekd_bench.report_rows import INITS, configuration, configuration_name, measured
from edgekd_bench.report_svg import (
    Canvas,
    Drawing,
    Frame,
    Scale,
    draw_vertical_grid,
    padded,
    shortened,
)

MAX_LINES = 16
_WIDTH = 1040
_PITCH = 48
_CLOUD = 28.0
_NUM_BINS = 120
_LOG_FROM = 2  # times the fastest call, from which a linear axis would hide the bulk
_FIELDS = ("latency_p50_ms", "latency_p90_ms", "latency_p99_ms")
_TICKS = {"latency_p50_ms": 30, "latency_p90_ms": 18, "latency_p99_ms": 10}  # height, px
_HEAD = (
    *("model", "kind", "seed", "p50, ms", "p90, ms", "p99, ms"),
    *("slowest, ms", "outliers", "first call, ms"),
)


def latency_plots(rows: Sequence[Row], suffix: str = "") -> list[tuple[str, Drawing]]:
    """``(conditions, plot)`` for each configuration; at most ``MAX_LINES`` rows are drawn each.

    Args:
        rows: of one machine.
        suffix: makes the plots' names unique on the page.
    """
    counted = sorted(measured(rows), key=configuration)
    plots: list[tuple[str, Drawing]] = []
    for _, group in groupby(counted, key=configuration):
        members = sorted(group, key=_order)
        first = members[0]
        title = configuration_name(first, rows)
        name = f"latency-{len(plots)}{suffix}"
        conditions = f"{first.device} · {first.image_size} px · batch {first.batch}"
        plots.append((f"{title} · {conditions}", _panel(name, title, members)))
    return plots


def _order(row: Row) -> tuple[bool, int, int, str]:
    return row.seed is None, row.seed or 0, INITS.index(row.init), row.model


def _panel(name: str, title: str, rows: Sequence[Row]) -> Drawing:
    shown = rows[:MAX_LINES]
    height = 40 + _PITCH * len(shown) + 48
    canvas = Canvas(
        name,
        _WIDTH,
        height,
        f"Distribution of latency, host clock, {title}",
        f"{len(shown)} of {len(rows)} rows. "
        + "; ".join(f"{row.model}: {_percentiles(row)} ms" for row in shown[:6]),
    )
    frame = Frame(230, 34, _WIDTH - 150, height - 48)
    low, high = _extent(shown)
    log = low > 0 and high / low > _LOG_FROM
    note = ", logarithmic" if log else ""
    x = Scale(low * 0.95 if log else low, high, frame.left, frame.right, log)
    draw_vertical_grid(canvas, frame, x, f"latency of one call, host clock (ms{note})")
    canvas.label(_WIDTH, frame.top - 12, "p50 / p90 / p99, ms", "tick", "end")
    for index, row in enumerate(shown):
        _draw_row(canvas, x, frame.top + _PITCH * (index + 1) - 14, row)
    return canvas.drawing(_HEAD, [_table_row(row) for row in rows])


def _extent(rows: Sequence[Row]) -> tuple[float, float]:
    """Every call of every row; the axis leaves nothing out."""
    values = [
        value
        for row in rows
        for value in (*row.latency_quantiles_ms, *(getattr(row, field) for field in _FIELDS))
        if math.isfinite(value) and value > 0
    ]
    low, high = padded(values, 0.04)
    return (low if low > 0 else min(values) * 0.98), high


def _percentiles(row: Row) -> str:
    return " / ".join(milliseconds(getattr(row, field)) for field in _FIELDS)


def _draw_row(canvas: Canvas, x: Scale, y: float, row: Row) -> None:
    """Cloud above the line at ``y``, percentiles through it, intervals below it."""
    label = shortened(row.model, 30)
    canvas.label(x.start - 14, y, f"! {label}" if row.flags else label, "", "end")
    canvas.label(_WIDTH, y, _percentiles(row), "tick", "end")
    canvas.line(x.start, y, x.end, y, f"ground s-{row.init}")
    if len(row.latency_quantiles_ms) == 101 and all(map(math.isfinite, row.latency_quantiles_ms)):
        outline = _cloud(row.latency_quantiles_ms, x, y)
        canvas.add("polygon", points=outline, class_=f"cloud s-{row.init}")
    for field in _FIELDS:
        value = getattr(row, field)
        if not (math.isfinite(value) and x.low <= value <= x.high):
            continue
        canvas.line(x(value), y - _TICKS[field], x(value), y + 4, f"percentile s-{row.init}")
        span = row.latency_intervals_ms.get(field)
        if span is not None and all(map(math.isfinite, span)):
            ends = [x(min(max(bound, x.low), x.high)) for bound in span]
            canvas.line(ends[0], y + 7, ends[1], y + 7, f"span s-{row.init}")
    area = canvas.add(
        "rect", x=0, y=y - _CLOUD - 4, width=_WIDTH, height=_PITCH - 4, class_="line-area"
    )
    canvas.explain(area, x(row.latency_p50_ms), y - _CLOUD, _tip(row))


def _cloud(quantiles: Sequence[float], x: Scale, y: float) -> str:
    """The outline of a histogram whose tallest bin is ``_CLOUD`` high.

    The quantiles are the inverse of the distribution function at each percent; between two of them
    calls are spread evenly, so a bin holds exactly the share of calls that fell into it.
    """
    places = np.linspace(0.0, 1.0, _NUM_BINS + 1)
    edges = x.low * (x.high / x.low) ** places if x.log else x.low + (x.high - x.low) * places
    # Equal quantiles would leave the distribution function without a value there.
    rising = np.maximum.accumulate(np.asarray(quantiles)) + np.arange(101) * 1e-9
    shares = np.diff(np.interp(edges, rising, np.linspace(0.0, 1.0, 101)))
    heights = _CLOUD * shares / max(float(shares.max()), 1e-12)
    corners = [(x.start, y)]
    for index, height in enumerate(heights.tolist()):
        left, right = x(float(edges[index])), x(float(edges[index + 1]))
        corners += [(left, y - height), (right, y - height)]
    corners.append((x.end, y))
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in _without_flat_runs(corners))


def _without_flat_runs(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Leave out corners on a straight level line: most bins of a narrow distribution are empty."""
    kept = list(corners[:1])
    for before, here, after in zip(corners, corners[1:], corners[2:], strict=False):
        if not (math.isclose(before[1], here[1]) and math.isclose(here[1], after[1])):
            kept.append(here)
    return [*kept, corners[-1]]


def _with_interval(row: Row, field: str) -> str:
    span = row.latency_intervals_ms.get(field)
    value = milliseconds(getattr(row, field))
    return (
        value if span is None else f"{value} ({milliseconds(span[0])} to {milliseconds(span[1])})"
    )


def _tip(row: Row) -> str:
    figures = [f"p{field[9:11]} {_with_interval(row, field)}" for field in _FIELDS]
    lines = [row.model, ", ".join(figures) + " ms", f"{row.num_timed} calls timed"]
    if row.latency_quantiles_ms:
        lines[-1] += f", slowest {milliseconds(row.latency_quantiles_ms[-1])} ms"
    if row.num_outliers is not None:
        lines[-1] += f", {row.num_outliers} outliers"
    if row.first_call_ms is not None:
        lines.append(f"the very first call: {milliseconds(row.first_call_ms)} ms")
    return "\n".join([*lines, *(f"! {flag}" for flag in row.flags[:2])])


def _table_row(row: Row) -> tuple[str, ...]:
    slowest = row.latency_quantiles_ms[-1] if row.latency_quantiles_ms else None
    return (
        row.model,
        row.init,
        MISSING if row.seed is None else str(row.seed),
        *(_with_interval(row, field) for field in _FIELDS),
        milliseconds(slowest),
        MISSING if row.num_outliers is None else f"{row.num_outliers} of {row.num_timed}",
        milliseconds(row.first_call_ms),
    )
