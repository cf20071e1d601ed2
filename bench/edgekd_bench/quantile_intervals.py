"""How well the percentiles of a series of latencies are known.

The interval of a percentile needs no model of the latencies: how many of n samples lie below the
true value is a binomial draw, so two order statistics enclose it (Conover, Practical Nonparametric
Statistics, 1999, section 3.2; MLPerf's LoadGen rests its early stopping on the same fact). That
holds for independent samples, and latencies of neighbouring calls are not: a disturbance lasts.
So n is replaced by the number of independent samples that would tell as much, from the
autocorrelation of "this call was above the percentile" (Geyer, Statistical Science 1992, initial
positive sequence). Where too few are left to enclose a percentile, there is no interval, and none
is made up.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95


def quantile_interval(
    samples: Float64Array, q: float, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """An interval that holds the q-quantile of what the samples were drawn from.

    Args:
        samples: (n,) in the order they were taken.
        q: between 0 and 1.
        confidence: how often such intervals are right.

    Returns:
        Two of the samples; None: there are too few for this quantile.
    """
    n = len(samples)
    if n < 2:
        return None
    independent = max(int(n / correlation_time(samples > np.quantile(samples, q))), 1)
    ranks = _enclosing_ranks(independent, q, (1 - confidence) / 2)
    if ranks is None:
        return None
    stretch = n / independent
    low = math.floor((ranks[0] - 1) * stretch)
    high = min(math.ceil(ranks[1] * stretch), n) - 1
    ordered = np.sort(samples)
    return float(ordered[low]), float(ordered[high])


def relative_width(samples: Float64Array, q: float) -> float | None:
    """The longer half of a quantile's interval, as a share of the quantile; None: no interval."""
    interval = quantile_interval(samples, q)
    if interval is None:
        return None
    estimate = float(np.quantile(samples, q))
    return max(interval[1] - estimate, estimate - interval[0]) / estimate


def correlation_time(series: npt.NDArray[np.generic]) -> float:
    """How many neighbouring samples tell as much as one independent sample; at least 1."""
    values = np.asarray(series, np.float64)
    centred = values - values.mean()
    if not centred.any():
        return 1.0
    n = len(centred)
    spectrum = np.fft.rfft(centred, 2 * n)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum))[:n]
    correlation = correlation / correlation[0]
    paired = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)  # lags 0 + 1, 2 + 3, …
    negative = np.flatnonzero(paired <= 0)
    kept = paired[: negative[0]] if len(negative) else paired
    return max(float(2 * kept.sum() - 1), 1.0)


def _enclosing_ranks(n: int, q: float, tail: float) -> tuple[int, int] | None:
    """Ranks, from 1, of the samples that miss the q-quantile with ``tail`` on each side."""
    cumulative = np.cumsum(_binomial(n, q))  # [k]: at most k of n lie below the quantile
    low = int(np.searchsorted(cumulative, tail, side="right"))  # P(fewer than low) <= tail
    high = int(np.searchsorted(cumulative, 1 - tail, side="left")) + 1  # P(at least high) <= tail
    return (low, high) if low >= 1 and high <= n else None


def _binomial(n: int, p: float) -> Float64Array:
    """Probabilities of 0 … n successes."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    logs = log_factorial[n] - log_factorial - log_factorial[::-1]
    probabilities: Float64Array = np.exp(logs + k * math.log(p) + (n - k) * math.log1p(-p))
    return probabilities
