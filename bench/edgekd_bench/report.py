"""``edgekd report``: one HTML page that holds a whole run and can be mailed.

The page is what people read instead of ``results.json``, so it must neither say more than the
record nor hide what is missing: an absent file becomes a line that names the command which makes
it. It loads nothing: no script, no font, no picture from anywhere else. Plots, samples, tables and
words are built by the modules beside this one; this one reads the folder and fills the template.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import library_versions, sha256_of, write_text_atomically
from edgekd_bench.record import BenchRecord, SamplePredictions, read_record
from edgekd_bench.report_classes import class_plot
from edgekd_bench.report_curve_plots import distillation_plots, training_plots
from edgekd_bench.report_curves import read_distillation, read_trainings
from edgekd_bench.report_figures import key_figures, lead_comparison, lead_rows
from edgekd_bench.report_plots import accuracy_latency_plot, difference_plot, ratio_plot
from edgekd_bench.report_samples import MATCH_IOU, MIN_SCORE, build_samples, choose_models
from edgekd_bench.report_svg import printable
from edgekd_bench.report_tables import COLUMNS, SHORT_HASH, table_groups
from edgekd_bench.report_words import (
    OUTCOME_WORDS,
    flattened,
    headline_parts,
    reproduce_commands,
    scope_sentences,
    verdict_figures,
    verdict_sentences,
)
from edgekd_bench.table import any_class_means

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_CONFIG_CHARACTERS = 200_000


@dataclass(frozen=True)
class ReportResult:
    """Where the page is, how large it is, and the sentence it opens with."""

    path: Path
    size_bytes: int
    headline: str


def run(run_dir: Path, *, out: Path | None = None) -> ReportResult:
    """Write the report of one run.

    Args:
        run_dir: folder with ``results.json``; ``predictions.json``, ``distill/metrics.jsonl``,
            ``train/<init>-seed<k>/results.csv`` and ``config.yaml`` are used where they exist.
        out: the HTML file to write; ``run_dir/report.html`` where None.

    Raises:
        InputError: no such folder, no readable ``results.json``, or a malformed
            ``predictions.json``; nothing is written then.
    """
    target = run_dir / "report.html" if out is None else out
    if not run_dir.is_dir():
        raise InputError(f"{run_dir}: no such run folder; give the folder that holds results.json")
    if target.is_dir():
        raise InputError(f"{target}: is a folder; give the HTML file to write, as in --out r.html")
    record = _read_results(run_dir / "results.json")
    page = printable(_render(_context(run_dir, record)))
    try:
        write_text_atomically(target, page)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror}); choose another place with --out"
        ) from error
    return ReportResult(target, target.stat().st_size, record.verdict.headline)


def _render(context: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(context)


def _read_results(path: Path) -> BenchRecord:
    try:
        return read_record(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; run `edgekd bench` again") from error


def _read_predictions(path: Path) -> SamplePredictions | None:
    if not path.is_file():
        return None
    try:
        return SamplePredictions.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        reason = _first_line(error)
        raise InputError(
            f"{path}: not a predictions.json of edgekd ({reason}); "
            "delete it or run `edgekd bench` again"
        ) from error


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0]


def _read_config(path: Path) -> str | None:
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if len(text) > _MAX_CONFIG_CHARACTERS:
        return text[:_MAX_CONFIG_CHARACTERS] + f"\n# … cut here; the whole is in {path.name}"
    return text


def _context(run_dir: Path, record: BenchRecord) -> dict[str, Any]:
    """Everything the template names."""
    lead = lead_comparison(record)
    config = _read_config(run_dir / "config.yaml")
    return {
        "name": run_dir.resolve().name,
        "record": record,
        "outcome": OUTCOME_WORDS[record.verdict.outcome],
        "outcome_class": record.verdict.outcome.replace(" ", "-"),
        "headline": headline_parts(record, lead),
        "figures": verdict_figures(record, lead),
        "sentences": verdict_sentences(record, lead),
        "tiles": key_figures(lead_rows(record)),
        "lead": lead,
        "columns": COLUMNS,
        "groups": table_groups(record.rows),
        "scope": scope_sentences(record),
        **_plots(record),
        **_histories(run_dir),
        **_samples(run_dir, record),
        "environment": flattened(record.environment),
        "data": flattened(record.data),
        "settings": flattened(record.settings),
        "short_hash": SHORT_HASH,
        "config": config,
        "commands": reproduce_commands(run_dir, record, config is not None),
        "version": library_versions().get("edgekd", ""),
        "results_sha256": sha256_of(run_dir / "results.json"),
    }


def _plots(record: BenchRecord) -> dict[str, Any]:
    rows = lead_rows(record)
    comparisons = record.verdict.comparisons
    return {
        "accuracy_latency": accuracy_latency_plot(record.rows),
        "difference": difference_plot(comparisons),
        "ratio": ratio_plot(comparisons),
        "classes": class_plot(rows),
        "any_class": any_class_means(rows),
        "several_seeds": len({row.seed for row in rows}) > 1,
        "lead_name": f"{rows[0].backend} {rows[0].precision}" if rows else "",
    }


def _histories(run_dir: Path) -> dict[str, Any]:
    distillation = read_distillation(run_dir / "distill" / "metrics.jsonl")
    trainings = read_trainings(run_dir / "train")
    return {
        "distillation": distillation_plots(distillation) if distillation else None,
        "distillation_skipped": distillation.num_skipped if distillation else 0,
        "trainings": training_plots(trainings) if trainings else None,
        "trainings_skipped": sum(history.num_skipped for history in trainings),
    }


def _samples(run_dir: Path, record: BenchRecord) -> dict[str, Any]:
    predictions = _read_predictions(run_dir / "predictions.json")
    samples = None
    if predictions is not None:
        models = choose_models(record, predictions)
        samples = build_samples(predictions, models, run_dir)
    return {"samples": samples, "min_score": MIN_SCORE, "match_iou": MATCH_IOU}
