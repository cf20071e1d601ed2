"""Keep one model busy alone, so that the power drawn meanwhile is its own.

In turns of some milliseconds models cannot be told apart by a power sensor that is read a few times
a second. So each model also runs alone for some seconds; this module says when, and how many images
it did, and whoever watches the sensors says how much power there was.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from edgekd_bench.runner import Runner
from edgekd_bench.timing_inputs import TimingInputs


@dataclass(frozen=True)
class BusyStretch:
    """When one model ran alone, one batch after the other."""

    start_s: float  # time.monotonic(), which all processes of a machine share
    end_s: float
    num_images: int

    def joules_per_image(self, power_w: float) -> float:
        """Energy of one image at a mean power."""
        return power_w * (self.end_s - self.start_s) / self.num_images


def keep_busy(runner: Runner, inputs: TimingInputs, seconds: float) -> BusyStretch:
    """Run a model for at least so long."""
    tensors = inputs.tensors[runner.info.image_size]
    start = end = time.monotonic()
    calls = 0
    while end - start < seconds or not calls:
        runner.forward(tensors[calls % len(tensors)])
        calls += 1
        end = time.monotonic()
    return BusyStretch(start, end, calls * inputs.batch)
