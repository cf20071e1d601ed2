"""How near a distillation came to the speed of its slowest part.

The loop has three stages: data (views, or records of a cache), teacher (copy to the device and
targets: a forward pass, or decoding a record) and student (forward, backward, optimiser). Each is
run alone for a few batches after everything has been saved, because the student goes on learning
meanwhile. On a GPU the stages overlap, so the slowest one is the bound. On a CPU they share the
cores, so the bound is one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric

from edgekd.data.batches import Batch, endless
from edgekd.distill.taught_batches import TaughtBatch, TaughtBatches

_LEAST_STEPS = 20
_MOST_SECONDS = 5.0
_MOST_SHARE = 0.03  # of the time the loop took
_LEAST_BATCHES, _MOST_BATCHES = 2, 20
_WARMUP_BATCHES = 1


@dataclass
class Pace:
    """Images, steps and seconds of the epochs that this process has done, held-out probe excluded.

    The rate leaves out the first epoch where there are more: every image is decoded in it.
    """

    epochs: list[tuple[int, int, float]] = field(default_factory=list)

    def add(self, num_images: int, num_steps: int, seconds: float) -> None:
        """One epoch, or what a resumed run had left of it; images of all processes."""
        if num_steps:
            self.epochs.append((num_images, num_steps, seconds))

    @property
    def num_steps(self) -> int:
        """Steps of all epochs."""
        return sum(steps for _, steps, _ in self.epochs)

    @property
    def seconds(self) -> float:
        """Of all epochs."""
        return sum(seconds for *_, seconds in self.epochs)

    @property
    def images_per_second(self) -> float:
        """Of all processes together."""
        counted = self.epochs[1:] or self.epochs
        return sum(images for images, *_ in counted) / sum(seconds for *_, seconds in counted)


@dataclass(frozen=True)
class StageRates:
    """Images/s of each stage running alone, all processes together."""

    data: float
    teacher: float
    student: float

    @property
    def slowest(self) -> str:
        """``data``, ``teacher`` or ``student``."""
        rates: dict[str, float] = asdict(self)
        return min(rates, key=rates.__getitem__)

    @property
    def in_turn(self) -> float:
        """Images/s where one stage follows the other: the bound of a device they all share."""
        return 1 / (1 / self.data + 1 / self.teacher + 1 / self.student)


@dataclass(frozen=True)
class Efficiency:
    """The loop against its own stages.

    Args:
        loop: images/s of the loop, all processes together.
        alone: the same of each stage.
        shared: all stages run on the same cores.
        num_batches: timed for each stage; teacher and student warm up on another one.
    """

    loop: float
    alone: StageRates
    shared: bool
    num_batches: int

    @property
    def of_slowest(self) -> float:
        """1: as fast as the slowest stage alone."""
        return self.loop / float(getattr(self.alone, self.alone.slowest))

    @property
    def of_in_turn(self) -> float:
        """1: as fast as one stage after the other; more where they overlap."""
        return self.loop / self.alone.in_turn

    def in_words(self) -> str:
        """One line for people."""
        alone = ", ".join(
            f"{name} {_figure(rate)}{' (slowest)' if name == self.alone.slowest else ''}"
            for name, rate in asdict(self.alone).items()
        )
        bound = (
            f" ({self.of_in_turn:.2f} of what one CPU reaches with one stage after the other, "
            f"{_figure(self.alone.in_turn)} images/s)"
        )
        return (
            f"efficiency {self.of_slowest:.2f}{bound if self.shared else ''}: "
            f"loop {_figure(self.loop)} images/s; alone: {alone}"
        )

    def as_record(self) -> dict[str, Any]:
        """Content of ``efficiency.json``; all rates in images/s."""
        return {
            "efficiency": self.of_slowest,
            "efficiency_in_turn": self.of_in_turn,
            "slowest": self.alone.slowest,
            "loop": self.loop,
            "in_turn": self.alone.in_turn,
            "alone": asdict(self.alone),
            "shared": self.shared,
            "num_batches": self.num_batches,
        }


def batches_to_time(pace: Pace) -> tuple[int, str]:
    """How many batches each stage may be timed for; or 0 and the reason why none.

    All stages together take about as long as the same number of steps: at most 5 s and 3 % of the
    run, but two batches where that fits into the larger of the two.
    """
    if pace.num_steps < _LEAST_STEPS:
        return 0, f"{pace.num_steps} steps were done, {_LEAST_STEPS} are needed"
    step = pace.seconds / pace.num_steps
    share = _MOST_SHARE * pace.seconds
    if (_LEAST_BATCHES + _WARMUP_BATCHES) * step > max(_MOST_SECONDS, share):
        return 0, f"a step takes {step:.1f} s, so it would take more than 3 % of the run"
    affordable = int(min(_MOST_SECONDS, share) / step) - _WARMUP_BATCHES
    return min(_MOST_BATCHES, max(_LEAST_BATCHES, affordable)), ""


def time_stages(
    taught: TaughtBatches,
    learn: Callable[[TaughtBatch], object],
    num_batches: int,
    fabric: Fabric,
) -> StageRates:
    """Run each stage alone; in a job of several processes, in all of them at once.

    Args:
        taught: the loop's batches; its first epochs are drawn again.
        learn: one step of the student, which does change its weights.
        num_batches: timed for each stage, the same in all processes.
        fabric: device and processes.
    """
    with closing(endless(taught.loader.epoch)) as batches:
        # Not warmed up: the loader would work ahead meanwhile, and the clock would miss that.
        data = _rate(lambda: next(batches), num_batches, fabric, num_warmup=0)
        batch = next(batches)
    # The loader's threads have ended here and take no time from the others.
    teacher = _rate(lambda: taught.teach(batch), num_batches, fabric)
    ready = taught.teach(batch)

    def step() -> TaughtBatch:
        learn(ready)
        return ready

    return StageRates(data, teacher, _rate(step, num_batches, fabric))


def _rate(
    work: Callable[[], Batch | TaughtBatch],
    num_batches: int,
    fabric: Fabric,
    num_warmup: int = _WARMUP_BATCHES,
) -> float:
    """Images/s of all processes, the slowest of which counts."""
    for _ in range(num_warmup):
        work()
    _wait(fabric)
    started = time.perf_counter()
    num_images = sum(len(work()) for _ in range(num_batches))
    _wait(fabric)
    return num_images * fabric.world_size / (time.perf_counter() - started)


def _figure(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def _wait(fabric: Fabric) -> None:
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    fabric.barrier()
