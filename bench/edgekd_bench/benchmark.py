"""The benchmark: models and a detection set in, ``results.json`` and ``predictions.json`` out.

Everything that can be refused is refused before the first measurement: each model is opened once,
its classes are held against the set's, and pairs are formed. Then, backend by backend, all models
are opened together, scored, and timed in turns. Nothing is written unless all of it succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgekd_bench.accuracy import Accuracy, check_classes, evaluate
from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.comparison import compare
from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.device_state import describe_environment
from edgekd_bench.errors import InputError
from edgekd_bench.intervals import Measurement
from edgekd_bench.latency import Latency, TimingLimits, measure_latency
from edgekd_bench.manifest import Init
from edgekd_bench.pairing import Contender, Pairing, pair_models
from edgekd_bench.record import BenchRecord, Row, SamplePredictions, Verdict, write_record
from edgekd_bench.runner import Runner, RunnerInfo, RunnerOptions, backend_of, open_runner
from edgekd_bench.samples import collect_samples, spread
from edgekd_bench.settings import BenchSettings
from edgekd_bench.verdict import conclude


@dataclass(frozen=True)
class _Model:
    """A file to measure, under the name it has in the results."""

    path: Path
    name: str
    given_as_baseline: bool


@dataclass(frozen=True)
class _Measured:
    measurement: Measurement
    accuracy: Accuracy


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
        models: ``.onnx`` and ``.pt`` files; one whose manifest says "baseline" is a baseline.
        data: the set's ``data.yaml`` or ``coco.yaml``.
        baselines: files that are baselines whatever their manifest says.
        settings: how to measure.
        out: folder for ``results.json`` and ``predictions.json``.
        progress: where to show a progress bar; None: nowhere.
        split: which split of the set.

    Returns:
        The record, as written to ``results.json``.

    Raises:
        InputError: a model or the set cannot be used; nothing is written.
    """
    how = settings or BenchSettings()
    named = _name_models(models, baselines, how)
    dataset = load_detection_set(data, split)
    environment = describe_environment(how.threads)  # before our own load is on the machine
    contenders = [_inspect(model, dataset, how) for model in named]
    pairing = pair_models(contenders)
    measured = _measure(named, dataset, how, progress)
    record = BenchRecord(
        environment=environment,
        settings=how.model_dump(mode="json"),
        data=_describe_data(dataset),
        rows=[measured[(c.name, c.backend)].measurement.row for c in contenders],
        verdict=_verdict(pairing, contenders, measured, how),
    )
    write_record(out / "predictions.json", _samples(dataset, measured, how))
    write_record(out / "results.json", record)
    return record


def display_names(paths: Sequence[Path]) -> list[str]:
    """The shortest endings of paths that still tell them apart."""
    parts = [path.resolve().parts for path in paths]
    names = []
    for own in parts:
        length = 1
        while sum(other[-length:] == own[-length:] for other in parts) > 1 and length < len(own):
            length += 1
        names.append("/".join(own[-length:]))
    return names


def _name_models(
    models: Sequence[Path], baselines: Sequence[Path], how: BenchSettings
) -> list[_Model]:
    """Baselines first, each file once."""
    given: dict[Path, bool] = {}
    paths: list[Path] = []
    for path, is_baseline in [(p, True) for p in baselines] + [(p, False) for p in models]:
        if path.resolve() in given:
            continue
        given[path.resolve()] = is_baseline
        if backend_of(path) in how.backends:
            paths.append(path)
    if not paths:
        raise InputError(
            f"no model to measure on {' or '.join(how.backends)}; give .onnx or .pt files"
        )
    names = display_names(paths)
    return [_Model(p, name, given[p.resolve()]) for p, name in zip(paths, names, strict=True)]


def _options(how: BenchSettings) -> RunnerOptions:
    return RunnerOptions(
        image_size=how.image_size,
        batch=how.batch,
        threads=how.threads,
        device=how.device,
        channels_last=how.channels_last,
    )


def _init(model: _Model, info: RunnerInfo) -> Init:
    if info.init == "other" and model.given_as_baseline:
        return "baseline"
    return info.init


