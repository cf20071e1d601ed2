"""The one picture of a study: mAP over the number of labels, and the gain with its intervals."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.study.plan import BASELINE
from edgekd.study.record import StudyRecord
from edgekd_bench.manifest import write_bytes_atomically

_COLORS = ("#6b7280", "#2563eb", "#d97706", "#059669", "#7c3aed")  # the baseline is grey
_MARKERS = ("o", "s", "^", "D", "v")


def draw(record: StudyRecord, path: Path) -> None:
    """Write ``path`` (PNG): left every seed and the means, right the gains over the baseline."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    labels = sorted({cell.num_labels for cell in record.cells})
    inits = list(dict.fromkeys(cell.init for cell in record.cells))
    for place, init in enumerate(inits):
        style = {"color": _COLORS[place % 5], "marker": _MARKERS[place % 5]}
        _draw_scores(left, record, init, labels, style)
        if init != BASELINE:
            offset = place - len(inits) / 2
            _draw_gains(right, record, init, labels, offset, style)
    seeds = len({cell.seed for cell in record.cells})
    _finish(left, labels, "mAP50-95", f"Mean and every one of {seeds} seeds")
    right.axhline(0, color="black", linewidth=0.8)
    _finish(right, labels, "mAP50-95 minus the baseline's", "Paired difference, 95 % interval")
    left.set_ylim(bottom=0)
    left.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes_atomically(path, content.getvalue())


def _draw_scores(
    axes: Any, record: StudyRecord, init: str, labels: list[int], style: dict[str, str]
) -> None:
    own = [cell for cell in record.cells if cell.init == init]
    means = [np.mean([c.map50_95 for c in own if c.num_labels == n]) for n in labels]
    axes.plot(labels, means, label=init, **style)
    axes.scatter(
        [c.num_labels for c in own],
        [c.map50_95 for c in own],
        s=14,
        alpha=0.5,
        color=style["color"],
        marker=style["marker"],
    )


def _draw_gains(
    axes: Any,
    record: StudyRecord,
    init: str,
    labels: list[int],
    offset: float,
    style: dict[str, str],
) -> None:
    own = {
        c.num_labels: c.difference
        for c in record.comparisons
        if c.init == init and c.against == BASELINE
    }
    middle = np.array([own[n].estimate for n in labels])
    low = middle - [own[n].low for n in labels]
    high = np.array([own[n].high for n in labels]) - middle
    places = np.array(labels) * (1 + 0.03 * offset)  # beside each other where intervals overlap
    axes.errorbar(places, middle, yerr=[low, high], capsize=4, linestyle="none", **style)


def _finish(axes: Any, labels: list[int], name: str, title: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks(labels, [str(n) for n in labels])
    axes.minorticks_off()
    axes.set_xlim(labels[0] / 1.3, labels[-1] * 1.3)
    axes.set_xlabel("labelled train images")
    axes.set_ylabel(name)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
