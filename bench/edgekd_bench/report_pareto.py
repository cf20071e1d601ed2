"""mAP against latency, the plot a model is chosen from.

The front runs through means over seeds: a front through single seeds would be made of lucky ones.
Shape tells baseline from candidate, so the plot reads without colour, and a point from a flagged
measurement carries a mark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekd_bench.record import Comparison, Row
from edgekd_bench.report_numbers import fixed, mean, milliseconds
from edgekd_bench.report_rows import (
    INITS,
    SHAPES,
    SeedGroup,
    configuration,
    configuration_name,
    measured,
    pareto_front,
    references,
    seed_groups,
    sides,
)
from edgekd_bench.report_svg import (
    Canvas,
    Drawing,
    Frame,
    Scale,
    draw_axes,
    draw_legend,
    draw_mark,
    padded,
    shortened,
)

SAME_LATENCY = 0.01  # the effect below which a comparison calls no model slower either
_WIDTH = 1040
_HEIGHT = 430
_MAX_RADIUS = 13.0
_LOG_FROM = 8  # times the fastest, from which a linear axis would squeeze the fast models
_HEAD = ("model", "kind", "runs on", "seeds", "mAP50-95", "host p50, ms", "MB", "on the front")


@dataclass(frozen=True)
class _Point:
    """A group of seeds with its means."""

    group: SeedGroup
    latency: float
    accuracy: float
    size_mb: float
    runs_on: str
    style: str  # hollow where others are compared with it


def accuracy_range(rows: Sequence[Row]) -> tuple[float, float] | None:
    """The mAP axis that fits ``rows``: panels of one page share it."""
    found = [row.map50_95 for row in measured(rows)]
    return padded(found, 0.12) if found else None


def pareto_plot(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison] = (),
    *,
    name: str = "accuracy-latency",
    title: str = "mAP50-95 against latency",
    accuracy: tuple[float, float] | None = None,
) -> Drawing | None:
    """One point a model, its area the size of the file; None where no row counts.

    Args:
        rows: of one machine.
        comparisons: whose two sides are joined by a thin line.
        name: unique on the page.
        title: for readers who cannot see the plot.
        accuracy: the mAP axis; None: fitted to ``rows``.
    """
    compared_with = references(comparisons, rows)
    points = [_point(group, rows, compared_with) for group in seed_groups(rows)]
    if not points:
        return None
    front = pareto_front([(point.latency, point.accuracy) for point in points], SAME_LATENCY)
    canvas = Canvas(name, _WIDTH, _HEIGHT, title, _description(points, front))
    frame = Frame(52, 58, _WIDTH - 16, _HEIGHT - 52)
    latencies = [row.latency_p50_ms for row in measured(rows)]
    log = max(latencies) / min(latencies) > _LOG_FROM
    x = Scale(*_latency_range(latencies, log), frame.left, frame.right, log)
    y = Scale(*(accuracy or padded(_accuracies(points), 0.12)), frame.bottom, frame.top + 24)
    note = ", logarithmic" if log else ""
    draw_axes(canvas, frame, x, y, f"latency p50, host clock (ms{note})", "mAP50-95")
    _draw_front(canvas, frame, x, y, [points[index] for index in front])
    _draw_pairs(canvas, points, comparisons, x, y)
    largest = max(point.size_mb for point in points)
    for point in sorted(points, key=lambda point: -point.size_mb):
        _draw_point(canvas, point, x, y, largest)
    for point in points:
        _draw_seeds(canvas, point, x, y)
    _draw_names(canvas, points, x, y, frame)
    _draw_key(canvas, frame, points, largest)
    return canvas.drawing(_HEAD, [_table_row(p, i in front) for i, p in enumerate(points)])


def _point(group: SeedGroup, rows: Sequence[Row], compared_with: set[int]) -> _Point:
    hollow = any(id(row) in compared_with for row in group.rows)
    return _Point(
        group,
        group.mean(lambda row: row.latency_p50_ms),
        group.mean(lambda row: row.map50_95),
        group.mean(lambda row: row.size_mb),
        configuration_name(group.rows[0], rows),
        f"dot s-{group.init}" + " hollow" * hollow,
    )


def _accuracies(points: Sequence[_Point]) -> list[float]:
    return [row.map50_95 for point in points for row in point.group.rows]


def _description(points: Sequence[_Point], front: Sequence[int]) -> str:
    best = ", then ".join(
        f"{points[i].group.name} on {points[i].runs_on} with {fixed(points[i].accuracy)} at "
        f"{milliseconds(points[i].latency)} ms"
        for i in front[:6]
    )
    return (
        f"{len(points)} points. Right is slower, up is more accurate; the area of a point is the "
        f"size of the model file. The Pareto front, fastest first: {best}."
    )


def _latency_range(latencies: Sequence[float], log: bool) -> tuple[float, float]:
    if log:
        return min(latencies) * 0.8, max(latencies) * 1.25
    low, high = padded(latencies, 0.1)
    return max(0.0, low), high


def _draw_front(canvas: Canvas, frame: Frame, x: Scale, y: Scale, front: Sequence[_Point]) -> None:
    """A staircase: what can be had at each latency."""
    corners = [(x(front[0].latency), frame.bottom)]
    for point in front:
        corners += [(x(point.latency), corners[-1][1]), (x(point.latency), y(point.accuracy))]
    corners.append((frame.right, corners[-1][1]))
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    canvas.add("polyline", points=path, class_="front")


def _draw_pairs(
    canvas: Canvas,
    points: Sequence[_Point],
    comparisons: Sequence[Comparison],
    x: Scale,
    y: Scale,
) -> None:
    """A thin line from each baseline to its candidate."""
    for comparison in comparisons:
        ends = [
            next((p for p in points if any(row in side for row in p.group.rows)), None)
            for side in sides(comparison, [row for point in points for row in point.group.rows])
        ]
        first, second = ends
        if first is not None and second is not None:
            start = x(first.latency), y(first.accuracy)
            canvas.line(*start, x(second.latency), y(second.accuracy), "pair")


def _draw_seeds(canvas: Canvas, point: _Point, x: Scale, y: Scale) -> None:
    """The single seeds as small marks, or the interval of the only one."""
    rows, init = point.group.rows, point.group.init
    if len(rows) == 1:
        span = rows[0].latency_intervals_ms.get("latency_p50_ms")
        if span is not None and all(x.low <= bound <= x.high for bound in span):
            height = y(point.accuracy)
            canvas.line(x(span[0]), height, x(span[1]), height, f"spread s-{init}")
        return
    for row in rows:
        place = x(row.latency_p50_ms), y(row.map50_95)
        canvas.line(*place, x(point.latency), y(point.accuracy), f"spread s-{init}")
        draw_mark(canvas, SHAPES[init], *place, 3, f"seed s-{init}")


def _draw_point(canvas: Canvas, point: _Point, x: Scale, y: Scale, largest: float) -> None:
    place = x(point.latency), y(point.accuracy)
    radius = _radius(point.size_mb, largest)
    mark = draw_mark(canvas, SHAPES[point.group.init], *place, radius, point.style)
    canvas.explain(mark, *place, _tip(point))
    if point.group.flags:
        canvas.label(place[0] + radius + 2, place[1] - radius + 3, "!", "warning")


def _radius(size_mb: float, largest: float) -> float:
    share = size_mb / largest if largest > 0 and math.isfinite(size_mb) else 0.0
    return max(4.0, _MAX_RADIUS * math.sqrt(max(0.0, share)))


def _tip(point: _Point) -> str:
    group = point.group
    first = group.rows[0]
    seeds = f", mean of {len(group.rows)} seeds" if len(group.rows) > 1 else ""
    p99 = group.mean(lambda row: row.latency_p99_ms)
    lines = [
        f"{group.name} ({group.init}{seeds})",
        f"{point.runs_on}, {first.device}, {first.image_size} px, batch {first.batch}",
        f"mAP50-95 {fixed(point.accuracy)}, host p50 {milliseconds(point.latency)} ms, "
        f"p99 {milliseconds(p99)} ms, {fixed(point.size_mb, 1)} MB",
    ]
    return "\n".join([*lines, *(f"! {flag}" for flag in group.flags[:2])])


def _draw_names(canvas: Canvas, points: Sequence[_Point], x: Scale, y: Scale, frame: Frame) -> None:
    """Name each cluster above or below it, at the nearest place no other name has."""
    taken: list[tuple[float, float, float]] = []
    for name, members in _clusters(points):
        half = 3.8 * len(name)
        centre = mean([x(point.latency) for point in members])
        centre = min(max(centre, frame.left + half), frame.right - half)
        heights = [y(row.map50_95) for point in members for row in point.group.rows]
        places = _places(min(heights), max(heights))
        free = [
            place
            for place in places
            if frame.top - 4 <= place <= frame.bottom - 4
            and not any(abs(place - b) < 14 and abs(centre - a) < half + h for a, b, h in taken)
        ]
        place = free[0] if free else places[0]
        taken.append((centre, place, half))
        canvas.label(centre, place, name, "cluster", "middle")


def _clusters(points: Sequence[_Point]) -> list[tuple[str, list[_Point]]]:
    """Points to name together: a configuration, or each model where it holds several of a kind."""
    by_configuration: dict[tuple[object, ...], list[_Point]] = {}
    for point in points:
        by_configuration.setdefault(configuration(point.group.rows[0]), []).append(point)
    found = []
    for members in by_configuration.values():
        kinds = [member.group.init for member in members]
        if len(kinds) == len(set(kinds)):
            found.append((members[0].runs_on, members))
        else:
            found += [(shortened(m.group.name.partition(".")[0], 22), [m]) for m in members]
    return found


def _places(top: float, bottom: float) -> list[float]:
    """Heights for a name, best first: just above the points, just below, then further off."""
    above, below = top - _MAX_RADIUS - 5, bottom + _MAX_RADIUS + 14
    return [height for step in range(5) for height in (above - 14 * step, below + 14 * step)]


def _draw_key(canvas: Canvas, frame: Frame, points: Sequence[_Point], largest: float) -> None:
    styles = {point.style: point.group.init for point in points}
    entries = [
        (SHAPES[init], style, f"{init}, compared with" if _reused(init, style) else str(init))
        for style, init in sorted(styles.items(), key=lambda item: INITS.index(item[1]))
    ]
    entries.append(("line", "front", "Pareto front"))
    end = draw_legend(canvas, frame.left, 16, entries)
    note = f"largest point: {fixed(largest, 1)} MB"
    if any(point.group.flags for point in points):
        note += "; ! flagged"
    canvas.label(end + 4, 16, note, "legend")


def _reused(init: str, style: str) -> bool:
    """A model that serves as the baseline although its training was none."""
    return init != "baseline" and style.endswith("hollow")


def _table_row(point: _Point, on_front: bool) -> tuple[str, ...]:
    return (
        point.group.name,
        point.group.init,
        point.runs_on,
        str(len(point.group.rows)),
        fixed(point.accuracy),
        milliseconds(point.latency),
        fixed(point.size_mb, 1),
        "yes" if on_front else "no",
    )
