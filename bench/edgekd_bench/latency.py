"""Time several models against each other so that the machine's moods hit all of them alike.

Models take turns, each round in a fresh order, on the same real images in one process: a clock that
throttles or a neighbour that wakes up shifts both sides of a ratio. Two clocks: ``forward`` is the
network alone on a prepared input (copies to and from the device included); ``end_to_end`` starts
from the file's bytes in memory and ends with boxes. No sample is ever dropped.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd_bench.detections import Detections, Thresholds, to_detections
from edgekd_bench.images import decode_image, letterbox, to_batch
from edgekd_bench.runner import Float32Array, Runner

Float64Array = npt.NDArray[np.float64]
Call = Callable[[int], object]  # given the number of the round

_STABLE = 0.05  # warm enough when two windows' medians differ by less
_MAX_WARMUP_FACTOR = 10  # a machine that never settles must not be waited for


@dataclass(frozen=True)
class TimingLimits:
    """When a clock may stop."""

    min_seconds: float  # of timed work, for each model
    min_count: int  # timed calls, for each model
    warmup: int  # untimed calls, for each model, at least


@dataclass(frozen=True)
class Samples:
    """Every timed call of one model, in order; round r of all models ran side by side."""

    milliseconds: Float64Array  # (n,)
    num_warmup: int

    def percentile(self, q: float) -> float:
        """The q-th percentile in milliseconds."""
        return float(np.percentile(self.milliseconds, q))


@dataclass(frozen=True)
class Latency:
    """Both clocks of one model."""

    forward: Samples
    end_to_end: Samples


def measure_latency(
    runners: Sequence[Runner],
    image_paths: Sequence[Path],
    *,
    batch: int,
    limits: TimingLimits,
    thresholds: Thresholds,
    on_round: Callable[[], None] = lambda: None,
) -> list[Latency]:
    """Time all runners in turns on the same images.

    Args:
        runners: opened models, all on one backend.
        image_paths: at least one image; round r uses images r, r + 1 … of them, cyclically.
        batch: images per call; all figures are milliseconds per call.
        limits: when to stop.
        thresholds: decoding for the end-to-end clock.
        on_round: called after each round, for progress.

    Returns:
        One entry a runner, in their order.
    """
    files = [path.read_bytes() for path in image_paths]
    batches = [[(r + k) % len(files) for k in range(batch)] for r in range(len(files))]
    prepared: dict[int, list[Float32Array]] = {}
    for size in {runner.info.image_size for runner in runners}:
        canvases = [letterbox(decode_image(data), size)[0] for data in files]
        prepared[size] = [to_batch([canvases[i] for i in chosen]) for chosen in batches]
    forward: list[Call] = [
        _forward_call(runner, prepared[runner.info.image_size]) for runner in runners
    ]
    whole: list[Call] = [
        _end_to_end_call(runner, [[files[i] for i in chosen] for chosen in batches], thresholds)
        for runner in runners
    ]
    forward_samples = time_in_turns(forward, limits, on_round)
    whole_samples = time_in_turns(whole, limits, on_round)
    pairs = zip(forward_samples, whole_samples, strict=True)
    return [Latency(first, second) for first, second in pairs]


def time_in_turns(
    calls: Sequence[Call], limits: TimingLimits, on_round: Callable[[], None] = lambda: None
) -> list[Samples]:
    """Time each call once a round, in a random order drawn anew each round.

    A fixed order would give each model the same predecessor, and with it the same caches, every
    time. The draw is seeded.

    Stops after a whole round, once every call has both its minimum time and its minimum count.
    """
    with _garbage_collection_paused():
        orders = np.random.default_rng(0)
        num_warmup = _warm_up(calls, limits.warmup, orders)
        rounds: list[list[int]] = []
        spent = np.zeros(len(calls), np.int64)
        while len(rounds) < limits.min_count or spent.min() < limits.min_seconds * 1e9:
            rounds.append(_round(calls, len(rounds), orders))
            spent += rounds[-1]
            on_round()
    table = np.array(rounds, np.float64) / 1e6  # (n, models)
    return [Samples(table[:, index].copy(), num_warmup) for index in range(len(calls))]


def detect_in_bytes(runner: Runner, files: Sequence[bytes], how: Thresholds) -> list[Detections]:
    """The whole way from encoded images in memory to boxes: what ``end_to_end`` times."""
    info = runner.info
    fitted = [letterbox(decode_image(data), info.image_size) for data in files]
    output = runner.forward(to_batch([canvas for canvas, _ in fitted]))
    return [
        to_detections(output[index], way_back, end_to_end=info.end_to_end, thresholds=how)
        for index, (_, way_back) in enumerate(fitted)
    ]


def _forward_call(runner: Runner, prepared: Sequence[Float32Array]) -> Call:
    return lambda number: runner.forward(prepared[number % len(prepared)])


def _end_to_end_call(
    runner: Runner, files: Sequence[Sequence[bytes]], thresholds: Thresholds
) -> Call:
    return lambda number: detect_in_bytes(runner, files[number % len(files)], thresholds)


def _round(calls: Sequence[Call], number: int, orders: np.random.Generator) -> list[int]:
    """Nanoseconds of one turn of each call, in the order of ``calls``."""
    taken = [0] * len(calls)
    for index in orders.permutation(len(calls)):
        start = time.perf_counter_ns()
        calls[index](number)
        taken[index] = time.perf_counter_ns() - start
    return taken


def _warm_up(calls: Sequence[Call], least: int, orders: np.random.Generator) -> int:
    """Run untimed rounds until each call's median settles; returns their number."""
    rounds: list[list[int]] = []
    while len(rounds) < least * _MAX_WARMUP_FACTOR:
        rounds += [_round(calls, len(rounds) + index, orders) for index in range(least)]
        if len(rounds) >= 2 * least:
            before = np.median(rounds[-2 * least : -least], axis=0)
            after = np.median(rounds[-least:], axis=0)
            if (np.abs(after - before) <= _STABLE * before).all():
                break
    return len(rounds)


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
