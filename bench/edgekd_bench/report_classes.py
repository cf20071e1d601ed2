"""mAP per class as bars: where a distilled backbone helps and where it costs.

An average hides a class that got worse. Each bar is the mean over seeds with every seed marked on
it, so that a difference smaller than the spread between seeds is seen to be so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from edgekd_bench.manifest import Init
from edgekd_bench.record import Row
from edgekd_bench.report_numbers import fixed, mean
from edgekd_bench.report_plots import FULL_WIDTH, INITS, measured
from edgekd_bench.report_svg import Canvas, Frame, Scale, draw_legend, draw_vertical_grid, shortened

MAX_CLASSES = 20
_BAR_PITCH = 13


def class_plot(rows: Sequence[Row]) -> tuple[Markup, int, int] | None:
    """mAP50-95 per class as bars, averaged over seeds, each seed a tick on its bar.

    Args:
        rows: one configuration (backend, precision) only; others would mix unlike things.

    Returns:
        The plot, how many classes it shows and how many there are; None where no row has classes.
        Of many classes, those that differ most between baseline and distilled are shown.
    """
    rows = measured(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.map50_95_per_class))
    inits = [init for init in INITS if any(r.init == init and r.map50_95_per_class for r in rows)]
    if not names:
        return None
    values = {(init, name): _class_values(rows, init, name) for init in inits for name in names}
    shown = _most_different(names, values)
    row_height = 16 + 13 * len(inits)
    height = 44 + row_height * len(shown) + 46
    canvas = Canvas(
        "per-class",
        FULL_WIDTH,
        height,
        "mAP50-95 per class",
        "Bars: " + ", ".join(inits) + f"; {len(shown)} of {len(names)} classes, mean over seeds.",
    )
    frame = Frame(180, 36, FULL_WIDTH - 120, height - 46)
    x = Scale(0, 1, frame.left, frame.right)
    draw_vertical_grid(canvas, frame, x, "mAP50-95")
    draw_legend(canvas, frame.left, 16, [("square", f"bar s-{init}", init) for init in inits])
    for index, name in enumerate(shown):
        top = frame.top + 8 + row_height * index
        middle = top + 13 * len(inits) / 2
        canvas.label(frame.left - 14, middle + 4, shortened(name, 23), "", "end")
        for place, init in enumerate(inits):
            _draw_bar(canvas, x, top + 13 * place, init, name, values[init, name])
        _draw_difference(canvas, middle, [values[init, name] for init in inits], inits)
    return canvas.markup(), len(shown), len(names)


def _class_values(rows: Sequence[Row], init: Init, name: str) -> list[float]:
    found = [
        r.map50_95_per_class[name] for r in rows if r.init == init and name in r.map50_95_per_class
    ]
    return [value for value in found if math.isfinite(value)]


def _most_different(names: list[str], values: dict[tuple[Init, str], list[float]]) -> list[str]:
    """At most ``MAX_CLASSES`` names, in their own order."""

    def distance(name: str) -> float:
        pair = [mean(values.get((init, name), [])) for init in ("baseline", "distilled")]
        gap = abs(pair[1] - pair[0])
        return gap if math.isfinite(gap) else 0.0

    chosen = set(sorted(names, key=distance, reverse=True)[:MAX_CLASSES])
    return [name for name in names if name in chosen]


def _draw_bar(
    canvas: Canvas, x: Scale, y: float, init: Init, name: str, values: list[float]
) -> None:
    average = mean(values)
    if not math.isfinite(average):
        canvas.label(x.start + 4, y + 9, "not measured", "tick")
        return
    seeds = ", ".join(fixed(value) for value in values)
    hover = f"{name}, {init}: mAP50-95 {fixed(average)}" + (
        f" (seeds: {seeds})" * (len(values) > 1)
    )
    end = x(min(max(average, 0.0), 1.0))
    canvas.add(
        "rect",
        x=x.start,
        y=y,
        width=max(end - x.start, 1),
        height=11,
        class_=f"bar s-{init}",
        hover=hover,
    )
    if len(values) > 1:
        for value in values:
            canvas.line(x(value), y + 1.5, x(value), y + 9.5, "seed-tick")


def _draw_difference(
    canvas: Canvas, y: float, values: list[list[float]], inits: Sequence[Init]
) -> None:
    """The figures at the right edge: the mean, or baseline → distilled."""
    averages = [mean(found) for found in values]
    text = " → ".join(fixed(average) for average in averages[:2])
    if "other" in inits and len(inits) > 1:
        text = " / ".join(fixed(average) for average in averages)
    canvas.label(FULL_WIDTH, y + 4, text, "tick", "end")
