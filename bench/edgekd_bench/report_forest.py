"""Intervals on one axis: how large a difference is, and how sure one may be of it.

Only here does colour follow the outcome, because the interval it rests on is drawn beside it and
the word stands at the end of the line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekd_bench.record import Comparison, Interval
from edgekd_bench.report_numbers import fixed, signed
from edgekd_bench.report_rows import comparison_name
from edgekd_bench.report_svg import (
    Canvas,
    Drawing,
    Frame,
    Scale,
    draw_mark,
    draw_vertical_grid,
    padded,
    shortened,
)

_WIDTH = 1040
_LINE_HEIGHT = 34


@dataclass(frozen=True)
class ForestLine:
    """One estimate with its interval; ``low`` and ``high`` are NaN where there is none."""

    label: str
    estimate: float
    low: float
    high: float
    word: str
    style: str  # ``o-better``, ``o-worse``, ``o-undecided`` or ``o-none``
    method: str = ""


@dataclass(frozen=True)
class ForestWords:
    """What a forest plot is about: its name on the page, title, axis, and where nothing changes."""

    name: str
    title: str
    axis: str
    neutral: float
    write: Callable[[float], str]


def difference_plot(
    comparisons: Sequence[Comparison], subject: str = "candidate", suffix: str = ""
) -> Drawing | None:
    """Candidate minus baseline mAP50-95 with its interval, one line a comparison."""
    words = ForestWords(
        f"map-difference{suffix}",
        f"Difference in mAP50-95, {subject} minus baseline",
        f"mAP50-95, {subject} minus baseline (right: the {subject} is better)",
        0.0,
        signed,
    )
    return forest_plot(words, _lines(comparisons, lambda c: c.map50_95_difference))


def ratio_plot(
    comparisons: Sequence[Comparison], subject: str = "candidate", suffix: str = ""
) -> Drawing | None:
    """Candidate over baseline latency with its interval, one line a comparison."""
    words = ForestWords(
        f"latency-ratio{suffix}",
        f"Ratio of latency p50, host clock, {subject} over baseline",
        f"latency p50, host clock, {subject} over baseline (left: the {subject} is faster)",
        1.0,
        fixed,
    )
    return forest_plot(words, _lines(comparisons, lambda c: c.latency_p50_ratio))


def _lines(
    comparisons: Sequence[Comparison], choose: Callable[[Comparison], Interval]
) -> list[ForestLine]:
    lines = []
    for comparison in comparisons:
        found = choose(comparison)
        lines.append(
            ForestLine(
                comparison_name(comparison),
                found.estimate,
                found.low,
                found.high,
                found.outcome,
                f"o-{found.outcome}",
                found.method,
            )
        )
    return lines


def forest_plot(words: ForestWords, lines: Sequence[ForestLine]) -> Drawing | None:
    """Every line with its figures at the right; None where no figure is finite."""
    values = [value for line in lines for value in (line.low, line.estimate, line.high)]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    height = 24 + _LINE_HEIGHT * len(lines) + 50
    what = f"{len(lines)} lines: " + "; ".join(
        f"{line.label} {_figures(words, line)}, {line.word}" for line in lines[:8]
    )
    canvas = Canvas(words.name, _WIDTH, height, words.title, what)
    frame = Frame(280, 14, _WIDTH - 320, height - 48)
    x = Scale(*padded([*finite, words.neutral], 0.12), frame.left, frame.right)
    draw_vertical_grid(canvas, frame, x, words.axis)
    canvas.line(x(words.neutral), frame.top - 8, x(words.neutral), frame.bottom, "neutral")
    for index, line in enumerate(lines):
        _draw_line(canvas, frame, x, frame.top + 22 + _LINE_HEIGHT * index, words, line)
    return canvas.drawing(
        ("what", "estimate", "95 % interval", "reading", "method"),
        [
            (line.label, words.write(line.estimate), _span(words, line), line.word, line.method)
            for line in lines
        ],
    )


def _span(words: ForestWords, line: ForestLine) -> str:
    if not (math.isfinite(line.low) and math.isfinite(line.high)):
        return "no interval"
    return f"{words.write(line.low)} to {words.write(line.high)}"


def _figures(words: ForestWords, line: ForestLine) -> str:
    return f"{words.write(line.estimate)} ({_span(words, line)})"


def _draw_line(
    canvas: Canvas, frame: Frame, x: Scale, y: float, words: ForestWords, line: ForestLine
) -> None:
    canvas.label(frame.left - 16, y + 4, shortened(line.label, 36), "", "end")
    canvas.label(frame.right + 16, y + 4, words.write(line.estimate), "strong")
    canvas.label(frame.right + 76, y + 4, _span(words, line), "tick")
    canvas.label(_WIDTH, y + 4, line.word, f"strong {line.style}", "end")
    if math.isfinite(line.low) and math.isfinite(line.high):
        canvas.line(x(line.low), y, x(line.high), y, f"whisker {line.style}")
        for end in (line.low, line.high):
            canvas.line(x(end), y - 5, x(end), y + 5, f"whisker {line.style}")
    if math.isfinite(line.estimate):
        mark = draw_mark(canvas, "circle", x(line.estimate), y, 6, f"estimate {line.style}")
        text = f"{line.label}: {line.word}\n{_figures(words, line)}"
        canvas.explain(mark, x(line.estimate), y, f"{text}\n{line.method}".strip())
