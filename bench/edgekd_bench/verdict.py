"""Put a comparison into plain words, and all comparisons into one verdict.

The words may claim no more than the intervals: "better" needs an interval beyond zero and three
paired seeds; otherwise the sentence says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgekd_bench.intervals import MAX_SPREAD, MIN_IMAGES, MIN_PAIRED_SEEDS
from edgekd_bench.record import Comparison, Interval, Row, Verdict

SAME_LATENCY = 0.05  # figures closer than this are called the same unless the interval disagrees


def describe(
    baselines: Sequence[Row],
    candidates: Sequence[Row],
    difference: Interval,
    ratio: Interval,
    num_images: int,
) -> str:
    """One sentence: the difference, its interval, what it rests on, and the price in latency."""
    subject = "Distillation" if all(row.init == "distilled" for row in candidates) else "Candidate"
    rows = [*baselines, *candidates]
    before = sum(row.map50_95 for row in baselines) / len(baselines)
    after = sum(row.map50_95 for row in candidates) / len(candidates)
    num_seeds = len(candidates)
    seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
    figures = (
        f"{difference.estimate:+.3f} mAP50-95 ({before:.3f} → {after:.3f}), "
        f"95 % interval [{difference.low:+.3f}, {difference.high:+.3f}], {seeds}"
    )
    opening = subject
    if difference.outcome == "undecided":
        includes_zero = difference.low <= 0 <= difference.high
        opening = f"No gain shown by {subject.lower()}" if includes_zero else f"{subject}"
    conclusion = _conclusion(difference, num_seeds, num_images)
    return f"{opening}: {figures}: {conclusion}, {_latency_words(ratio, rows)}."


def conclude(
    comparisons: Sequence[Comparison], notes: Sequence[str], has_baseline: bool
) -> Verdict:
    """The verdict over all comparisons, led by the first.

    Args:
        comparisons: the one to lead with first.
        notes: what was left out, one sentence each without a full stop.
        has_baseline: whether any model was measured as a baseline.
    """
    remarks = "".join(f" {note}." for note in notes)
    if not comparisons:
        missing = (
            "No comparison: no candidate has a baseline to be paired with."
            if has_baseline
            else "No comparison: no baseline was given (--baseline)."
        )
        return Verdict(headline=missing + remarks, outcome="no baseline", num_seeds=0)
    lead, others = comparisons[0], comparisons[1:]
    outcomes = {comparison.map50_95_difference.outcome for comparison in comparisons}
    contradictory = {"better", "worse"} <= outcomes
    outcome: Literal["better", "worse", "undecided"] = lead.map50_95_difference.outcome
    if contradictory:
        outcome = "undecided"
        remarks = " The comparisons contradict each other, so nothing is decided." + remarks
    also = "; ".join(_short(comparison) for comparison in others)
    return Verdict(
        headline=lead.text + (f" Also: {also}." if also else "") + remarks,
        outcome=outcome,
        num_seeds=len(lead.seeds),
        comparisons=list(comparisons),
    )


def _conclusion(difference: Interval, num_seeds: int, num_images: int) -> str:
    if num_seeds < MIN_PAIRED_SEEDS:
        count = "one seed proves" if num_seeds == 1 else f"{num_seeds} seeds prove"
        return f"undecided, {count} nothing (it takes {MIN_PAIRED_SEEDS} paired seeds)"
    if num_images < MIN_IMAGES:
        return f"undecided, {num_images} images prove nothing (it takes {MIN_IMAGES})"
    if difference.outcome == "undecided":
        return "undecided, the interval includes 0"
    return difference.outcome


def _latency_words(ratio: Interval, rows: Sequence[Row]) -> str:
    change = f"{abs(ratio.estimate - 1):.1%} {'slower' if ratio.estimate > 1 else 'faster'}"
    interval = f"(p50 ratio {ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}])"
    if ratio.outcome != "undecided":
        return f"{change} {interval}"
    if any(row.latency_p90_ms > MAX_SPREAD * row.latency_p50_ms for row in rows):
        return f"latency undecided because the machine was busy {interval}"
    if abs(ratio.estimate - 1) <= SAME_LATENCY:
        return f"at the same latency {interval}"
    return f"latency undecided {interval}"


def _short(comparison: Comparison) -> str:
    difference = comparison.map50_95_difference
    return (
        f"{comparison.backend} {comparison.precision} {', '.join(comparison.candidates)} "
        f"{difference.estimate:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}] "
        f"{difference.outcome}"
    )
