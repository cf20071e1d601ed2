"""Draw the histories of distillation and training as line plots.

Thin lines are single seeds, thick lines their mean: a reader sees at a glance whether baseline and
distilled differ by more than one seed differs from the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekd_bench.report_curves import History, Points, TrainingHistory, mean_curve
from edgekd_bench.report_numbers import fixed
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

_WIDTH, _HEIGHT = 510, 300
_MAX_POINTS = 240
_MAX_DOTS = 32
_MAX_LEVELS = 4
_NAMED_INITS = ("baseline", "distilled")


@dataclass(frozen=True)
class Line:
    """One curve; ``legend`` is empty for a curve that shares another's entry."""

    name: str
    style: str
    points: Points
    legend: str = ""
    thin: bool = False


def line_plot(
    name: str, title: str, y_title: str, lines: Sequence[Line], best: str = ""
) -> Drawing | None:
    """Curves over epochs; None where no curve has a point.

    Args:
        best: name of the line whose highest point is marked, if any.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    epochs = [epoch for line in lines for epoch, _ in line.points]
    last_values = ", ".join(f"{line.name} {fixed(line.points[-1][1])}" for line in lines[:12])
    description = (
        f"{len(lines)} curves, epochs {min(epochs):g} to {max(epochs):g}; at the end {last_values}."
    )
    canvas = Canvas(name, _WIDTH, _HEIGHT, title, description)
    frame = Frame(52, 62, _WIDTH - 12, _HEIGHT - 46)
    first, last = min(epochs), max(epochs)
    x = Scale(first, last if last > first else first + 1, frame.left, frame.right)
    values = [value for line in lines for _, value in line.points]
    y = Scale(*padded(values), frame.bottom, frame.top)
    draw_axes(canvas, frame, x, y, "epoch", y_title)
    for line in lines:
        _draw_line(canvas, line, x, y)
    draw_legend(canvas, frame.left, 16, [("line", _stroke(e), e.legend) for e in lines if e.legend])
    for line in lines:
        if line.name == best:
            _mark_best(canvas, line, x, y, frame)
    return canvas.drawing(("epoch", *(line.name for line in lines)), _table(lines))


def _table(lines: Sequence[Line]) -> list[list[str]]:
    """The values of all curves at the epochs of the longest, thinned as the drawing is."""
    tables = [dict(line.points) for line in lines]
    epochs = thinned([(epoch, 0.0) for epoch in sorted(set().union(*tables))], _MAX_DOTS)
    return [
        [f"{epoch:g}", *(fixed(table.get(epoch), 4) for table in tables)] for epoch, _ in epochs
    ]


def _stroke(line: Line) -> str:
    return f"curve {line.style}" + (" thin" if line.thin else "")


def _draw_line(canvas: Canvas, line: Line, x: Scale, y: Scale) -> None:
    points = thinned(line.points, _MAX_POINTS)
    path = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)
    canvas.add("polyline", points=path, class_=_stroke(line), hover=line.name)
    radius = 1.8 if line.thin else 2.6
    for epoch, value in thinned(line.points, _MAX_DOTS):
        hover = f"{line.name}, epoch {epoch:g}: {value:.4g}"
        draw_mark(canvas, "circle", x(epoch), y(value), radius, f"vertex {line.style}", hover)


def thinned(points: Points, limit: int) -> Points:
    """At most ``limit`` points, evenly spaced, with the first and the last kept."""
    if len(points) <= limit:
        return points
    step = (len(points) - 1) / (limit - 1)
    return [points[round(index * step)] for index in range(limit)]


def _mark_best(canvas: Canvas, line: Line, x: Scale, y: Scale, frame: Frame) -> None:
    epoch, value = max(line.points, key=lambda point: point[1])
    draw_mark(canvas, "circle", x(epoch), y(value), 5, f"ring {line.style}")
    text = f"best {fixed(value)} at epoch {epoch:g}"
    canvas.label(frame.right, frame.top - 12, text, "tick", "end")


def distillation_plots(history: History, suffix: str = "") -> list[Drawing]:
    """Held-out cosine and loss, overall and per level where the history has levels."""
    cosine = _level_lines(history, "heldout_cosine", "heldout_cosine/")
    loss = _level_lines(history, "loss", "loss/")
    plots = [
        line_plot(
            f"distill-cosine{suffix}",
            "Held-out cosine similarity to the teacher, by epoch",
            "held-out cosine",
            cosine,
            best="heldout_cosine",
        ),
        line_plot(f"distill-loss{suffix}", "Distillation loss, by epoch", "training loss", loss),
    ]
    return [plot for plot in plots if plot is not None]


def _level_lines(history: History, overall: str, prefix: str) -> list[Line]:
    lines = [Line(overall, "s-level0", history.points(overall), "all levels")]
    levels = sorted(name for name in history.columns if name.startswith(prefix))
    # A loss of several terms (loss/p4/cosine, loss/p4/smooth_l1 …) is drawn by its first term.
    terms = [name.removeprefix(prefix).partition("/")[2] for name in levels]
    levels = [name for name, term in zip(levels, terms, strict=True) if term == terms[0]]
    for index, name in enumerate(levels[:_MAX_LEVELS], start=1):
        legend = shortened(name.removeprefix(prefix).replace("/", " "), 12)
        lines.append(Line(name, f"s-level{index}", history.points(name), legend, thin=True))
    return lines


def training_plots(histories: Sequence[TrainingHistory], suffix: str = "") -> list[Drawing]:
    """Validation mAP50-95 and training loss, every seed thin, the mean of several seeds thick."""
    validation = [(h.init, h.seed, h.validation) for h in histories]
    loss = [(h.init, h.seed, h.loss) for h in histories]
    plots = [
        line_plot(
            f"train-map{suffix}",
            "Validation mAP50-95 while training, by epoch",
            "validation mAP50-95",
            _seed_lines(validation),
        ),
        line_plot(
            f"train-loss{suffix}",
            "Training loss, by epoch",
            "training loss, summed",
            _seed_lines(loss),
        ),
    ]
    return [plot for plot in plots if plot is not None]


def _seed_lines(curves: Sequence[tuple[str, int, Points]]) -> list[Line]:
    lines: list[Line] = []
    for init in dict.fromkeys(init for init, _, _ in curves):
        style = f"s-{init}" if init in _NAMED_INITS else "s-other"
        seeds = [(seed, points) for name, seed, points in curves if name == init and points]
        if len(seeds) == 1:
            seed, points = seeds[0]
            lines.append(Line(f"{init}, seed {seed}", style, points, shortened(init, 16)))
            continue
        lines += [Line(f"{init}, seed {seed}", style, points, thin=True) for seed, points in seeds]
        average = mean_curve([points for _, points in seeds])
        legend = f"{shortened(init, 16)}, mean of {len(seeds)}"
        lines.append(Line(f"{init}, mean of {len(seeds)} seeds", style, average, legend))
    return sorted(lines, key=lambda line: not line.thin)
