"""Images per second where all images are at hand and nobody waits for one of them.

This is MLPerf's offline scenario, on one process: batches are handed over together and come back
when they are done, with as many under way at once as the backend makes use of
(`Runner.forward_all`). Models take turns here too, a whole set of batches at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekd_bench.runner import Runner
from edgekd_bench.timing_inputs import TimingInputs
from edgekd_bench.turns import Call, TimingLimits, time_in_turns

_MIN_TURNS = 3


@dataclass(frozen=True)
class Throughput:
    """How fast one model gets through images it need not answer one by one."""

    images_per_s: float
    batch: int
    in_flight: int  # batches under way at once


def measure_throughput(
    runners: Sequence[Runner],
    inputs: TimingInputs,
    *,
    min_seconds: float,
    on_round: Callable[[], None] = lambda: None,
) -> list[Throughput]:
    """All images over all time of each runner; no turn is left out.

    Args:
        runners: opened models, all on one backend and for the batch of the inputs.
        inputs: prepared for the image size of each.
        min_seconds: of timed work, for each.
        on_round: called after each round, for progress.
    """
    limits = TimingLimits(min_seconds, min_count=_MIN_TURNS, warmup=1)
    turns = time_in_turns([_turn(runner, inputs) for runner in runners], limits, on_round)
    images = len(inputs.files) * inputs.batch
    return [
        Throughput(
            images_per_s=images * len(samples.milliseconds) / (samples.milliseconds.sum() / 1e3),
            batch=inputs.batch,
            in_flight=runner.in_flight,
        )
        for runner, samples in zip(runners, turns, strict=True)
    ]


def _turn(runner: Runner, inputs: TimingInputs) -> Call:
    tensors = inputs.tensors[runner.info.image_size]

    def turn(_: int) -> None:
        runner.forward_all(tensors)

    return turn
