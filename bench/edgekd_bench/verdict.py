"""Put a comparison into plain words, and all comparisons into one verdict.

The words may claim no more than the intervals: "better" needs an interval beyond zero and, for a
claim about training, three paired seeds; otherwise the sentence says what is missing. A candidate
dominates if it is better in one of mAP and latency and shown to be no worse in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgekd_bench.intervals import MIN_IMAGES, MIN_PAIRED_SEEDS, can_decide
from edgekd_bench.record import Comparison, ComparisonKind, Interval, Relation, Row, Verdict

# Within these two figures are called the same, if their whole interval is.
SAME_LATENCY = 0.05  # of the ratio
SAME_MAP = 0.005

_RELATION_WORDS: dict[Relation, str] = {
    "dominates": "it dominates the baseline",
    "dominated": "the baseline dominates it",
    "undecided": "which is preferable is undecided",
}


def relate(difference: Interval | None, ratio: Interval | None) -> Relation:
    """The candidate's place beside the baseline in mAP and latency together.

    Args:
        difference: of mAP, candidate minus baseline; None: too little to decide on.
        ratio: of latency, candidate over baseline; None: the clocks cannot be trusted.
    """
    if difference is None or ratio is None:
        return "undecided"
    outcomes = {difference.outcome, ratio.outcome}
    if {"better", "worse"} <= outcomes:
        return "trades"
    if "better" in outcomes:
        no_worse = difference.low > -SAME_MAP and ratio.high < 1 + SAME_LATENCY
        return "dominates" if no_worse else "undecided"
    if "worse" in outcomes:
        no_better = difference.high < SAME_MAP and ratio.low > 1 - SAME_LATENCY
        return "dominated" if no_better else "undecided"
    return "undecided"


def describe(
    baselines: Sequence[Row],
    candidates: Sequence[Row],
    difference: Interval,
    ratio: Interval,
    num_images: int,
    kind: ComparisonKind = "training",
    relation: Relation = "undecided",
    doubt: str = "",
) -> str:
    """One sentence: the difference, its interval, what it rests on, the price in latency, both."""
    subject = _subject(baselines, candidates, kind)
    before = sum(row.map50_95 for row in baselines) / len(baselines)
    after = sum(row.map50_95 for row in candidates) / len(candidates)
    num_pairs = len(candidates)
    figures = (
        f"{difference.estimate:+.3f} mAP50-95 ({before:.3f} → {after:.3f}), "
        f"95 % interval [{difference.low:+.3f}, {difference.high:+.3f}], "
        + _basis(kind, num_pairs, num_images)
    )
    opening = subject
    if kind == "training" and difference.low <= 0 <= difference.high:
        opening = f"No gain shown by {subject[0].lower()}{subject[1:]}"
    conclusion = _conclusion(difference, kind, num_pairs, num_images)
    latency = _latency_words(ratio, doubt)
    return f"{opening}: {figures}: {conclusion}, {latency}; {_together(relation, difference)}."


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
    outcome: Literal["better", "worse", "undecided"] = lead.map50_95_difference.outcome
    # That int8 costs mAP does not contradict that training so pays, nor does one file another.
    outcomes = {c.map50_95_difference.outcome for c in comparisons if c.kind == "training"}
    if {"better", "worse"} <= outcomes:
        outcome = "undecided"
        remarks = " The comparisons contradict each other, so nothing is decided." + remarks
    also = "; ".join(_short(comparison) for comparison in others)
    return Verdict(
        headline=lead.text + (f" Also: {also}." if also else "") + remarks,
        outcome=outcome,
        num_seeds=len(lead.seeds),
        comparisons=list(comparisons),
    )


def _subject(baselines: Sequence[Row], candidates: Sequence[Row], kind: ComparisonKind) -> str:
    """What the sentence is about, with a capital where it begins one."""
    new, old = candidates[0], baselines[0]
    if kind == "training":
        return "Distillation" if all(r.init == "distilled" for r in candidates) else "Candidate"
    if kind == "models":
        return f"{new.model} against {old.model}{_elsewhere(old, new)}"
    if _place(new) == _place(old):
        return f"{new.model} against {old.model}, which has the same weights"
    if (new.backend, new.image_size) == (old.backend, old.image_size):
        return f"{new.precision} against its own {old.precision}"
    return f"{_place(new)} against the same weights on {_place(old)}"


def _elsewhere(old: Row, new: Row) -> str:
    return "" if _place(old) == _place(new) else f" ({_place(new)} against {_place(old)})"


def _place(row: Row) -> str:
    return f"{row.backend} {row.precision} {row.image_size} px"


def _basis(kind: ComparisonKind, num_pairs: int, num_images: int) -> str:
    if kind == "training":
        return "1 seed" if num_pairs == 1 else f"{num_pairs} seeds"
    models = "" if num_pairs == 1 else f"{num_pairs} models, "
    return f"{models}{num_images} images"


def _conclusion(difference: Interval, kind: ComparisonKind, num_pairs: int, num_images: int) -> str:
    if kind == "training" and num_pairs < MIN_PAIRED_SEEDS:
        count = "one seed proves" if num_pairs == 1 else f"{num_pairs} seeds prove"
        return f"undecided, {count} nothing (it takes {MIN_PAIRED_SEEDS} paired seeds)"
    if not can_decide(kind, num_pairs, num_images):
        return f"undecided, {num_images} images prove nothing (it takes {MIN_IMAGES})"
    if difference.outcome != "undecided":
        return difference.outcome
    if max(-difference.low, difference.high) < SAME_MAP:
        return f"the same within {SAME_MAP}"
    return "undecided, the interval includes 0"


def _latency_words(ratio: Interval, doubt: str) -> str:
    change = f"{abs(ratio.estimate - 1):.1%} {'slower' if ratio.estimate > 1 else 'faster'}"
    interval = f"(p50 ratio {ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}])"
    if ratio.outcome != "undecided":
        return f"{change} {interval}"
    if doubt:
        return f"latency undecided because {doubt} {interval}"
    if ratio.low > 1 - SAME_LATENCY and ratio.high < 1 + SAME_LATENCY:
        return f"at the same latency {interval}"
    return f"latency undecided {interval}"


def _together(relation: Relation, difference: Interval) -> str:
    if relation == "trades":
        gained, paid = ("mAP", "latency") if difference.outcome == "better" else ("latency", "mAP")
        return f"it trades {paid} for {gained}"
    return _RELATION_WORDS[relation]


def _short(comparison: Comparison) -> str:
    difference = comparison.map50_95_difference
    own = comparison.kind == "deployment" and comparison.baseline_precision
    against = f" against its own {own}" if own else ""
    return (
        f"{comparison.backend} {comparison.precision} {', '.join(comparison.candidates)}{against} "
        f"{difference.in_words()} {difference.outcome}"
    )
