"""The plots of the whole measurement: mAP against latency, and the intervals of each comparison.

They show rows and intervals exactly as ``results.json`` holds them. Nothing is smoothed and no
verdict is drawn that the record did not reach: colour names the model's origin, and only the forest
plot colours by outcome, because there the interval is on the page beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

from markupsafe import Markup

from edgekd_bench.manifest import Init
from edgekd_bench.record import Comparison, Interval, Row
from edgekd_bench.report_numbers import fixed, mean, milliseconds, signed
from edgekd_bench.report_svg import (
    Canvas,
    Frame,
    Scale,
    draw_axes,
    draw_legend,
    draw_mark,
    draw_vertical_grid,
    padded,
    shortened,
)

INITS: tuple[Init, ...] = ("baseline", "distilled", "other")
SHAPES: dict[Init, str] = {"baseline": "circle", "distilled": "diamond", "other": "square"}
FULL_WIDTH = 1040
_MAX_RADIUS = 13.0


def measured(rows: Sequence[Row]) -> list[Row]:
    """The rows that count: parity not failed, accuracy and latency finite."""
    return [
        row
        for row in rows
        if row.parity != "fail"
        and math.isfinite(row.map50_95)
        and math.isfinite(row.latency_p50_ms)
        and row.latency_p50_ms > 0
    ]


def accuracy_latency_plot(rows: Sequence[Row]) -> Markup | None:
    """mAP50-95 against forward latency; area is file size. None where no row counts."""
    rows = measured(rows)
    if not rows:
        return None
    canvas = Canvas(
        "accuracy-latency",
        FULL_WIDTH,
        420,
        "mAP50-95 against forward latency",
        f"{len(rows)} measurements. Right is slower, up is more accurate; the area of a point is "
        "the size of the model file. The table above holds every figure.",
    )
    frame = Frame(52, 58, FULL_WIDTH - 16, 368)
    latencies = [row.latency_p50_ms for row in rows]
    log = max(latencies) / min(latencies) > 8
    x = Scale(*_latency_range(latencies, log), frame.left, frame.right, log)
    y = Scale(*padded((row.map50_95 for row in rows), 0.12), frame.bottom, frame.top + 24)
    scale_note = ", logarithmic" if log else ""
    draw_axes(canvas, frame, x, y, f"forward latency p50 (ms{scale_note})", "mAP50-95")
    _draw_pairs(canvas, rows, x, y)
    largest = max(row.size_mb for row in rows)
    for row in sorted(rows, key=lambda row: -row.size_mb):
        position = x(row.latency_p50_ms), y(row.map50_95)
        radius = _radius(row.size_mb, largest)
        class_ = f"dot s-{row.init}"
        draw_mark(canvas, SHAPES[row.init], *position, radius, class_, _row_hover(row))
    _draw_cluster_names(canvas, rows, x, y, frame)
    present = [init for init in INITS if any(row.init == init for row in rows)]
    entries = [(SHAPES[init], f"dot s-{init}", str(init)) for init in present]
    end = draw_legend(canvas, frame.left, 16, entries)
    canvas.label(end + 4, 16, f"largest point: {fixed(largest, 1)} MB", "legend")
    return canvas.markup()


def _latency_range(latencies: Sequence[float], log: bool) -> tuple[float, float]:
    if log:
        return min(latencies) * 0.8, max(latencies) * 1.25
    low, high = padded(latencies, 0.1)
    return max(0.0, low), high


def _radius(size_mb: float, largest: float) -> float:
    share = size_mb / largest if largest > 0 and math.isfinite(size_mb) else 0.0
    return max(4.0, _MAX_RADIUS * math.sqrt(max(0.0, share)))


def _row_hover(row: Row) -> str:
    seed = "" if row.seed is None else f", seed {row.seed}"
    return (
        f"{row.model} ({row.init}{seed})\n{row.backend}, {row.precision}, {row.device}\n"
        f"mAP50-95 {fixed(row.map50_95)}, forward p50 {milliseconds(row.latency_p50_ms)} ms, "
        f"p99 {milliseconds(row.latency_p99_ms)} ms, {fixed(row.size_mb, 1)} MB"
    )


def configuration(row: Row) -> tuple[str, str, str, int, int]:
    """What must be equal for two rows to be compared."""
    return row.backend, row.precision, row.device, row.image_size, row.batch


def _draw_pairs(canvas: Canvas, rows: Sequence[Row], x: Scale, y: Scale) -> None:
    """A thin line from each baseline to the distilled model of the same seed and backend."""
    for first in rows:
        for second in rows:
            if (
                (first.init, second.init) == ("baseline", "distilled")
                and first.seed == second.seed
                and configuration(first) == configuration(second)
            ):
                start = x(first.latency_p50_ms), y(first.map50_95)
                end = x(second.latency_p50_ms), y(second.map50_95)
                canvas.line(*start, *end, "pair")


def _draw_cluster_names(
    canvas: Canvas, rows: Sequence[Row], x: Scale, y: Scale, frame: Frame
) -> None:
    """Name each group of points above or below it, at the nearest place no other name has."""
    taken: list[tuple[float, float, float]] = []
    ordered = sorted(rows, key=configuration)
    clusters = [list(members) for _, members in groupby(ordered, key=configuration)]
    names = [f"{cluster[0].backend} {cluster[0].precision}" for cluster in clusters]
    for cluster, name in zip(clusters, names, strict=True):
        if names.count(name) > 1:
            name += f", {shortened(cluster[0].device, 24)}, {cluster[0].image_size} px"
        half = 3.8 * len(name)
        centre = mean([x(row.latency_p50_ms) for row in cluster])
        centre = min(max(centre, frame.left + half), frame.right - half)
        places = _places(
            min(y(row.map50_95) for row in cluster), max(y(r.map50_95) for r in cluster)
        )
        free = [
            place
            for place in places
            if frame.top - 4 <= place <= frame.bottom - 4
            and not any(abs(place - b) < 14 and abs(centre - a) < half + h for a, b, h in taken)
        ]
        place = free[0] if free else places[0]
        taken.append((centre, place, half))
        canvas.label(centre, place, name, "cluster", "middle")


def _places(top: float, bottom: float) -> list[float]:
    """Heights for a name, best first: just above the points, just below, then further off."""
    above, below = top - _MAX_RADIUS - 5, bottom + _MAX_RADIUS + 14
    return [height for step in range(5) for height in (above - 14 * step, below + 14 * step)]


def difference_plot(comparisons: Sequence[Comparison]) -> Markup | None:
    """Distilled minus baseline mAP50-95 with its interval, one line a comparison."""
    return _forest(
        "map-difference",
        "Difference in mAP50-95, distilled minus baseline",
        "mAP50-95, candidate minus baseline (right of the line: the candidate is better)",
        [(comparison, comparison.map50_95_difference) for comparison in comparisons],
        0.0,
        lambda value: signed(value, 3),
    )


def ratio_plot(comparisons: Sequence[Comparison]) -> Markup | None:
    """Distilled over baseline latency with its interval, one line a comparison."""
    return _forest(
        "latency-ratio",
        "Ratio of forward latency p50, distilled over baseline",
        "forward latency p50, candidate over baseline (left of the line: the candidate is faster)",
        [(comparison, comparison.latency_p50_ratio) for comparison in comparisons],
        1.0,
        lambda value: fixed(value, 3),
    )


def _forest(
    name: str,
    title: str,
    axis_title: str,
    entries: Sequence[tuple[Comparison, Interval]],
    neutral: float,
    write: Callable[[float], str],
) -> Markup | None:
    bounds = [(i.low, i.estimate, i.high) for _, i in entries]
    finite = [value for triple in bounds for value in triple if math.isfinite(value)]
    if not finite:
        return None
    height = 24 + 34 * len(entries) + 50
    canvas = Canvas(name, FULL_WIDTH, height, title, f"{len(entries)} intervals of 95 %.")
    frame = Frame(210, 14, FULL_WIDTH - 300, height - 48)
    x = Scale(*padded([*finite, neutral], 0.12), frame.left, frame.right)
    draw_vertical_grid(canvas, frame, x, axis_title)
    canvas.line(x(neutral), frame.top - 8, x(neutral), frame.bottom, "neutral")
    for index, (comparison, interval) in enumerate(entries):
        y = frame.top + 22 + 34 * index
        label = f"{comparison.backend} {comparison.precision}"
        canvas.label(frame.left - 16, y + 4, shortened(label, 32), "", "end")
        span = f"{write(interval.low)} to {write(interval.high)}"
        canvas.label(frame.right + 16, y + 4, write(interval.estimate), "strong")
        canvas.label(frame.right + 76, y + 4, span, "tick")
        canvas.label(FULL_WIDTH, y + 4, interval.outcome, f"strong o-{interval.outcome}", "end")
        if not all(map(math.isfinite, (interval.low, interval.estimate, interval.high))):
            continue
        class_ = f"o-{interval.outcome}"
        hover = f"{label}: {write(interval.estimate)}, 95 % interval {span}\n{interval.method}"
        canvas.line(x(interval.low), y, x(interval.high), y, f"whisker {class_}")
        for end in (interval.low, interval.high):
            canvas.line(x(end), y - 5, x(end), y + 5, f"whisker {class_}")
        draw_mark(canvas, "circle", x(interval.estimate), y, 6, f"estimate {class_}", hover)
    return canvas.markup()
