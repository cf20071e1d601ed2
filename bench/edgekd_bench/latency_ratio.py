"""The ratio of two models' latencies and its interval, from calls that took turns.

Both models met the same moods of the machine, so the ratio is formed within blocks of neighbouring
rounds, where a drift common to both cancels, and averaged over the blocks. Its error comes from how
the blocks differ. Blocks that follow each other may still resemble each other (a clock that stays
low for a while, memory that lies badly for one model); treating them as independent called equal
models different in half of all trials of a simulation with such noise. So the number of blocks is
reduced to the number of independent ones that their autocorrelation allows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgekd_bench.record import Interval, Outcome

Float64Array = npt.NDArray[np.float64]

MAX_SPREAD = 1.5  # p90 over p50; beyond it something else was running
# Two copies of one network differ by this much through where their memory happens to lie, and no
# statistics of one process can see that.
_PLACEMENT_NOISE = 0.01
# Models of two backends are timed one after the other; what the machine did in between is unknown.
_SEPARATE_NOISE = 0.10
_MAX_BLOCKS = 20
_BLOCK_ROUNDS = 5  # at least; a disturbance lasts longer than one round
_MIN_BLOCKS = 4
_MAX_AUTOCORRELATION = 0.9


def latency_ratio(
    baselines: Sequence[Float64Array],
    candidates: Sequence[Float64Array],
    *,
    interleaved: bool = True,
    doubt: str = "",
) -> Interval:
    """Ratio of p50, candidate over baseline: the geometric mean over pairs and blocks.

    Args:
        baselines: (n,) milliseconds of each model, in order.
        candidates: the partner of each; with ``interleaved``, call r of all ran side by side.
        interleaved: False: the two sides were timed one after the other.
        doubt: why these clocks cannot be trusted; then the outcome is undecided.

    Source: batch means (Law, Simulation Modeling and Analysis, ch. 9.5) with the effective number
    of autocorrelated observations (Bayley and Hammersley, 1946, doi:10.2307/2983560).
    """
    num_rounds = min(len(samples) for samples in [*baselines, *candidates])
    num_blocks = min(_MAX_BLOCKS, num_rounds // _BLOCK_ROUNDS)
    if num_blocks < _MIN_BLOCKS:
        return _too_few(baselines, candidates, num_rounds)
    before = _log_medians(baselines, num_rounds, num_blocks)
    after = _log_medians(candidates, num_rounds, num_blocks)
    if interleaved:
        centre, error, freedom = _mean_and_error(after - before)
        arrangement = "interleaved rounds"
    else:
        (first, error_first, free_first) = _mean_and_error(before)
        (second, error_second, free_second) = _mean_and_error(after)
        centre, error = second - first, math.hypot(error_first, error_second)
        freedom = min(free_first, free_second)
        arrangement = "rounds, the two sides timed one after the other"
    half = student_t(freedom) * error
    noise = _PLACEMENT_NOISE if interleaved else _SEPARATE_NOISE
    decidable = not doubt and all(is_quiet(samples) for samples in [*baselines, *candidates])
    estimate, low, high = (math.exp(centre + step) for step in (0.0, -half, half))
    return Interval(
        estimate=estimate,
        low=low,
        high=high,
        outcome=_outcome(estimate, low, high, noise) if decidable else "undecided",
        method=f"ratio of medians in {num_blocks} blocks of {arrangement}, Student's t over "
        f"{freedom + 1:.1f} effective blocks",
    )


def is_quiet(forward_ms: Float64Array) -> bool:
    """Whether the machine had nothing else to do while a model was timed."""
    p50, p90 = np.percentile(forward_ms, [50, 90])
    return bool(p90 <= MAX_SPREAD * p50)


def student_t(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, within 1 % from two degrees of freedom on.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z = 1.959963985
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def _outcome(estimate: float, low: float, high: float, noise: float) -> Outcome:
    if high < 1 and estimate < 1 - noise:
        return "better"
    return "worse" if low > 1 and estimate > 1 + noise else "undecided"


def _log_medians(models: Sequence[Float64Array], num_rounds: int, num_blocks: int) -> Float64Array:
    """(num_blocks,) log of the median of each block, averaged over models."""
    cuts = np.array_split(np.arange(num_rounds), num_blocks)
    logs = [[np.log(np.median(samples[cut])) for cut in cuts] for samples in models]
    average: Float64Array = np.mean(logs, axis=0)
    return average


def _mean_and_error(values: Float64Array) -> tuple[float, float, float]:
    """Mean of (k,) values in order of time, its standard error, and its degrees of freedom."""
    count = len(values)
    around = values - values.mean()
    energy = float(around @ around)
    if energy == 0:
        return float(values.mean()), 0.0, count - 1.0
    measured = float(around[1:] @ around[:-1]) / energy
    # The autocorrelation of a short series is measured too low, by about this much.
    corrected = measured + (1 + 3 * measured) / count
    correlation = min(max(corrected, 0.0), _MAX_AUTOCORRELATION)
    effective = count * (1 - correlation) / (1 + correlation)
    error = math.sqrt(energy / (count - 1) / effective)
    return float(values.mean()), error, max(effective - 1, 2.0)


def _too_few(
    baselines: Sequence[Float64Array], candidates: Sequence[Float64Array], num_rounds: int
) -> Interval:
    """The range of all single ratios: there is nothing to tell noise from effect by."""
    logs = np.mean(
        [
            np.log(c[:num_rounds] / b[:num_rounds])
            for b, c in zip(baselines, candidates, strict=True)
        ],
        axis=0,
    )
    return Interval(
        estimate=float(np.exp(np.median(logs))),
        low=float(np.exp(logs.min())),
        high=float(np.exp(logs.max())),
        outcome="undecided",
        method=f"range of {num_rounds} rounds, too few for an interval "
        f"(it takes {_MIN_BLOCKS * _BLOCK_ROUNDS})",
    )