def _inspect(model: _Model, dataset: DetectionSet, how: BenchSettings) -> Contender:
    """Open a model once to see that it can be measured, and what it is."""
    with open_runner(model.path, options=_options(how)) as runner:
        check_classes(runner, dataset)
        info = runner.info
    return Contender(
        name=model.name,
        backend=info.backend,
        device=info.device,
        precision=info.precision,
        image_size=info.image_size,
        is_baseline=model.given_as_baseline or info.init == "baseline",
        init=_init(model, info),
        seed=info.seed,
        teacher=info.teacher,
        parity=info.parity,
    )


def _measure(
    named: Sequence[_Model], dataset: DetectionSet, how: BenchSettings, progress: Console | None
) -> dict[tuple[str, str], _Measured]:
    """Results by name and backend."""
    measured: dict[tuple[str, str], _Measured] = {}
    with BenchProgress(progress) as bar:
        for backend in how.backends:
            chosen = [model for model in named if backend_of(model.path) == backend]
            if chosen:
                measured.update(_measure_backend(chosen, backend, dataset, how, bar))
    return measured


def _measure_backend(
    models: Sequence[_Model],
    backend: str,
    dataset: DetectionSet,
    how: BenchSettings,
    bar: BenchProgress,
) -> dict[tuple[str, str], _Measured]:
    """Score each model, then time all of them in turns."""
    with ExitStack() as stack:
        runners = [
            stack.enter_context(open_runner(model.path, backend, _options(how))) for model in models
        ]
        accuracies = []
        for model, runner in zip(models, runners, strict=True):
            with bar.stage(f"mAP of {model.name}", len(dataset.images)) as advance:
                accuracies.append(
                    evaluate(
                        runner,
                        dataset,
                        batch=how.batch,
                        thresholds=how.accuracy_thresholds(),
                        on_image=advance,
                    )
                )
        latencies = _time(runners, backend, dataset, how, bar)
        return {
            (model.name, backend): _collect(model, runner.info, accuracy, latency, how)
            for model, runner, accuracy, latency in zip(
                models, runners, accuracies, latencies, strict=True
            )
        }


def _time(
    runners: Sequence[Runner],
    backend: str,
    dataset: DetectionSet,
    how: BenchSettings,
    bar: BenchProgress,
) -> list[Latency]:
    paths = [dataset.images[index].path for index in spread(dataset, how.num_latency_images)]
    limits = TimingLimits(how.min_seconds, how.min_count, how.warmup)
    with bar.stage(f"latency on {backend}, rounds", None) as advance:
        return measure_latency(
            runners,
            paths,
            batch=how.batch,
            limits=limits,
            thresholds=how.deployment_thresholds(),
            on_round=advance,
        )


def _collect(
    model: _Model, info: RunnerInfo, accuracy: Accuracy, latency: Latency, how: BenchSettings
) -> _Measured:
    forward, whole = latency.forward, latency.end_to_end
    row = Row(
        model=model.name,
        init=_init(model, info),
        seed=info.seed,
        precision=info.precision,
        backend=info.backend,
        device=info.device,
        image_size=info.image_size,
        batch=how.batch,
        map50_95=accuracy.score.map50_95,
        map50=accuracy.score.map50,
        map50_95_per_class=accuracy.score.map50_95_per_class,
        map50_95_any_class=accuracy.score.map50_95_any_class,
        latency_p50_ms=forward.percentile(50),
        latency_p90_ms=forward.percentile(90),
        latency_p99_ms=forward.percentile(99),
        end_to_end_p50_ms=whole.percentile(50),
        end_to_end_p90_ms=whole.percentile(90),
        end_to_end_p99_ms=whole.percentile(99),
        num_warmup=forward.num_warmup,
        num_timed=len(forward.milliseconds),
        size_mb=info.size_mb,
        num_params=info.num_params,
        parity=info.parity,
        sha256=info.sha256,
        teacher=info.teacher,
    )
    return _Measured(Measurement(row, accuracy.score.matches, forward.milliseconds), accuracy)


def _verdict(
    pairing: Pairing,
    contenders: Sequence[Contender],
    by_key: dict[tuple[str, str], _Measured],
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
        )
        for group in pairing.groups
    ]
    return conclude(comparisons, pairing.notes, any(c.is_baseline for c in contenders))


def _samples(
    dataset: DetectionSet, measured: dict[tuple[str, str], _Measured], how: BenchSettings
) -> SamplePredictions:
    found = {f"{name}|{backend}": m.accuracy.detections for (name, backend), m in measured.items()}
    return collect_samples(dataset, found, count=how.num_sample_images, threshold=how.deploy_conf)


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
