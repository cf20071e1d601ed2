"""Which class is taken for which: the confusion matrix of a detector, nothing-found included.

Drawn for the baseline and the candidate side by side. With many classes only those with the most
errors fit on a page; the rest is summed up in one line and one column, so that no count is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekd_bench.record import SamplePredictions
from edgekd_bench.report_svg import Canvas, Drawing, shortened

MAX_CLASSES = 10
_WIDTH = 510
_LEFT, _TOP, _BOTTOM = 118, 92, 12
_MAX_CELL = 46.0
_NOTHING = "nothing"
_OTHERS = "other classes"


def confusion_plots(
    predictions: SamplePredictions, models: Sequence[tuple[str, str]], suffix: str = ""
) -> list[tuple[str, Drawing]]:
    """``(title, plot)`` for each model whose matrix is in the file.

    Args:
        predictions: row of a matrix: true class; column: found class; the last of each: nothing.
        models: ``(title, key in predictions.confusion)``.
        suffix: makes the plots' names unique on the page.
    """
    plots = []
    for place, (title, key) in enumerate(models):
        matrix = predictions.confusion.get(key, [])
        labels = _labels(predictions.names, len(matrix))
        if len(matrix) > 1 and all(len(line) == len(matrix) for line in matrix):
            name = f"confusion-{place}{suffix}"
            plots.append((title, _draw(name, title, *_reduced(matrix, labels))))
    return plots


def _labels(names: Mapping[int, str], size: int) -> list[str]:
    ordered = [names[class_id] for class_id in sorted(names)]
    known = ordered if len(ordered) == size - 1 else [f"class {i}" for i in range(size - 1)]
    return [*known, _NOTHING]


def _reduced(
    matrix: Sequence[Sequence[int]], labels: Sequence[str]
) -> tuple[list[list[int]], list[str]]:
    """At most ``MAX_CLASSES`` classes, those with the most errors; the others become one."""
    last = len(matrix) - 1
    if last <= MAX_CLASSES:
        return [list(line) for line in matrix], list(labels)

    def errors(index: int) -> int:
        return sum(matrix[index]) + sum(line[index] for line in matrix) - 2 * matrix[index][index]

    worst = sorted(range(last), key=errors, reverse=True)[: MAX_CLASSES - 1]
    kept = sorted(worst)
    others = [index for index in range(last) if index not in kept]
    groups = [*([index] for index in kept), others, [last]]
    reduced = [
        [sum(matrix[row][column] for row in rows for column in columns) for columns in groups]
        for rows in groups
    ]
    return reduced, [*(labels[index] for index in kept), _OTHERS, _NOTHING]


def _draw(name: str, title: str, matrix: list[list[int]], labels: list[str]) -> Drawing:
    size = len(matrix)
    cell = min(_MAX_CELL, (_WIDTH - _LEFT) / size)
    height = _TOP + cell * size + _BOTTOM
    right = sum(matrix[i][i] for i in range(size - 1))
    what = (
        f"{right} objects found as what they are; {sum(line[-1] for line in matrix[:-1])} not "
        f"found; {sum(matrix[-1][:-1])} detections where there is nothing. The table holds all."
    )
    canvas = Canvas(name, _WIDTH, height, f"Confusion matrix, {title}", what)
    canvas.label(_LEFT, 14, "found as", "axis-title")
    canvas.label(_LEFT - 10, _TOP - 8, "truth", "axis-title", "end")
    for index, label in enumerate(labels):
        middle = (index + 0.5) * cell
        canvas.label(_LEFT - 10, _TOP + middle + 4, shortened(label, 15), "tick", "end")
        x = _LEFT + middle + 4
        canvas.add(
            "text",
            text=shortened(label, 12),
            x=x,
            y=_TOP - 8,
            class_="label tick",
            transform=f"rotate(-45 {x:.1f} {_TOP - 8})",
        )
    for row, line in enumerate(matrix):
        total = sum(line)
        for column, count in enumerate(line):
            if row == column == size - 1:
                continue  # Nothing found where there is nothing: not countable for detections.
            _draw_cell(canvas, cell, row, column, count, total)
    table = [[label, *map(str, line)] for label, line in zip(labels, matrix, strict=True)]
    table[-1][-1] = "–"
    return canvas.drawing(("truth", *labels), table)


def _draw_cell(canvas: Canvas, cell: float, row: int, column: int, count: int, total: int) -> None:
    """A square as dark as its share of the row, with its count."""
    x, y = _LEFT + column * cell, _TOP + row * cell
    canvas.add("rect", x=x, y=y, width=cell, height=cell, class_="cell")
    if count == 0:
        return
    kind = "hit" if row == column else "miss"
    # Pale enough at its darkest for the count to be read on it.
    canvas.add(
        "rect",
        x=x + 1,
        y=y + 1,
        width=cell - 2,
        height=cell - 2,
        class_=f"share {kind}",
        fill_opacity=0.06 + 0.49 * count / total,
    )
    text = str(count) if count < 10_000 else f"{count / 1000:.0f}k"
    strong = "strong" if row == column else ""
    canvas.label(x + cell / 2, y + cell / 2 + 4, text, f"tick-dark {strong}".strip(), "middle")
