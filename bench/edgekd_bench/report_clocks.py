"""The three clocks side by side, and what a model costs in throughput and energy.

Device, host and end to end contain one another, so they are drawn as one bar inside the next and
never stacked: percentiles of parts do not add up to the percentile of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from edgekd_bench.record import Row
from edgekd_bench.report_numbers import MISSING, fixed, milliseconds, significant
from edgekd_bench.report_rows import SeedGroup, configuration_name, seed_groups
from edgekd_bench.report_svg import (
    Canvas,
    Drawing,
    Frame,
    Scale,
    draw_vertical_grid,
    shortened,
)

MAX_LINES = 24
_WIDTH = 1040
_PITCH = 30
_Value = Callable[[Row], float | None]
# Outermost first: name, style, and p50, p90, p99 of a row.
_CLOCKS: tuple[tuple[str, str, tuple[_Value, _Value, _Value]], ...] = (
    (
        "end to end",
        "c-end-to-end",
        (
            lambda r: r.end_to_end_p50_ms,
            lambda r: r.end_to_end_p90_ms,
            lambda r: r.end_to_end_p99_ms,
        ),
    ),
    (
        "host",
        "c-host",
        (lambda r: r.latency_p50_ms, lambda r: r.latency_p90_ms, lambda r: r.latency_p99_ms),
    ),
    (
        "device",
        "c-device",
        (lambda r: r.device_p50_ms, lambda r: r.device_p90_ms, lambda r: r.device_p99_ms),
    ),
)


def clock_plot(rows: Sequence[Row], suffix: str = "") -> Drawing | None:
    """p50 of device, host and end-to-end clocks, one line a model; None without rows.

    Args:
        rows: of one machine.
        suffix: makes the plot's name unique on the page.
    """
    groups = seed_groups(rows)
    shown = groups[:MAX_LINES]
    if not shown:
        return None
    tops = [value for group in shown for value in _medians(group) if math.isfinite(value)]
    what = f"p50 of each clock, {len(shown)} of {len(groups)} models."
    words = (f"clocks{suffix}", "Device, host and end-to-end time", what)
    canvas, x = _open(words, 34, len(shown), tops)
    frame = Frame(x.start, 34, x.end, canvas.height - 46)
    draw_vertical_grid(canvas, frame, x, "p50 of one call (ms); each bar lies inside the next")
    left = x.start
    for name, style, _ in _CLOCKS:
        canvas.add("rect", x=left, y=8, width=18, height=11, class_=f"clock {style}")
        canvas.label(left + 24, 18, name, "legend")
        left += 40 + 7 * len(name)
    canvas.label(_WIDTH, 18, "device / host / end to end", "tick", "end")
    for index, group in enumerate(shown):
        _draw_clocks(canvas, x, frame.top + 6 + _PITCH * index, group, rows)
    head = ("model", "runs on", *(f"{name} p50 / p90 / p99, ms" for name, *_ in _CLOCKS))
    return canvas.drawing(head, [_clock_row(group, rows) for group in groups])


def throughput_plot(rows: Sequence[Row], suffix: str = "") -> Drawing | None:
    """Images per second with all images at hand; None where it was not measured."""
    return _quantity_plot(
        (f"throughput{suffix}", "Offline throughput", "images per second"),
        rows,
        lambda row: row.throughput_images_per_s,
        _batches,
    )


def _batches(group: SeedGroup) -> str:
    """How many images were under way while throughput was measured."""
    first = group.rows[0]
    in_flight = first.throughput_in_flight
    several = f", {in_flight} in flight" if in_flight is not None and in_flight > 1 else ""
    return f"batch {first.throughput_batch or first.batch}{several}"


def energy_plot(rows: Sequence[Row], suffix: str = "") -> Drawing | None:
    """Joules per image; None where no power was measured."""
    return _quantity_plot(
        (f"energy{suffix}", "Energy of one image", "joules per image"),
        rows,
        lambda row: row.energy_j_per_image,
        lambda group: f"{fixed(group.mean(lambda row: row.power_w), 1)} W",
    )


def _open(
    words: tuple[str, str, str], top: float, num_lines: int, values: Sequence[float]
) -> tuple[Canvas, Scale]:
    """A canvas (name, title, description) with room for the lines, and an axis from zero."""
    canvas = Canvas(words[0], _WIDTH, top + 6 + _PITCH * num_lines + 46, *words[1:])
    return canvas, Scale(0.0, max([*values, 1e-9]) * 1.05, 330, _WIDTH - 200)


def _label(group: SeedGroup, rows: Sequence[Row]) -> str:
    return f"{shortened(group.name, 24)}, {configuration_name(group.rows[0], rows)}"


def _medians(group: SeedGroup) -> list[float]:
    return [group.mean(percentiles[0]) for *_, percentiles in _CLOCKS]


def _draw_clocks(
    canvas: Canvas, x: Scale, top: float, group: SeedGroup, rows: Sequence[Row]
) -> None:
    medians = _medians(group)
    warning = "! " if group.flags else ""
    canvas.label(x.start - 14, top + 14, warning + _label(group, rows), "", "end")
    for place, ((_, style, _), value) in enumerate(zip(_CLOCKS, medians, strict=True)):
        if math.isfinite(value):
            inset = 4 * place
            canvas.add(
                "rect",
                x=x.start,
                y=top + inset,
                width=max(x(value) - x.start, 1),
                height=20 - 2 * inset,
                class_=f"clock {style}",
            )
    canvas.label(_WIDTH, top + 14, " / ".join(map(milliseconds, medians[::-1])), "tick", "end")
    area = canvas.add("rect", x=0, y=top - 4, width=_WIDTH, height=_PITCH - 2, class_="line-area")
    triples = [(name, _triple(group, percentiles)) for name, _, percentiles in _CLOCKS]
    figures = [f"{name} {text} ms" for name, text in triples if text != MISSING]
    tip = [_label(group, rows), *figures, *(f"! {flag}" for flag in group.flags[:2])]
    canvas.explain(area, (x.start + x.end) / 2, top, "\n".join(tip))


def _triple(group: SeedGroup, percentiles: Sequence[_Value]) -> str:
    """``p50 / p90 / p99``, or a dash where the backend has no such clock."""
    values = [group.mean(percentile) for percentile in percentiles]
    if not any(map(math.isfinite, values)):
        return MISSING
    return " / ".join(map(milliseconds, values))


def _clock_row(group: SeedGroup, rows: Sequence[Row]) -> list[str]:
    runs_on = configuration_name(group.rows[0], rows)
    return [group.name, runs_on, *(_triple(group, percentiles) for *_, percentiles in _CLOCKS)]


def _quantity_plot(
    words: tuple[str, str, str],
    rows: Sequence[Row],
    value: _Value,
    detail: Callable[[SeedGroup], str],
) -> Drawing | None:
    """Plain bars from zero.

    Args:
        words: name on the page, title, axis.
        value: the quantity of a row.
        detail: what stands beside the figure.
    """
    groups = [group for group in seed_groups(rows) if math.isfinite(group.mean(value))]
    shown = groups[:MAX_LINES]
    if not shown:
        return None
    figures = [group.mean(value) for group in shown]
    what = f"{len(shown)} of {len(groups)} models; the table holds the figures."
    canvas, x = _open((*words[:2], what), 12, len(shown), figures)
    frame = Frame(x.start, 12, x.end, canvas.height - 46)
    draw_vertical_grid(canvas, frame, x, words[2])
    for index, (group, figure) in enumerate(zip(shown, figures, strict=True)):
        top = 18 + _PITCH * index
        text = f"{significant(figure)}, {detail(group)}"
        warning = "! " if group.flags else ""
        canvas.label(x.start - 14, top + 12, warning + _label(group, rows), "", "end")
        width = max(x(figure) - x.start, 1)
        canvas.add("rect", x=x.start, y=top, width=width, height=16, class_=f"bar s-{group.init}")
        canvas.label(_WIDTH, top + 12, text, "tick", "end")
        area = canvas.add("rect", x=0, y=top - 5, width=_WIDTH, height=26, class_="line-area")
        canvas.explain(area, x.start + width / 2, top, f"{_label(group, rows)}\n{text} {words[2]}")
    table = [
        [g.name, configuration_name(g.rows[0], rows), significant(g.mean(value)), detail(g)]
        for g in groups
    ]
    return canvas.drawing(("model", "runs on", words[2], ""), table)
