"""The two figures of a comparison and how sure one can be of them.

Two things vary in mAP: which images happen to be in the evaluation set, and which seed training
had. Images are resampled, jointly for all models. Seeds are few, and resampling three of them would
call one null result in four significant; so the seed part is Student's t on the paired differences,
whose intervals are honestly wide for few seeds. Latency varies with the machine's moods, so blocks
of neighbouring rounds are resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd_bench.record import Interval, Outcome, Row
from edgekd_bench.resampled_map import ClassMatches, draw_image_weights, resampled_map

Float64Array = npt.NDArray[np.float64]

MIN_PAIRED_SEEDS = 3
MIN_IMAGES = 10  # below this a bootstrap over images is too narrow to believe
_SEED_DRAWS = 20  # t-distributed draws per image resample, so that the tails are well filled
_MAX_BLOCKS = 20
_MIN_BLOCK_ROUNDS = 5  # a disturbance lasts longer than one round
MAX_SPREAD = 1.5  # p90 over p50; beyond it something else was running
_TAILS = (2.5, 97.5)
# Two copies of one network differ by this much through where their memory happens to lie, and no
# resampling of one process can see that.
_PLACEMENT_NOISE = 0.01


@dataclass(frozen=True)
class Measurement:
    """A row, and the raw results that its comparison resamples."""

    row: Row
    matches: tuple[ClassMatches, ...]
    forward_ms: Float64Array  # (n,) in order; call r of all models of a backend ran side by side


def map_difference(
    baselines: Sequence[Measurement],
    candidates: Sequence[Measurement],
    bootstrap: int,
    rng: np.random.Generator,
) -> Interval:
    """Mean paired difference in mAP50-95, candidate minus baseline."""
    num_images = len(baselines[0].matches[0].num_truth)
    weights = draw_image_weights(num_images, bootstrap, rng)
    pairs = list(zip(baselines, candidates, strict=True))
    resampled = np.stack(
        [resampled_map(c.matches, weights) - resampled_map(b.matches, weights) for b, c in pairs]
    )  # (S, B)
    measured = np.array([c.row.map50_95 - b.row.map50_95 for b, c in pairs])  # (S,)
    draws = resampled.mean(axis=0)[:, None]  # (B, 1)
    method = f"paired bootstrap over {num_images} images, {bootstrap} resamples"
    if len(pairs) > 1:
        error = measured.std(ddof=1) / np.sqrt(len(pairs))
        draws = draws + error * rng.standard_t(len(pairs) - 1, (bootstrap, _SEED_DRAWS))
        method += f"; Student's t over {len(pairs)} paired seeds"
    estimate = float(measured.mean())
    low, high = _tails(draws, estimate)
    enough = len(pairs) >= MIN_PAIRED_SEEDS and num_images >= MIN_IMAGES
    outcome: Outcome = "undecided"
    if enough and low > 0:
        outcome = "better"
    elif enough and high < 0:
        outcome = "worse"
    return Interval(estimate=estimate, low=low, high=high, outcome=outcome, method=method)


def latency_ratio(
    baselines: Sequence[Float64Array],
    candidates: Sequence[Float64Array],
    bootstrap: int,
    rng: np.random.Generator,
) -> Interval:
    """Ratio of forward p50, candidate over baseline: the geometric mean over pairs.

    Neighbouring rounds share the machine's mood, so whole blocks of rounds are resampled, the same
    ones for all models.
    """
    num_rounds = min(len(samples) for samples in [*baselines, *candidates])
    num_blocks = min(_MAX_BLOCKS, max(num_rounds // _MIN_BLOCK_ROUNDS, 1))
    blocks = np.array_split(np.arange(num_rounds), num_blocks)

    def ratio(rounds: npt.NDArray[Any]) -> float:
        logs = [
            np.log(np.median(c[rounds]) / np.median(b[rounds]))
            for b, c in zip(baselines, candidates, strict=True)
        ]
        return float(np.exp(np.mean(logs)))

    draws = [
        ratio(
            np.concatenate([blocks[index] for index in rng.integers(len(blocks), size=len(blocks))])
        )
        for _ in range(bootstrap)
    ]
    estimate = ratio(np.arange(num_rounds))
    low, high = _tails(np.array(draws), estimate)
    outcome: Outcome = "undecided"
    quiet = all(is_quiet(samples) for samples in [*baselines, *candidates])
    if quiet and high < 1 and estimate < 1 - _PLACEMENT_NOISE:
        outcome = "better"
    elif quiet and low > 1 and estimate > 1 + _PLACEMENT_NOISE:
        outcome = "worse"
    method = f"bootstrap over {len(blocks)} blocks of interleaved rounds, {bootstrap} resamples"
    return Interval(estimate=estimate, low=low, high=high, outcome=outcome, method=method)


def is_quiet(forward_ms: Float64Array) -> bool:
    """Whether the machine had nothing else to do while a model was timed."""
    p50, p90 = np.percentile(forward_ms, [50, 90])
    return bool(p90 <= MAX_SPREAD * p50)


def _tails(draws: Float64Array, estimate: float) -> tuple[float, float]:
    """The 95 % interval, widened where bootstrap bias would put the estimate outside it."""
    low, high = np.nanpercentile(draws, _TAILS)
    return min(float(low), estimate), max(float(high), estimate)
