"""The interval of a latency ratio allows for noise that lasts and for how little was timed."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd_bench.latency_ratio import is_quiet, latency_ratio, student_t


def _lasting(count: int, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """(count,) noise of variance one in which each value resembles the one before."""
    fresh = rng.normal(size=count)
    noise = np.empty(count)
    noise[0] = fresh[0]
    for index in range(1, count):
        carried = correlation * noise[index - 1]
        noise[index] = carried + np.sqrt(1 - correlation**2) * fresh[index]
    return noise


def test_a_ratio_is_found_under_a_drift_common_to_both() -> None:
    rng = np.random.default_rng(0)
    drift = np.linspace(1, 1.3, 400)
    base = 10 * drift * rng.uniform(0.99, 1.01, 400)
    slower = 12 * drift * rng.uniform(0.99, 1.01, 400)
    worse = latency_ratio([base], [slower])
    assert worse.outcome == "worse" and worse.low > 1.19
    assert worse.estimate == pytest.approx(1.2, abs=0.005)
    assert latency_ratio([slower], [base]).outcome == "better"


def test_equal_latencies_are_undecided_and_so_is_half_a_percent() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(10, 0.3, (2, 300))
    assert latency_ratio([one], [other]).outcome == "undecided"
    shifted = 0.995 * np.full(300, 10.0)  # perfectly steady, and still no finding
    assert latency_ratio([np.full(300, 10.0)], [shifted]).outcome == "undecided"


def test_a_busy_machine_or_a_doubt_decides_nothing() -> None:
    rng = np.random.default_rng(1)
    steady, busy = np.full(300, 10.0), np.where(rng.random(300) < 0.3, 30.0, 10.0)
    assert is_quiet(steady) and not is_quiet(busy)
    assert latency_ratio([steady], [busy * 1.5]).outcome == "undecided"
    assert latency_ratio([steady], [steady * 2]).outcome == "worse"
    assert latency_ratio([steady], [steady * 2], doubt="the clocks lie").outcome == "undecided"


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_equal_models_are_seldom_called_different_however_long_their_noise_lasts(
    correlation: float,
) -> None:
    """Each of the two has slow moods of its own; an interval for independent calls fails here."""
    rng = np.random.default_rng(2)
    trials, missed = 150, 0
    for _ in range(trials):
        common = np.exp(0.05 * _lasting(300, 0.98, rng))
        one, other = (
            10 * common * np.exp(0.02 * _lasting(300, correlation, rng)) for _ in range(2)
        )
        interval = latency_ratio([one], [other])
        missed += not interval.low <= 1 <= interval.high
    assert missed <= 0.11 * trials, f"{missed} of {trials} intervals miss the true ratio"


def test_lasting_noise_widens_the_interval_and_says_so() -> None:
    rng = np.random.default_rng(3)
    base = np.full(400, 10.0) + rng.normal(0, 0.01, 400)
    short = base * np.exp(0.02 * _lasting(400, 0.0, rng))
    long = base * np.exp(0.02 * _lasting(400, 0.97, rng))
    widths = []
    for noisy in (short, long):
        interval = latency_ratio([base], [noisy])
        widths.append(interval.high - interval.low)
        assert "20 blocks of interleaved rounds" in interval.method
        assert "effective blocks" in interval.method
    assert widths[1] > 3 * widths[0]


def test_a_few_percent_are_found_where_the_machine_is_steady() -> None:
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(40):
        one, other = 10 * np.exp(0.02 * rng.normal(size=(2, 200)))
        found += latency_ratio([one], [other * 1.03]).outcome == "worse"
    assert found >= 36


def test_sides_that_were_timed_apart_need_a_large_effect() -> None:
    rng = np.random.default_rng(5)
    one, other = 10 * np.exp(0.01 * rng.normal(size=(2, 300)))
    assert latency_ratio([one], [other * 0.95]).outcome == "better"
    apart = latency_ratio([one], [other * 0.95], interleaved=False)
    assert apart.outcome == "undecided" and "one after the other" in apart.method
    assert latency_ratio([one], [other * 0.6], interleaved=False).outcome == "better"
    shorter = latency_ratio([one], [other[:120] * 0.6], interleaved=False)
    assert shorter.estimate == pytest.approx(0.6, rel=0.02)


def test_too_few_rounds_have_a_range_and_no_outcome() -> None:
    one, other = np.array([10.0, 10, 10, 10]), np.array([5.0, 6, 5, 5])
    interval = latency_ratio([one], [other])
    assert (interval.low, interval.high) == pytest.approx((0.5, 0.6))
    assert interval.outcome == "undecided" and "4 rounds, too few" in interval.method


def test_quantiles_of_students_t() -> None:
    tabulated = {2: 4.303, 3: 3.182, 5: 2.571, 9: 2.262, 19: 2.093, 1e9: 1.960}
    for freedom, expected in tabulated.items():
        assert student_t(freedom) == pytest.approx(expected, rel=0.01)
