"""The page of ``edgekd report --compare A B``: what differed, then what changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekd_bench.report_compare import Change, Ratio, RunComparison
from edgekd_bench.report_forest import ForestLine, ForestWords, forest_plot
from edgekd_bench.report_numbers import MISSING, fixed, milliseconds, signed
from edgekd_bench.report_page import render
from edgekd_bench.report_svg import Drawing, shortened

MAX_LINES = 40
_STYLES = {"faster": "o-better", "slower": "o-worse", "not told apart": "o-undecided"}
HEAD = (
    "model",
    "runs on",
    "file",
    "mAP50-95",
    "change",
    "reading",
    "host p50, ms",
    "ratio",
    "span",
    "reading",
    "p99 ratio",
    "end to end ratio",
    "J/image ratio",
)
READINGS = (
    "mAP: the difference of two point estimates. The runs hold no results image by image, so "
    "nothing is paired and no interval can be given.",
    "Latency: after over before. The span is the widest the two 95 % intervals of p50 allow, so it "
    "holds with at least 90 %. It knows the scatter within each run and not what differs between "
    "runs: temperature, load, versions.",
    "Faster and slower need a span that excludes 1 and a change of at least 1 %; a flagged row, or "
    "one that is not trusted (failed parity or self-check), is never called either.",
    "To decide between two models, measure them in one run: edgekd bench AFTER --baseline BEFORE.",
)


def render_comparison(comparison: RunComparison) -> str:
    """The whole page."""
    shown = comparison.changes[:MAX_LINES]
    return render(
        "compare.html.j2",
        {
            "comparison": comparison,
            "name": f"{comparison.before.name} → {comparison.after.name}",
            "head": HEAD,
            "lines": [change_cells(change) for change in comparison.changes],
            "latency": _latency_plot(shown),
            "accuracy": _map_plot(shown),
            "readings": READINGS,
        },
    )


def change_cells(change: Change) -> list[str]:
    """One line of the table, in the order of ``HEAD``."""
    before, after, latency = change.before, change.after, change.latency
    energy = change.ratio(lambda row: row.energy_j_per_image)
    return [
        names(change),
        runs_on(change),
        "same" if change.same_file else "another",
        f"{fixed(before.map50_95)} → {fixed(after.map50_95)}",
        signed(change.map_difference),
        change.map_reading,
        f"{milliseconds(before.latency_p50_ms)} → {milliseconds(after.latency_p50_ms)}",
        f"×{fixed(latency.estimate)}",
        span(latency),
        latency.reading,
        f"×{fixed(change.ratio(lambda row: row.latency_p99_ms))}",
        f"×{fixed(change.end_to_end.estimate)}",
        f"×{fixed(energy)}" if math.isfinite(energy) else MISSING,
    ]


def names(change: Change) -> str:
    """The model's name, and the other one where the run renamed the file."""
    before, after = change.before.model, change.after.model
    return after if before == after else f"{before} → {after}"


def runs_on(change: Change) -> str:
    """``onnxruntime fp32, 320 px, cpu``."""
    before, after = change.before, change.after
    device = after.device if before.device == after.device else f"{before.device} → {after.device}"
    batch = f", batch {after.batch}" if after.batch != 1 else ""
    return f"{after.backend} {after.precision}, {after.image_size} px{batch}, {device}"


def span(ratio: Ratio) -> str:
    """The interval of a ratio as text."""
    if not (math.isfinite(ratio.low) and math.isfinite(ratio.high)):
        return MISSING
    return f"{fixed(ratio.low)} to {fixed(ratio.high)}"


def _latency_plot(changes: Sequence[Change]) -> Drawing | None:
    words = ForestWords(
        "change-latency",
        "Latency p50, host clock, after over before",
        "latency p50, host clock, after over before (left of the line: faster)",
        1.0,
        fixed,
    )
    lines = [
        ForestLine(
            _label(change),
            change.latency.estimate,
            change.latency.low,
            change.latency.high,
            change.latency.reading,
            _STYLES.get(change.latency.reading, "o-none"),
        )
        for change in changes
    ]
    return forest_plot(words, lines)


def _map_plot(changes: Sequence[Change]) -> Drawing | None:
    words = ForestWords(
        "change-map",
        "mAP50-95, after minus before",
        "mAP50-95, after minus before (right of the line: higher)",
        0.0,
        signed,
    )
    lines = [
        ForestLine(
            _label(change), change.map_difference, math.nan, math.nan, change.map_reading, "o-none"
        )
        for change in changes
    ]
    return forest_plot(words, lines)


def _label(change: Change) -> str:
    after = change.after
    return f"{shortened(after.model, 18)}, {shortened(after.backend, 11)} {after.precision}"
