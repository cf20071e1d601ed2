"""Intervals of percentiles hold what they promise, also where neighbouring calls are alike."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd_bench.quantile_intervals import correlation_time, quantile_interval, relative_width

# Shares of 300 simulated series; the standard error of a share near 0.95 is 0.013.
TRIALS = 300


def _coverage(draw: object, truth: float, q: float) -> float:
    hits = 0
    for trial in range(TRIALS):
        interval = quantile_interval(draw(np.random.default_rng(trial)), q)  # type: ignore[operator]
        hits += interval is not None and interval[0] <= truth <= interval[1]
    return hits / TRIALS


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_independent_samples_are_covered(q: float) -> None:
    truth = float(np.quantile(np.exp(np.random.default_rng(9).normal(size=2_000_000)), q))
    share = _coverage(lambda rng: np.exp(rng.normal(size=200)), truth, q)
    assert share >= 0.93
    # Not by being absurdly wide: a 95 % interval of 200 samples spans a few per cent of ranks.
    interval = quantile_interval(np.exp(np.random.default_rng(0).normal(size=200)), q)
    assert interval is not None and interval[1] < 3 * interval[0]


def test_samples_that_resemble_their_neighbours_are_covered() -> None:
    def waves(rng: np.random.Generator) -> np.ndarray:
        noise = rng.normal(size=2000)
        series = np.empty(2000)
        series[0] = noise[0]
        for k in range(1, 2000):
            series[k] = 0.9 * series[k - 1] + np.sqrt(1 - 0.9**2) * noise[k]
        return 10 + series

    # The median is 10 whatever the correlation; taken as independent it is covered in half of all.
    assert _coverage(waves, 10.0, 0.5) >= 0.90


def test_correlation_time_counts_alike_neighbours() -> None:
    rng = np.random.default_rng(0)
    independent = rng.random(4000) > 0.9
    assert correlation_time(independent) < 1.3
    assert 7 < correlation_time(np.repeat(rng.random(500) > 0.5, 8)) < 11
    assert correlation_time(np.zeros(100)) == 1.0
    assert correlation_time(np.arange(100) % 2) == 1.0, "alternating tells no less than independent"


@pytest.mark.parametrize(("q", "least"), [(0.5, 6), (0.9, 36), (0.99, 368)])
def test_too_few_calls_have_no_interval(q: float, least: int) -> None:
    """From 0.9 ** n <= 0.025: all n samples may lie below the percentile by chance."""
    alternating = np.array([k * 7 % 11 for k in range(least)], np.float64) + np.arange(least) / 1e6
    shuffled = np.random.default_rng(3).permutation(alternating)
    assert quantile_interval(np.sort(shuffled)[: least // 2], q) is None
    many = np.random.default_rng(3).random(6 * least)
    assert quantile_interval(many, q) is not None
    assert quantile_interval(many[: least - 1], q) is None


def test_the_relative_width_is_of_the_longer_side() -> None:
    samples = np.random.default_rng(0).random(500) + 1
    interval, width = quantile_interval(samples, 0.5), relative_width(samples, 0.5)
    assert interval is not None and width is not None
    median = float(np.median(samples))
    assert width == pytest.approx(max(interval[1] - median, median - interval[0]) / median)
    assert relative_width(samples[:3], 0.5) is None
