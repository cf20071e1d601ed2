"""Time students in turns, a handful at a time.

All of them cannot be open at once, so they are timed in groups, and one student, the anchor, takes
part in every group of its backend: how far its median wanders says how comparable the groups are.
A student that misses the budget by far is found out in three calls and not timed any further.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd_bench.backends import Backend
from edgekd_bench.detections import Thresholds
from edgekd_bench.latency import detect_in_bytes
from edgekd_bench.latency_ratio import is_quiet
from edgekd_bench.quantile_intervals import quantile_interval
from edgekd_bench.runner import Runner, RunnerOptions, open_runner
from edgekd_bench.suggestion.result import Choice, Timing
from edgekd_bench.suggestion.settings import SuggestionSettings
from edgekd_bench.timing_inputs import TimingInputs, prepare_inputs
from edgekd_bench.turns import Call, Samples, TimingLimits, time_in_turns

Float64Array = npt.NDArray[np.float64]

HOPELESS = 2.0  # times the budget
_PROBES = 3
_APPLICATION = Thresholds(conf=0.25, multi_label=False)


@dataclass(frozen=True)
class Timed:
    """A student and its file."""

    choice: Choice
    file: Path


@dataclass
class StudentTimer:
    """Times groups of students; use it as a context manager, it keeps the anchors open."""

    settings: SuggestionSettings
    pictures: Sequence[Path]
    _anchors: dict[Backend, Runner] = field(default_factory=dict)
    _anchor_medians: dict[str, list[float]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> StudentTimer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def time_group(
        self,
        backend: Backend,
        group: Sequence[Timed],
        on_round: Callable[[], None] = lambda: None,
    ) -> dict[Choice, Timing]:
        """Time students of one backend against each other and against its anchor.

        Raises:
            InputError: a file that the backend cannot run.
        """
        with ExitStack() as stack:
            runners = {
                timed.choice: stack.enter_context(self._open(timed.file, backend))
                for timed in group
            }
            inputs = self._inputs([*runners.values(), *self._anchors.values()])
            timings: dict[Choice, Timing] = {}
            for choice, runner in list(runners.items()):
                probed = _probe(runner, inputs)
                if probed.min() > HOPELESS * self.settings.target_ms:
                    timings[choice] = _timing(runners.pop(choice), Samples(probed, 0), rough=True)
            if runners:
                self._ensure_anchor(backend, group, runners)
                timings |= self._time(backend, runners, inputs, on_round)
            return timings

    def drift(self) -> float:
        """How far an anchor's median wandered between groups: 0.05 is 5 %."""
        spreads = [max(m) / min(m) - 1 for m in self._anchor_medians.values() if m]
        return max(spreads, default=0.0)

    def _open(self, file: Path, backend: Backend) -> Runner:
        options = RunnerOptions(threads=self.settings.threads, device=self.settings.device)
        return open_runner(file, backend, options)

    def _inputs(self, runners: Sequence[Runner]) -> TimingInputs:
        return prepare_inputs(self.pictures, 1, {runner.info.image_size for runner in runners})

    def _ensure_anchor(
        self, backend: Backend, group: Sequence[Timed], runners: dict[Choice, Runner]
    ) -> None:
        """The first student that is timed on a backend stays open for all later groups."""
        if backend not in self._anchors:
            file = next(timed.file for timed in group if timed.choice in runners)
            self._anchors[backend] = self._stack.enter_context(self._open(file, backend))

    def _time(
        self,
        backend: Backend,
        runners: dict[Choice, Runner],
        inputs: TimingInputs,
        on_round: Callable[[], None],
    ) -> dict[Choice, Timing]:
        how = self.settings
        limits = TimingLimits(how.min_seconds, how.min_count, how.warmup)
        anchor = self._anchors[backend]
        calls = [_network(runner, inputs) for runner in (*runners.values(), anchor)]
        *networks, steady = time_in_turns(calls, limits, on_round)
        self._anchor_medians.setdefault(backend, []).append(steady.percentile(50))
        short = TimingLimits(how.min_seconds / 3, how.min_count // 3, how.warmup)
        whole = time_in_turns([_whole(r, inputs) for r in runners.values()], short, on_round)
        return {
            choice: _timing(runner, host, overhead_ms=all_.percentile(50) - host.percentile(50))
            for (choice, runner), host, all_ in zip(runners.items(), networks, whole, strict=True)
        }


def _probe(runner: Runner, inputs: TimingInputs) -> Float64Array:
    """(3,) milliseconds of the first calls after one that may still set things up."""
    tensors = inputs.tensors[runner.info.image_size]
    runner.forward(tensors[0])
    taken = []
    for number in range(_PROBES):
        start = time.perf_counter()
        runner.forward(tensors[number % len(tensors)])
        taken.append((time.perf_counter() - start) * 1000)
    return np.array(taken, np.float64)


def _network(runner: Runner, inputs: TimingInputs) -> Call:
    tensors = inputs.tensors[runner.info.image_size]
    return lambda number: runner.forward_timed(tensors[number % len(tensors)]).device_ms


def _whole(runner: Runner, inputs: TimingInputs) -> Call:
    def call(number: int) -> None:
        detect_in_bytes(runner, inputs.files[number % len(inputs.files)], _APPLICATION)

    return call


def _timing(
    runner: Runner, host: Samples, *, overhead_ms: float | None = None, rough: bool = False
) -> Timing:
    samples = host.milliseconds
    known = {f"p{q}_ms": quantile_interval(samples, q / 100) for q in (50, 90, 99)}
    return Timing(
        p50_ms=host.percentile(50),
        p90_ms=host.percentile(90),
        p99_ms=host.percentile(99),
        intervals_ms={name: interval for name, interval in known.items() if interval is not None},
        overhead_p50_ms=overhead_ms,
        num_timed=len(samples),
        rough=rough,
        quiet=rough or is_quiet(samples),
        size_mb=runner.info.size_mb,
        num_params=runner.info.num_params,
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
