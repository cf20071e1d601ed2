"""The difference in mAP of two models and how sure one can be of it.

Two things vary in mAP: which images happen to be in the evaluation set, and which seed training
had. Images are resampled, jointly for all models. Seeds are few, and resampling three of them would
call one null result in four significant; so the seed part is Student's t on the paired differences,
whose intervals are honestly wide for few seeds. A claim about files alone, not about how they were
trained, has no seed part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgekd_bench.record import ComparisonKind, Interval, Outcome, Row
from edgekd_bench.resampled_map import ClassMatches, draw_image_weights, resampled_map

Float64Array = npt.NDArray[np.float64]

MIN_PAIRED_SEEDS = 3
MIN_IMAGES = 10  # below this a bootstrap over images is too narrow to believe
_SEED_DRAWS = 20  # t-distributed draws per image resample, so that the tails are well filled
_TAILS = (2.5, 97.5)


class Scored(Protocol):
    """A model's mAP, and the matches it can be computed anew from for other draws of images."""

    @property
    def map50_95(self) -> float:
        """COCO's mAP on all images."""

    @property
    def matches(self) -> tuple[ClassMatches, ...]:
        """One entry a class."""


@dataclass(frozen=True)
class Measurement:
    """A row, and the raw results that its comparison resamples."""

    row: Row
    matches: tuple[ClassMatches, ...]
    forward_ms: Float64Array  # (n,) in order; call r of all models of a backend ran side by side

    @property
    def map50_95(self) -> float:
        """The row's."""
        return self.row.map50_95


def map_difference(
    baselines: Sequence[Scored],
    candidates: Sequence[Scored],
    bootstrap: int,
    rng: np.random.Generator,
    *,
    kind: ComparisonKind = "training",
) -> Interval:
    """Mean paired difference in mAP50-95, candidate minus baseline.

    Args:
        baselines: one a pair.
        candidates: the partner of each, evaluated on the same images.
        bootstrap: resamples of the images.
        rng: of the resampling.
        kind: "training" is a claim about how the models were made, so seeds vary too.
    """
    num_images = len(baselines[0].matches[0].num_truth)
    weights = draw_image_weights(num_images, bootstrap, rng)
    pairs = list(zip(baselines, candidates, strict=True))
    resampled = np.stack(
        [resampled_map(c.matches, weights) - resampled_map(b.matches, weights) for b, c in pairs]
    )  # (S, B)
    measured = np.array([c.map50_95 - b.map50_95 for b, c in pairs])  # (S,)
    draws = resampled.mean(axis=0)[:, None]  # (B, 1)
    method = f"paired bootstrap over {num_images} images, {bootstrap} resamples"
    if kind == "training" and len(pairs) > 1:
        error = measured.std(ddof=1) / np.sqrt(len(pairs))
        draws = draws + error * rng.standard_t(len(pairs) - 1, (bootstrap, _SEED_DRAWS))
        method += f"; Student's t over {len(pairs)} paired seeds"
    estimate = float(measured.mean())
    low, high = _tails(draws, estimate)
    outcome: Outcome = "undecided"
    if can_decide(kind, len(pairs), num_images):
        outcome = "better" if low > 0 else "worse" if high < 0 else "undecided"
    return Interval(estimate=estimate, low=low, high=high, outcome=outcome, method=method)


def can_decide(kind: ComparisonKind, num_pairs: int, num_images: int) -> bool:
    """Whether there are enough images, and for a claim about training enough paired seeds."""
    return num_images >= MIN_IMAGES and (kind != "training" or num_pairs >= MIN_PAIRED_SEEDS)


def _tails(draws: Float64Array, estimate: float) -> tuple[float, float]:
    """The 95 % interval, widened where bootstrap bias would put the estimate outside it."""
    low, high = np.nanpercentile(draws, _TAILS)
    return min(float(low), estimate), max(float(high), estimate)
