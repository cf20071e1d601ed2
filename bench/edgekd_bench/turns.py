"""Call several things in turns and keep every duration, until enough is known.

Models take turns, each round in a fresh order: a clock that throttles or a neighbour that wakes up
shifts all of them alike. A fixed order would give each model the same predecessor, and with it the
same caches, every time. No duration is ever dropped.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd_bench.quantile_intervals import relative_width

Float64Array = npt.NDArray[np.float64]
Call = Callable[[int], float | None]  # given the number of the round; returns the device's ms

_STABLE = 0.05  # warm enough when two windows' medians differ by less
_MAX_WARMUP_FACTOR = 10  # a machine that never settles must not be waited for
_LOOK_AGAIN = 1.1  # growth of the sample before p90's interval is computed once more


@dataclass(frozen=True)
class TimingLimits:
    """When a clock may stop: both minima, and then as soon as p90 is known well enough."""

    min_seconds: float  # of timed work, for each model
    min_count: int  # timed calls, for each model
    warmup: int  # untimed calls, for each model, at least
    p90_within: float | None = None  # share of p90 that its interval may reach up or down
    patience: float = 3.0  # to warm up, and for p90's sake, so many times min_seconds at most


@dataclass(frozen=True)
class Samples:
    """Every timed call of one model, in order; round r of all models ran side by side."""

    milliseconds: Float64Array  # (n,)
    num_warmup: int
    has_settled: bool = True  # False: the warm-up was given up before the median was stable
    device_ms: Float64Array | None = None  # (n,) the device's own clock, of the very same calls

    def percentile(self, q: float) -> float:
        """The q-th percentile in milliseconds."""
        return float(np.percentile(self.milliseconds, q))


@dataclass(frozen=True)
class _Round:
    """One turn of each call, in the order of the calls."""

    nanoseconds: list[int]
    device_ms: list[float]  # NaN: no such clock


def time_in_turns(
    calls: Sequence[Call], limits: TimingLimits, on_round: Callable[[], None] = lambda: None
) -> list[Samples]:
    """Time each call once a round, in a random order drawn anew each round; the draw is seeded.

    Args:
        calls: what to time.
        limits: when to stop; it always stops after a whole round.
        on_round: called between rounds, for progress.

    Returns:
        One entry a call, in their order.
    """
    with _garbage_collection_paused():
        orders = np.random.default_rng(0)
        num_warmup, has_settled = _warm_up(calls, limits, orders)
        rounds: list[_Round] = []
        spent = np.zeros(len(calls), np.int64)
        next_look = 0
        while True:
            rounds.append(_round(calls, len(rounds), orders))
            spent += rounds[-1].nanoseconds
            on_round()
            if not _minima_reached(len(rounds), spent, limits):
                continue
            if (
                limits.p90_within is None
                or spent.min() >= limits.patience * limits.min_seconds * 1e9
            ):
                break
            if len(rounds) >= next_look:
                if _p90_is_known(rounds, limits.p90_within):
                    break
                next_look = int(len(rounds) * _LOOK_AGAIN) + 1
    host = _durations(rounds)  # (n, models)
    device = np.array([r.device_ms for r in rounds], np.float64)
    return [
        Samples(host[:, k].copy(), num_warmup, has_settled, _known(device[:, k]))
        for k in range(len(calls))
    ]


def _is_out_of_patience(warm_up: Sequence[Sequence[int]], limits: TimingLimits) -> bool:
    """Whether every call has had more time to warm up than it will be timed."""
    if len(warm_up) < 2 * limits.warmup or not limits.min_seconds:
        return False
    return bool(np.min(np.sum(warm_up, axis=0)) >= limits.patience * limits.min_seconds * 1e9)


def _minima_reached(num_rounds: int, spent: npt.NDArray[np.int64], limits: TimingLimits) -> bool:
    return num_rounds >= limits.min_count and bool(spent.min() >= limits.min_seconds * 1e9)


def _p90_is_known(rounds: Sequence[_Round], within: float) -> bool:
    widths = [relative_width(series, 0.9) for series in _durations(rounds).T]
    return all(width is not None and width <= within for width in widths)


def _durations(rounds: Sequence[_Round]) -> Float64Array:
    """(n, calls) milliseconds."""
    return np.array([r.nanoseconds for r in rounds], np.float64) / 1e6


def _known(device_ms: Float64Array) -> Float64Array | None:
    return None if np.isnan(device_ms).any() else device_ms.copy()


def _round(calls: Sequence[Call], number: int, orders: np.random.Generator) -> _Round:
    taken, device_ms = [0] * len(calls), [float("nan")] * len(calls)
    for index in orders.permutation(len(calls)):
        start = time.perf_counter_ns()
        on_device = calls[index](number)
        taken[index] = time.perf_counter_ns() - start
        if on_device is not None:
            device_ms[index] = on_device
    return _Round(taken, device_ms)


def _warm_up(
    calls: Sequence[Call], limits: TimingLimits, orders: np.random.Generator
) -> tuple[int, bool]:
    """Run untimed rounds until each call's median settles; their number, and whether it did."""
    least = limits.warmup
    rounds: list[list[int]] = []
    while len(rounds) < least * _MAX_WARMUP_FACTOR and not _is_out_of_patience(rounds, limits):
        rounds += [_round(calls, len(rounds) + index, orders).nanoseconds for index in range(least)]
        if len(rounds) >= 2 * least:
            before = np.median(rounds[-2 * least : -least], axis=0)
            after = np.median(rounds[-least:], axis=0)
            if (np.abs(after - before) <= _STABLE * before).all():
                return len(rounds), True
    return len(rounds), False


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """A collection in the middle of a call would be timed as the model's."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
