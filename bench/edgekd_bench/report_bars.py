"""mAP by class and by object size as bars, the baseline beside the candidate.

An average hides a class that got worse and an object size that is never found. Each bar is the mean
over seeds with every seed marked on it, so that a difference smaller than the spread between seeds
is seen to be so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgekd_bench.record import Row
from edgekd_bench.report_numbers import fixed, mean
from edgekd_bench.report_rows import Series
from edgekd_bench.report_svg import (
    Canvas,
    Drawing,
    Frame,
    Scale,
    draw_legend,
    draw_vertical_grid,
    shortened,
)

MAX_CLASSES = 20
_WIDTH = 1040
_PITCH = 13
_SIZES = {
    "small": "small, below 32² px",
    "medium": "medium, 32² to 96² px",
    "large": "large, above 96² px",
}
_Values = dict[tuple[str, str], list[float]]  # by series and class or size, one a seed


@dataclass(frozen=True)
class ClassBars:
    """The plot, how many classes it shows and how many there are."""

    drawing: Drawing
    num_shown: int
    num_classes: int


def class_plot(series: Sequence[Series], suffix: str = "") -> ClassBars | None:
    """mAP50-95 per class; None where no row has classes.

    Args:
        series: what is compared, as ``series_of`` gives it.
        suffix: makes the plot's name unique on the page.

    Of many classes, those that differ most between baseline and candidate are drawn; the table
    holds all.
    """
    values, present = _collect(series, lambda row: row.map50_95_per_class)
    names = list(dict.fromkeys(name for _, name in values))
    if not names:
        return None
    shown = _most_different(names, values)
    words = (f"per-class{suffix}", "mAP50-95 per class", "not measured")
    drawing = _bars(words, {name: name for name in shown}, values, present, names)
    return ClassBars(drawing, len(shown), len(names))


def size_plot(series: Sequence[Series], suffix: str = "") -> Drawing | None:
    """mAP50-95 by object size as COCO defines it; None where no row has it."""
    values, present = _collect(
        series,
        lambda row: {
            name: math.nan if value is None else value
            for name, value in row.map50_95_by_size.items()
        },
    )
    names = [*_SIZES, *sorted({name for _, name in values} - set(_SIZES))]
    names = [name for name in names if any(key[1] == name for key in values)]
    if not names:
        return None
    words = (f"by-size{suffix}", "mAP50-95 by object size", "no such object")
    labels = {name: _SIZES.get(name, name) for name in names}
    return _bars(words, labels, values, present, names)


def any_class_means(series: Sequence[Series]) -> str:
    """``baseline 0.466, distilled 0.456``: boxes whatever their class; empty for one class."""
    found = []
    for side in series:
        values = [
            row.map50_95_any_class
            for row in side.rows
            if row.map50_95_any_class is not None and len(row.map50_95_per_class) > 1
        ]
        if values:
            found.append(f"{side.name} {fixed(mean(values))}")
    return ", ".join(found)


def _collect(
    series: Sequence[Series], choose: Callable[[Row], Mapping[str, float]]
) -> tuple[_Values, list[Series]]:
    """Values by series and name, and the series that have any."""
    values: _Values = {}
    for side in series:
        for row in side.rows:
            for name, value in choose(row).items():
                found = values.setdefault((side.name, name), [])
                if math.isfinite(value):
                    found.append(value)
    return values, [side for side in series if any(key[0] == side.name for key in values)]


def _most_different(names: list[str], values: _Values) -> list[str]:
    """At most ``MAX_CLASSES`` names, in their own order."""

    def distance(name: str) -> float:
        found = [mean(numbers) for (_, other), numbers in values.items() if other == name]
        finite = [value for value in found if math.isfinite(value)]
        return max(finite) - min(finite) if finite else 0.0

    chosen = set(sorted(names, key=distance, reverse=True)[:MAX_CLASSES])
    return [name for name in names if name in chosen]


def _bars(
    words: tuple[str, str, str],
    labels: Mapping[str, str],
    values: _Values,
    series: Sequence[Series],
    listed: Sequence[str],
) -> Drawing:
    """Bars for the names in ``labels``; the table holds every name in ``listed``.

    Args:
        words: name on the page, title, and what a missing value means.
        labels: what the names to draw are called.
        values: one a seed; empty where there is none.
        series: what is compared.
        listed: names of the table.
    """
    line_height = 16 + _PITCH * len(series)
    height = 44 + line_height * len(labels) + 46
    seeds = max(map(len, values.values()), default=1)
    what = (
        f"Bars: {', '.join(side.name for side in series)}; {len(labels)} of {len(listed)} names"
        + (f", mean over {seeds} seeds." if seeds > 1 else ".")
    )
    canvas = Canvas(words[0], _WIDTH, height, words[1], what)
    frame = Frame(180, 36, _WIDTH - 120, height - 46)
    x = Scale(0, 1, frame.left, frame.right)
    draw_vertical_grid(canvas, frame, x, "mAP50-95")
    draw_legend(
        canvas, frame.left, 16, [("square", f"bar s-{side.style}", side.name) for side in series]
    )
    for index, (name, label) in enumerate(labels.items()):
        top = frame.top + 8 + line_height * index
        bars = [(side, values.get((side.name, name), [])) for side in series]
        _draw_line(canvas, x, top, label, bars)
        if not any(found for _, found in bars):
            canvas.label(x.start + 6, top + _PITCH * len(series) / 2 + 4, words[2], "tick")
    table = [
        [name, *(_text(values.get((side.name, name), [])) for side in series)] for name in listed
    ]
    return canvas.drawing(("", *(side.name for side in series)), table)


def _text(values: Sequence[float]) -> str:
    seeds = f" (seeds {', '.join(map(fixed, values))})" if len(values) > 1 else ""
    return fixed(mean(list(values))) + seeds


def _draw_line(
    canvas: Canvas, x: Scale, top: float, label: str, bars: Sequence[tuple[Series, list[float]]]
) -> None:
    """One name with a bar an init, its figures at the right edge."""
    middle = top + _PITCH * len(bars) / 2
    canvas.label(x.start - 14, middle + 4, shortened(label, 23), "", "end")
    for place, (side, values) in enumerate(bars):
        _draw_bar(canvas, x, top + _PITCH * place, side, values)
    averages = [fixed(mean(values)) for _, values in bars]
    arrow = " → " if len(bars) == 2 and bars[0][0].style == "baseline" else " / "
    canvas.label(_WIDTH, middle + 4, arrow.join(averages), "tick", "end")
    area = canvas.add(
        "rect", x=0, y=top - 6, width=_WIDTH, height=_PITCH * len(bars) + 10, class_="line-area"
    )
    tip = "\n".join([label, *(f"{side.name} {_text(values)}" for side, values in bars)])
    canvas.explain(area, (x.start + x.end) / 2, top, tip)


def _draw_bar(canvas: Canvas, x: Scale, y: float, side: Series, values: list[float]) -> None:
    average = mean(values)
    if not math.isfinite(average):
        return
    width = max(x(min(max(average, 0.0), 1.0)) - x.start, 1)
    canvas.add("rect", x=x.start, y=y, width=width, height=11, class_=f"bar s-{side.style}")
    if len(values) > 1:
        for value in values:
            canvas.line(x(value), y + 1.5, x(value), y + 9.5, "seed-tick")
