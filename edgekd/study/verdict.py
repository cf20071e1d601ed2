"""What a study allows one to say, in figures and in words.

Every init is compared with the baseline, and the first one with each other: a user wants to know
whether distilling pays, and whether the tool at hand does it better than another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekd.study.plan import BASELINE, Fraction
from edgekd.study.record import Advice, StudyComparison, StudyVerdict
from edgekd_bench.coco_score import Score
from edgekd_bench.intervals import MIN_IMAGES, MIN_PAIRED_SEEDS, map_difference
from edgekd_bench.report_numbers import counted, fixed, interval, signed

Scores = Mapping[tuple[int, str], Sequence[Score]]  # (labels, init) → one score a seed


def compare_all(
    scores: Scores,
    fractions: Sequence[Fraction],
    inits: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
) -> list[StudyComparison]:
    """Every comparison at every fraction.

    Args:
        scores: of all cells, in the order of the seeds.
        fractions: of the labels.
        inits: all but the baseline.
        bootstrap: resamples of the val images.
        seed: of the resampling.
    """
    pairs = [(init, BASELINE) for init in inits] + [(inits[0], other) for other in inits[1:]]
    return [
        _compare(scores, fraction.num_labels, init, against, bootstrap, seed)
        for init, against in pairs
        for fraction in fractions
    ]


def _compare(
    scores: Scores, num_labels: int, init: str, against: str, bootstrap: int, seed: int
) -> StudyComparison:
    before, after = scores[num_labels, against], scores[num_labels, init]
    rng = np.random.default_rng(seed)
    return StudyComparison(
        init=init,
        against=against,
        num_labels=num_labels,
        num_seeds=len(after),
        map50_95=float(np.mean([score.map50_95 for score in after])),
        map50_95_against=float(np.mean([score.map50_95 for score in before])),
        difference=map_difference(before, after, bootstrap, rng),
    )


def advise(
    init: str, comparisons: Sequence[StudyComparison], num_images: int, worthwhile: float
) -> StudyVerdict:
    """One verdict on one init.

    Distil where some interval lies above zero and none below; do not where every interval ends
    below a gain worth having, or where one lies below zero and none above. Where neither side has
    learned to detect anything, the difference says nothing and does not count.

    Args:
        init: the init.
        comparisons: all of the study.
        num_images: val images.
        worthwhile: the smallest gain in mAP50-95 worth having.
    """
    own = [c for c in comparisons if c.init == init and c.against == BASELINE]
    found = "; ".join(map(_sentence, own))
    advice, reason = _weigh(own, num_images, worthwhile)
    return StudyVerdict(init=init, advice=advice, text=f"{init}: {advice}. {reason} {found}.")


def _weigh(
    own: Sequence[StudyComparison], num_images: int, worthwhile: float
) -> tuple[Advice, str]:
    if own[0].num_seeds < MIN_PAIRED_SEEDS:
        seeds = counted(own[0].num_seeds, "paired seed")
        return "not enough evidence", f"{seeds}; a verdict needs {MIN_PAIRED_SEEDS}."
    if num_images < MIN_IMAGES:
        images = counted(num_images, "val image")
        return "not enough evidence", f"{images}; a verdict needs {MIN_IMAGES}."
    learned = [c for c in own if max(c.map50_95, c.map50_95_against) >= worthwhile]
    if not learned:
        return "not enough evidence", "No detector learned anything; train longer."
    outcomes = {c.difference.outcome for c in learned}
    if "better" in outcomes and "worse" not in outcomes:
        helped = ", ".join(str(c.num_labels) for c in own if c.difference.outcome == "better")
        return "distil", f"It helps with {helped} labels."
    if "worse" in outcomes and "better" not in outcomes:
        hurt = ", ".join(str(c.num_labels) for c in own if c.difference.outcome == "worse")
        return "do not distil", f"It hurts with {hurt} labels."
    if all(c.difference.high < worthwhile for c in learned):
        return "do not distil", f"A gain of {fixed(worthwhile)} mAP50-95 is excluded."
    if "better" in outcomes:
        return "not enough evidence", "It helps with some numbers of labels and hurts with others."
    return "not enough evidence", "No interval excludes zero, nor a gain worth having."


def _sentence(comparison: StudyComparison) -> str:
    difference = comparison.difference
    return (
        f"{comparison.num_labels} labels: {fixed(comparison.map50_95_against)} to "
        f"{fixed(comparison.map50_95)}, {signed(difference.estimate)} "
        f"({interval(difference.low, difference.high)})"
    )
