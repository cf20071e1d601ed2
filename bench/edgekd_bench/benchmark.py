"""The benchmark: models and a detection set in, ``results.json`` and ``predictions.json`` out.

Everything that can be refused is refused before the first measurement. Then, backend by backend,
all models are opened together, scored, and timed in turns, while the machine is watched. Nothing is
written unless all of it succeeded.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from edgekd_bench.backend_measurement import (
    BackendJob,
    BackendResult,
    ModelResult,
    measure_backend,
)
from edgekd_bench.backend_process import measure_in_fresh_process
from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.comparison import compare
from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.device_state import describe_environment
from edgekd_bench.gate_condition import check_keys, parse_conditions
from edgekd_bench.intervals import Measurement
from edgekd_bench.model_files import Entry, inspect_models, list_models
from edgekd_bench.pairing import Contender, Pairing, pair_models
from edgekd_bench.record import BenchRecord, SamplePredictions, SelfCheck, Verdict, write_record
from edgekd_bench.regression_gate import check_baselines, judge
from edgekd_bench.result_rows import make_row
from edgekd_bench.samples import collect_samples
from edgekd_bench.self_check import doubt_about
from edgekd_bench.settings import BenchSettings
from edgekd_bench.state_monitor import StateMonitor
from edgekd_bench.verdict import conclude

_SENSOR_LOOK_S = 0.3  # counters of energy need some time to grow


@dataclass(frozen=True)
class _Measured:
    """One model on one backend: its row, and what comparison and samples need of it."""

    measurement: Measurement
    result: ModelResult


def run(
    models: Sequence[Path],
    *,
    data: Path,
    baselines: Sequence[Path] = (),
    settings: BenchSettings | None = None,
    out: Path,
    progress: Console | None = None,
    split: str = "val",
) -> BenchRecord:
    """Measure models on a detection set and compare candidates with baselines.

    Args:
        models: ``.onnx``, ``.pt`` and ``.engine`` files; one whose manifest says "baseline" is a
            baseline.
        data: the set's ``data.yaml`` or ``coco.yaml``.
        baselines: files that are baselines whatever their manifest says.
        settings: how to measure.
        out: folder for ``results.json`` and ``predictions.json``.
        progress: where to show a progress bar; None: nowhere.
        split: which split of the set.

    Returns:
        The record, as written to ``results.json``.

    Raises:
        InputError: a model or the set cannot be used, or a model changed while it was measured;
            nothing is written.
    """
    how = settings or BenchSettings()
    conditions = parse_conditions(how.fail_if)
    listed = list_models(models, baselines, how)
    dataset = load_detection_set(data, split)
    check_keys(conditions, list(dataset.names.values()))
    environment = describe_environment(how.threads)  # before our own load is on the machine
    with tempfile.TemporaryDirectory(prefix="edgekd-build-") as build_cache:
        entries = inspect_models(listed, dataset, how, Path(build_cache))
        contenders = [entry.contender for entry in entries]
        pairing = pair_models(contenders)
        check_baselines(conditions, contenders, pairing)
        with StateMonitor(_watched_device(entries, how)) as monitor:
            before = monitor.snapshot()
            results = _measure(entries, dataset, how, monitor, Path(build_cache), progress)
            measured, state = _judge(entries, results, monitor, how)
            state = {"before": before, **state, "after": monitor.snapshot()}
    checks = [result.self_check for result in results.values()]
    record = BenchRecord(
        environment=environment,
        settings=how.model_dump(mode="json"),
        data=_describe_data(dataset),
        rows=[m.measurement.row for m in measured.values()],
        verdict=_verdict(pairing, entries, measured, checks, how),
        self_checks=checks,
        device_state=state,
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
    )
    record = record.model_copy(update={"gate": judge(record, conditions)})
    write_record(out / "predictions.json", _samples(dataset, measured, how))
    write_record(out / "results.json", record)
    return record


def _measure(
    entries: Sequence[Entry],
    dataset: DetectionSet,
    how: BenchSettings,
    monitor: StateMonitor,
    build_cache: Path,
    progress: Console | None,
) -> dict[str, BackendResult]:
    """Results by backend; where there are several, each is measured in a process of its own."""
    has_power_sensor = _has_power_sensor(monitor)
    backends = dict.fromkeys(entry.backend for entry in entries)
    results: dict[str, BackendResult] = {}
    for backend in backends:
        job = BackendJob(
            backend=backend,
            models=tuple(entry.file for entry in entries if entry.backend == backend),
            dataset=dataset,
            settings=how,
            has_power_sensor=has_power_sensor,
            build_cache=build_cache,
        )
        if len(backends) > 1:
            results[backend] = measure_in_fresh_process(job, progress)
        else:
            with BenchProgress(progress) as bar:
                results[backend] = measure_backend(job, bar)
    return results


def _watched_device(entries: Sequence[Entry], how: BenchSettings) -> Literal["cpu", "cuda"]:
    """Whose power counts. An engine runs on the GPU, whatever the other files run on."""
    on_gpu = how.device == "cuda" or any(entry.backend == "tensorrt" for entry in entries)
    return "cuda" if on_gpu else "cpu"


def _has_power_sensor(monitor: StateMonitor) -> bool:
    start = monitor.mark()
    time.sleep(_SENSOR_LOOK_S)
    return monitor.window(start, monitor.mark()).power_w is not None


def _judge(
    entries: Sequence[Entry],
    results: dict[str, BackendResult],
    monitor: StateMonitor,
    how: BenchSettings,
) -> tuple[dict[tuple[str, str], _Measured], dict[str, Any]]:
    """What was measured, by name and backend; and what the machine did meanwhile, by backend."""
    measured: dict[tuple[str, str], _Measured] = {}
    facts: dict[str, Any] = {}
    for backend, result in results.items():
        window = monitor.window(*result.timed_s)
        facts[f"while timing on {backend}"] = window.facts
        own = [entry.contender for entry in entries if entry.backend == backend]
        for contender, model in zip(own, result.models, strict=True):
            row = make_row(contender.name, contender.init, model, window, monitor, how)
            measurement = Measurement(
                row, model.accuracy.score.matches, model.latency.host.milliseconds
            )
            measured[(contender.name, backend)] = _Measured(measurement, model)
    return measured, facts


def _verdict(
    pairing: Pairing,
    entries: Sequence[Entry],
    by_key: dict[tuple[str, str], _Measured],
    checks: Sequence[SelfCheck],
    how: BenchSettings,
) -> Verdict:
    def measurements(chosen: Sequence[Contender]) -> list[Measurement]:
        return [by_key[(c.name, c.backend)].measurement for c in chosen]

    comparisons = [
        compare(
            measurements(group.baselines),
            measurements(group.candidates),
            bootstrap=how.bootstrap,
            seed=how.seed,
            kind=group.kind,
            asked=group.asked,
            doubt=doubt_about({c.backend for c in (*group.baselines, *group.candidates)}, checks),
        )
        for group in pairing.groups
    ]
    return conclude(comparisons, pairing.notes, any(e.contender.is_baseline for e in entries))


def _samples(
    dataset: DetectionSet, measured: dict[tuple[str, str], _Measured], how: BenchSettings
) -> SamplePredictions:
    rows = {f"{name}|{backend}": m for (name, backend), m in measured.items()}
    candidates = [key for key, m in rows.items() if m.measurement.row.init != "baseline"]
    return collect_samples(
        dataset,
        {key: m.result.accuracy.deployed for key, m in rows.items()},
        count=how.num_sample_images,
        num_worst=how.num_worst_images,
        judged=candidates or None,
    )


def _describe_data(dataset: DetectionSet) -> dict[str, Any]:
    return {
        "name": dataset.source.resolve().parent.name,
        "file": dataset.source.name,
        "split": dataset.split,
        "hash": dataset.content_hash(),
        "num_images": len(dataset.images),
        "num_boxes": dataset.num_boxes,
        "classes": [dataset.names[index] for index in sorted(dataset.names)],
    }
