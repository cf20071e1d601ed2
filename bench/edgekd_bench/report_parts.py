"""What one run contributes to the page, section by section, ready to be printed.

A page about several runs is the page about one with more in each section: the template loops over
parts, and nothing else knows how many there are. What a run does not have is None or empty, and the
template says which command would make it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from edgekd_bench.errors import InputError
from edgekd_bench.record import BenchRecord, Comparison, SamplePredictions
from edgekd_bench.report_bars import ClassBars, any_class_means, class_plot, size_plot
from edgekd_bench.report_clocks import clock_plot, energy_plot, throughput_plot
from edgekd_bench.report_confusion import confusion_plots
from edgekd_bench.report_curve_plots import distillation_plots, training_plots
from edgekd_bench.report_curves import read_distillation, read_trainings
from edgekd_bench.report_figures import KeyFigure, key_figures, lead_comparison
from edgekd_bench.report_forest import difference_plot, ratio_plot
from edgekd_bench.report_latency_plots import latency_plots
from edgekd_bench.report_pareto import accuracy_range, pareto_plot
from edgekd_bench.report_provenance import Artefact, artefacts, flattened, state_lines
from edgekd_bench.report_rows import comparison_name, configuration_name, series_of
from edgekd_bench.report_runs import Run
from edgekd_bench.report_samples import Sample, SampleLimits, build_samples, choose_models
from edgekd_bench.report_svg import Drawing
from edgekd_bench.report_words import (
    OUTCOME_WORDS,
    Remark,
    headline_parts,
    remarks,
    reproduce_commands,
    subject_of,
    verdict_figures,
    verdict_sentences,
)

_MAX_CONFIG_CHARACTERS = 200_000


@dataclass(frozen=True)
class VerdictWords:
    """The answer: headline, the figures beside it, and what bears on trusting them."""

    outcome: str
    style: str
    lead: Comparison | None
    lead_name: str
    subject: str
    headline: tuple[str, str]
    figures: list[tuple[str, str, str]]
    sentences: list[str]
    remarks: list[Remark]
    tiles: list[KeyFigure]


@dataclass(frozen=True)
class Plots:
    """What was measured, drawn."""

    pareto: Drawing | None
    difference: Drawing | None
    ratio: Drawing | None
    latency: list[tuple[str, Drawing]]
    clocks: Drawing | None
    costs: list[Drawing]
    sizes: Drawing | None
    classes: ClassBars | None
    any_class: str
    several_seeds: bool


@dataclass(frozen=True)
class Histories:
    """Distillation and training; None: no file; empty: nothing in it that can be drawn."""

    distillation: list[Drawing] | None
    distillation_skipped: int
    trainings: list[Drawing] | None
    trainings_skipped: int


@dataclass(frozen=True)
class Seen:
    """What the models saw: pictures and the confusion of classes."""

    samples: list[Sample]
    worst: list[Sample]
    confusion: list[tuple[str, Drawing]]


@dataclass(frozen=True)
class Provenance:
    """What the figures rest on, and how to make them again."""

    artefacts: list[Artefact]
    environment: list[tuple[str, str]]
    device_state: list[tuple[str, str, str]]
    data: list[tuple[str, str]]
    settings: list[tuple[str, str]]
    config: str | None
    commands: list[str]


@dataclass(frozen=True)
class Part:
    """One run on the page."""

    run: Run
    verdict: VerdictWords
    plots: Plots
    histories: Histories
    seen: Seen
    provenance: Provenance


def build_parts(runs: Sequence[Run]) -> list[Part]:
    """One part a run; their drawings have different names, and their mAP axes are the same.

    Raises:
        InputError: a malformed ``predictions.json``.
    """
    accuracy = accuracy_range([row for run in runs for row in run.record.rows])
    limits = SampleLimits.shared(max(1, len(runs)))
    parts = []
    for index, run in enumerate(runs):
        suffix = "" if index == 0 else f"-run{index}"
        verdict = _verdict(run)
        parts.append(
            Part(
                run,
                verdict,
                _plots(run, verdict.subject, accuracy, suffix, len(runs) > 1),
                _histories(run, suffix),
                _seen(run, limits, suffix),
                _provenance(run),
            )
        )
    return parts


def _verdict(run: Run) -> VerdictWords:
    record = run.record
    lead = lead_comparison(record)
    return VerdictWords(
        outcome=OUTCOME_WORDS[record.verdict.outcome],
        style=record.verdict.outcome.replace(" ", "-"),
        lead=lead,
        lead_name=_lead_name(record, lead),
        subject=subject_of(record, lead) if lead else "candidate",
        headline=headline_parts(record, lead),
        figures=verdict_figures(record, lead),
        sentences=verdict_sentences(record, lead),
        remarks=remarks(record),
        tiles=key_figures(series_of(lead, record.rows)),
    )


def _lead_name(record: BenchRecord, lead: Comparison | None) -> str:
    if lead is not None:
        return comparison_name(lead)
    return configuration_name(record.rows[0], record.rows) if record.rows else ""


def _plots(
    run: Run, subject: str, accuracy: tuple[float, float] | None, suffix: str, several: bool
) -> Plots:
    record = run.record
    series = series_of(lead_comparison(record), record.rows)
    comparisons = record.verdict.comparisons
    where = f", {run.title}" if several else ""
    costs = [throughput_plot(record.rows, suffix), energy_plot(record.rows, suffix)]
    return Plots(
        pareto=pareto_plot(
            record.rows,
            comparisons,
            name=f"accuracy-latency{suffix}",
            title=f"mAP50-95 against latency{where}",
            accuracy=accuracy,
        ),
        difference=difference_plot(comparisons, subject, suffix),
        ratio=ratio_plot(comparisons, subject, suffix),
        latency=latency_plots(record.rows, suffix),
        clocks=clock_plot(record.rows, suffix),
        costs=[plot for plot in costs if plot is not None],
        sizes=size_plot(series, suffix),
        classes=class_plot(series, suffix),
        any_class=any_class_means(series),
        several_seeds=any(len(side.rows) > 1 for side in series),
    )


def _histories(run: Run, suffix: str) -> Histories:
    metrics, folder = run.file("distill/metrics.jsonl"), run.file("train")
    distillation = read_distillation(metrics) if metrics else None
    trainings = read_trainings(folder) if folder else []
    return Histories(
        distillation_plots(distillation, suffix) if distillation else None,
        distillation.num_skipped if distillation else 0,
        training_plots(trainings, suffix) if trainings else None,
        sum(history.num_skipped for history in trainings),
    )


def _seen(run: Run, limits: SampleLimits, suffix: str) -> Seen:
    predictions = _read_predictions(run)
    if predictions is None:
        return Seen([], [], [])
    models = choose_models(run.record, predictions)
    samples, worst = build_samples(predictions, models, run.source.parent, limits, suffix)
    return Seen(samples, worst, confusion_plots(predictions, models, suffix))


def _read_predictions(run: Run) -> SamplePredictions | None:
    path = run.file("predictions.json")
    if path is None:
        return None
    try:
        return SamplePredictions.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(
            f"{path}: not a predictions.json of edgekd ({_first_line(error)}); "
            "delete it or run `edgekd bench` again"
        ) from error


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0]


def _provenance(run: Run) -> Provenance:
    record, config = run.record, run.file("config.yaml")
    return Provenance(
        artefacts=artefacts(run),
        environment=flattened(record.environment),
        device_state=state_lines(record),
        data=flattened(record.data),
        settings=flattened(record.settings),
        config=_shortened(config.read_text(encoding="utf-8", errors="replace")) if config else None,
        commands=reproduce_commands(run.folder or run.source, record, config),
    )


def _shortened(config: str) -> str:
    if len(config) <= _MAX_CONFIG_CHARACTERS:
        return config
    return config[:_MAX_CONFIG_CHARACTERS] + "\n# … cut here; the whole is in config.yaml"
