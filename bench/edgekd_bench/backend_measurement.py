"""Everything that is measured on one backend: mAP, clocks, throughput, power, and the self-check.

All models of the backend are open at once, so that they can take turns. What is measured here is
raw; `result_rows` turns it into the rows of a record. A file that is exchanged while it is measured
would give its name to another model's figures, so its hash is taken again at the end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgekd_bench.accuracy import Accuracy, evaluate
from edgekd_bench.backends import Backend
from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.energy import BusyStretch, keep_busy
from edgekd_bench.errors import InputError
from edgekd_bench.latency import Latency, measure_latency
from edgekd_bench.manifest import sha256_of
from edgekd_bench.record import SelfCheck
from edgekd_bench.runner import Runner, RunnerInfo, RunnerOptions, open_runner
from edgekd_bench.samples import spread
from edgekd_bench.self_check import judge_twins
from edgekd_bench.settings import BenchSettings
from edgekd_bench.throughput import Throughput, measure_throughput
from edgekd_bench.timing_inputs import TimingInputs, prepare_inputs
from edgekd_bench.turns import Samples, TimingLimits


@dataclass(frozen=True)
class ModelFile:
    """A file to measure, under the name it has in the results."""

    path: Path
    name: str
    sha256: str  # of the bytes that were looked at before


@dataclass(frozen=True)
class BackendJob:
    """What to measure on one backend."""

    backend: Backend
    models: tuple[ModelFile, ...]
    dataset: DetectionSet
    settings: BenchSettings
    has_power_sensor: bool
    build_cache: Path  # what one opening builds, a later one of the same run may use


@dataclass(frozen=True)
class ModelResult:
    """All that was measured of one model."""

    info: RunnerInfo
    accuracy: Accuracy
    latency: Latency
    throughput: Throughput | None = None
    busy: BusyStretch | None = None  # when it ran alone; None: nobody measured power


@dataclass(frozen=True)
class BackendResult:
    """The results of all models of a job, in its order."""

    models: tuple[ModelResult, ...]
    self_check: SelfCheck
    timed_s: tuple[float, float]  # time.monotonic() before the first timed call and after the last


def runner_options(
    how: BenchSettings, backend: Backend, batch: int, build_cache: Path | None
) -> RunnerOptions:
    """How the settings want a model opened."""
    # Engines know one device, and on a Jetson the ONNX files beside them run on the CPU.
    device = "cuda" if backend == "tensorrt" else how.device
    return RunnerOptions(
        image_size=how.image_size,
        batch=batch,
        threads=how.threads,
        device=device,
        channels_last=how.channels_last,
        cuda_graph=how.cuda_graph,
        build_cache=build_cache,
    )


def measure_backend(job: BackendJob, bar: BenchProgress) -> BackendResult:
    """Score each model, then time all of them in turns.

    Raises:
        InputError: a model that can no longer be opened, or is another file than before.
    """
    how = job.settings
    with ExitStack() as stack:
        runners = [stack.enter_context(_open(job, model, how.batch)) for model in job.models]
        accuracies = [_score(job, *pair, bar) for pair in zip(job.models, runners, strict=True)]
        inputs = _inputs(job, runners, how.batch)
        start = time.monotonic()
        latencies, twin = _time(job, runners, inputs, bar)
        throughputs = _throughputs(job, runners, inputs, bar)
        end = time.monotonic()
        stretches = _stretches(job, runners, inputs, bar)
        for model in job.models:
            _check_unchanged(model, sha256_of(model.path))
        models = tuple(
            ModelResult(runner.info, accuracy, latency, throughput, busy)
            for runner, accuracy, latency, throughput, busy in zip(
                runners, accuracies, latencies, throughputs, stretches, strict=True
            )
        )
    check = judge_twins(
        job.models[0].name, job.backend, latencies[0].host.milliseconds, twin.milliseconds
    )
    return BackendResult(models, check, (start, end))


def _open(job: BackendJob, model: ModelFile, batch: int) -> Runner:
    runner = open_runner(
        model.path, job.backend, runner_options(job.settings, job.backend, batch, job.build_cache)
    )
    try:
        _check_unchanged(model, runner.info.sha256)
    except InputError:
        runner.close()
        raise
    return runner


def _check_unchanged(model: ModelFile, sha256: str) -> None:
    if sha256 != model.sha256:
        raise InputError(
            f"{model.path}: another file took its place while it was measured (SHA-256 "
            f"{model.sha256[:12]}… before, {sha256[:12]}… now), so no figure can be trusted; "
            "nothing is written, measure again"
        )


def _score(job: BackendJob, model: ModelFile, runner: Runner, bar: BenchProgress) -> Accuracy:
    how = job.settings
    with bar.stage(f"mAP of {model.name}", len(job.dataset.images)) as advance:
        return evaluate(
            runner,
            job.dataset,
            batch=how.batch,
            thresholds=how.accuracy_thresholds(),
            deployment=how.deployment_thresholds(),
            on_image=advance,
        )


def _inputs(job: BackendJob, runners: Sequence[Runner], batch: int) -> TimingInputs:
    chosen = spread(job.dataset, job.settings.num_latency_images)
    paths = [job.dataset.images[index].path for index in chosen]
    return prepare_inputs(paths, batch, {runner.info.image_size for runner in runners})


def _time(
    job: BackendJob, runners: Sequence[Runner], inputs: TimingInputs, bar: BenchProgress
) -> tuple[list[Latency], Samples]:
    how = job.settings
    limits = TimingLimits(how.min_seconds, how.min_count, how.warmup, how.p90_within)
    with (
        _open(job, job.models[0], how.batch) as twin,
        bar.stage(f"latency on {job.backend}, rounds", None) as advance,
    ):
        return measure_latency(
            runners,
            twin,
            inputs,
            limits=limits,
            thresholds=how.deployment_thresholds(),
            on_round=advance,
        )


def _throughputs(
    job: BackendJob, runners: Sequence[Runner], inputs: TimingInputs, bar: BenchProgress
) -> list[Throughput | None]:
    """The best of each model over the batch sizes it can be opened for."""
    if not job.settings.throughput:
        return [None] * len(runners)
    seconds = job.settings.min_seconds
    with bar.stage(f"throughput on {job.backend}, rounds", None) as advance:
        best = measure_throughput(runners, inputs, min_seconds=seconds, on_round=advance)
        for batch in job.settings.throughput_batches:
            able = [k for k, runner in enumerate(runners) if runner.info.batch is None]
            if batch == inputs.batch or not able:
                continue
            with ExitStack() as stack:
                others = [stack.enter_context(_open(job, job.models[k], batch)) for k in able]
                found = measure_throughput(
                    others, _inputs(job, others, batch), min_seconds=seconds, on_round=advance
                )
            for k, throughput in zip(able, found, strict=True):
                best[k] = max(best[k], throughput, key=lambda t: t.images_per_s)
    return list(best)


def _stretches(
    job: BackendJob, runners: Sequence[Runner], inputs: TimingInputs, bar: BenchProgress
) -> list[BusyStretch | None]:
    """One model after the other alone, where somebody can measure the power meanwhile."""
    seconds = job.settings.energy_seconds
    if not job.has_power_sensor or not seconds:
        return [None] * len(runners)
    stretches: list[BusyStretch | None] = []
    with bar.stage(f"power on {job.backend}, models", len(runners)) as advance:
        for runner in runners:
            stretches.append(keep_busy(runner, inputs, seconds))
            advance()
    return stretches
