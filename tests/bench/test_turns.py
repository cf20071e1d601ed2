"""Models take turns, nothing is dropped, and the clock stops only when enough is known."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest

from edgekd_bench.turns import Samples, TimingLimits, time_in_turns


def test_calls_take_turns_in_an_order_drawn_anew() -> None:
    order: list[str] = []
    calls = [lambda _, name=name: order.append(name) for name in "ABC"]
    results = time_in_turns(calls, TimingLimits(min_seconds=0, min_count=7, warmup=3))
    rounds = [tuple(order[start : start + 3]) for start in range(0, len(order), 3)]
    assert all(sorted(turn) == ["A", "B", "C"] for turn in rounds)
    assert len(set(rounds)) > 1, "a fixed order gives each model the same predecessor"
    assert all(len(result.milliseconds) == 7 for result in results)
    counted = sum(7 + result.num_warmup for result in results)
    assert counted == len(order), "every call is a warm-up or is in the samples"


def test_both_minima_hold() -> None:
    quick = time_in_turns([lambda _: time.sleep(0.001)], TimingLimits(0.05, 5, 1))[0]
    assert quick.milliseconds.sum() >= 50
    slow = time_in_turns([lambda _: time.sleep(0.004)], TimingLimits(0.0, 9, 1))[0]
    assert len(slow.milliseconds) == 9
    assert slow.milliseconds.min() >= 4


def test_it_goes_on_until_p90_is_known_but_not_for_ever() -> None:
    def steady(_: int) -> None:
        time.sleep(0.001)

    def erratic(number: int) -> None:
        time.sleep(0.02 if number % 7 == 0 else 0.001)

    within = TimingLimits(0.05, 5, 1, p90_within=5.0)
    assert len(time_in_turns([steady], within)[0].milliseconds) >= 36, "fewer cannot enclose a p90"
    hopeless = TimingLimits(0.02, 5, 1, p90_within=1e-6, patience=4)
    spent = time_in_turns([erratic], hopeless)[0].milliseconds
    assert spent[:-1].sum() < 80 <= spent.sum(), "it stops with the call that reaches four times"


def test_outliers_stay_in() -> None:
    # Rounds are numbered anew after the warm-up, so the slow one is timed.
    samples = time_in_turns(
        [lambda number: time.sleep(0.05 if number == 3 else 0)], TimingLimits(0, 10, 1)
    )[0]
    assert samples.milliseconds.argmax() == 3
    assert samples.milliseconds.max() >= 50


def test_warm_up_goes_on_until_calls_settle() -> None:
    def settling(number: int) -> None:
        time.sleep(0.02 / (number + 1) + 0.002)

    settled = time_in_turns([settling], TimingLimits(0, 2, 4))[0]
    assert settled.num_warmup > 8


def test_a_warm_up_that_never_settles_is_given_up_and_told() -> None:
    def slower_and_slower(number: int) -> None:
        time.sleep(0.0005 * 2 ** (number // 2))

    samples = time_in_turns([slower_and_slower], TimingLimits(0, 2, 2))[0]
    assert not samples.has_settled and samples.num_warmup == 20


def test_a_slow_call_is_not_warmed_up_for_longer_than_it_is_timed() -> None:
    def slower_and_slower(number: int) -> None:
        time.sleep(0.002 * 2 ** (number // 2))

    limits = TimingLimits(min_seconds=0.01, min_count=2, warmup=2, patience=2)
    samples = time_in_turns([slower_and_slower], limits)[0]
    assert not samples.has_settled and 4 <= samples.num_warmup < 20


def test_the_devices_own_clock_is_kept_beside_the_hosts() -> None:
    clocks = [lambda number: float(number), lambda number: None if number == 1 else 1.0]
    first, second = time_in_turns(clocks, TimingLimits(0, 4, 1))
    assert first.device_ms is not None and first.device_ms.tolist() == [0, 1, 2, 3]
    assert second.device_ms is None, "a clock that stands still now and then is none"


def test_garbage_collection_is_off_while_timing_and_back_on_after() -> None:
    states: list[bool] = []
    assert gc.isenabled()
    time_in_turns([lambda _: states.append(gc.isenabled())], TimingLimits(0, 3, 1))
    assert not any(states) and gc.isenabled()
    with pytest.raises(RuntimeError, match="broken"):
        time_in_turns([_fail], TimingLimits(0, 3, 1))
    assert gc.isenabled()


def test_percentiles_are_of_all_samples() -> None:
    samples = Samples(np.arange(101, dtype=np.float64), 0)
    assert [samples.percentile(q) for q in (50, 90, 99)] == [50, 90, 99]


def _fail(_: int) -> None:
    raise RuntimeError("broken")
