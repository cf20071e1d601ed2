"""The report's sentences: what the verdict means, what was measured, how to make it again.

Figures in a table are easily misread; the headline's interval and the number of seeds are therefore
also said in words, and "undecided" is explained as the finding it is. What speaks against trusting
a figure (a flagged row, a failed self-check) stands beside the verdict, not below the tables.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd_bench.record import (
    BenchRecord,
    Comparison,
    ComparisonKind,
    Interval,
    Row,
)
from edgekd_bench.report_numbers import counted, fixed, interval, signed
from edgekd_bench.report_rows import comparison_name, flagged
from edgekd_bench.self_check import describe_check

OUTCOME_WORDS = {
    "better": "Better",
    "worse": "Worse",
    "undecided": "Undecided",
    "no baseline": "No baseline",
}
RELATION_WORDS = {
    "dominates": "dominates the baseline",
    "dominated": "is dominated by the baseline",
    "trades": "trades one for the other",
    "undecided": "undecided",
}
_MAX_HEADLINE = 110
_MAX_REASONS = 4


@dataclass(frozen=True)
class Remark:
    """Something that bears on how far the verdict can be trusted."""

    text: str
    is_warning: bool


def subject_of(record: BenchRecord, lead: Comparison) -> str:
    """What is compared with the baseline: ``distilled model``, or ``candidate``."""
    inits = {row.init for row in record.rows if row.model in lead.candidates}
    trained = inits == {"distilled"} and lead.kind == "training"
    return "distilled model" if trained else "candidate"


def headline_parts(record: BenchRecord, lead: Comparison | None) -> tuple[str, str]:
    """The line in large type, cut after the outcome's word, which is coloured.

    The record's own headline where it is short enough to be one; else a summary of it. The first
    part is empty where the line does not open with the outcome.
    """
    word, line = OUTCOME_WORDS[record.verdict.outcome], record.verdict.headline
    if len(line) > _MAX_HEADLINE:
        line = f"{word}: {_summary(record, lead)}"
    if line.lower().startswith(word.lower()):
        return line[: len(word)], line[len(word) :]
    return "", line


def _summary(record: BenchRecord, lead: Comparison | None) -> str:
    if lead is None:
        return "nothing was compared"
    if _contradict(record, lead):
        return "the comparisons contradict each other"
    difference, subject = lead.map50_95_difference, subject_of(record, lead)
    if record.verdict.outcome == "undecided":
        span = interval(difference.low, difference.high)
        return f"mAP50-95 {signed(difference.estimate)}, somewhere from {span}"
    return f"the {subject} has {signed(difference.estimate)} mAP50-95"


def _contradict(record: BenchRecord, lead: Comparison) -> bool:
    return record.verdict.outcome != lead.map50_95_difference.outcome


def verdict_figures(record: BenchRecord, lead: Comparison | None) -> list[tuple[str, str, str]]:
    """``(label, figure, detail)`` beside the headline; none without a comparison."""
    if lead is None:
        return []
    difference, ratio = lead.map50_95_difference, lead.latency_p50_ratio
    seeds = counted(record.verdict.num_seeds, "seed")
    return [
        ("mAP50-95", signed(difference.estimate), interval(difference.low, difference.high)),
        (
            "latency p50, ratio",
            f"×{fixed(ratio.estimate, 3)}",
            f"{fixed(ratio.low)} to {fixed(ratio.high)}",
        ),
        *_relation_figure(lead),
        ("95 % intervals", "", f"{seeds}, {comparison_name(lead)}"),
    ]


def _relation_figure(lead: Comparison) -> list[tuple[str, str, str]]:
    """Nothing where the record does not say: earlier versions did not ask."""
    if "relation" not in lead.model_fields_set:
        return []
    return [("mAP and latency together", "", RELATION_WORDS[lead.relation])]


def remarks(record: BenchRecord) -> list[Remark]:
    """Warnings first: violated gates, flagged rows, failed self-checks."""
    found = [
        Remark(f"{'Violated' if gate.violated else 'Kept'} --fail-if: {gate.text}", gate.violated)
        for gate in record.gate
    ]
    disturbed = flagged(record.rows)
    if disturbed:
        reasons = list(dict.fromkeys(flag.rstrip(".") for row in disturbed for flag in row.flags))
        more = f"; and {len(reasons) - _MAX_REASONS} more" if len(reasons) > _MAX_REASONS else ""
        verb = "is" if len(disturbed) == 1 else "are"
        found.append(
            Remark(
                f"{len(disturbed)} of {len(record.rows)} rows {verb} flagged: "
                f"{'; '.join(reasons[:_MAX_REASONS])}{more}.",
                True,
            )
        )
    checks = [
        Remark(f"{text[0].upper()}{text[1:]}.", not check.passed)
        for check in record.self_checks
        if (text := describe_check(check))
    ]
    if not checks and record.rows:
        checks = [Remark("Self-check: none in this record.", False)]
    return sorted(found + checks, key=lambda remark: not remark.is_warning)


def verdict_sentences(record: BenchRecord, lead: Comparison | None) -> list[str]:
    """One to five sentences below the headline."""
    if lead is None:
        return [
            "Nothing was compared. A comparison needs a baseline and a candidate of the same "
            "backend, precision and seed: edgekd bench MODEL… --baseline M --data D."
        ]
    difference, ratio = lead.map50_95_difference, lead.latency_p50_ratio
    sentences = [
        f"On {comparison_name(lead)}, mAP50-95 of the {subject_of(record, lead)} "
        f"{_direction(difference)}. {_interval_sentence(difference)}",
        f"Latency p50 on the host’s clock is {fixed(ratio.estimate)} times the baseline’s "
        f"({fixed(ratio.low)} to {fixed(ratio.high)}).",
        _seed_sentence(lead.kind, record.verdict.num_seeds),
    ]
    if record.verdict.outcome == "undecided":
        sentences.append(_why_undecided(record, lead))
    return sentences


def _why_undecided(record: BenchRecord, lead: Comparison) -> str:
    difference = lead.map50_95_difference
    if _contradict(record, lead):
        return (
            "Undecided, because the comparisons of this run contradict each other: see the "
            "intervals below."
        )
    if difference.low <= 0 <= difference.high:
        return (
            "Undecided is a finding: at this number of seeds and images the data do not tell the "
            "two apart. More seeds or a larger evaluation set would narrow the interval."
        )
    return (
        "Undecided, although the interval excludes zero: it rests on too few seeds or images to "
        "be called a difference. Train more seeds."
    )


def _direction(difference: Interval) -> str:
    size = fixed(abs(difference.estimate), 3)
    if size == fixed(0.0, 3):
        return "equals the baseline’s to three decimals"
    word = "higher" if difference.estimate > 0 else "lower"
    return f"is {size} {word} than the baseline’s"


def _interval_sentence(difference: Interval) -> str:
    span = interval(difference.low, difference.high)
    zero = "includes" if difference.low <= 0 <= difference.high else "excludes"
    return f"The 95 % interval runs from {span} and {zero} zero."


def _seed_sentence(kind: ComparisonKind, num_seeds: int) -> str:
    if kind == "deployment":
        return "Both sides are the same weights, deployed in two ways: no luck of training in it."
    if kind == "models":
        return (
            "How the two files were trained is not known: this is about them, not about a recipe."
        )
    seeds = counted(num_seeds, "seed")
    if num_seeds == 1:
        return (
            f"Trained with {seeds} on each side, so the interval covers the choice of images "
            "and not the luck of training."
        )
    return f"Trained with {seeds} on each side."


def scope_sentences(record: BenchRecord) -> list[str]:
    """What a latency includes, under which conditions, and on which images mAP was computed."""
    return [
        "Host: the network alone, from a prepared batch in host memory to its output in host "
        "memory; copies to and from the device are included.",
        "End to end: from the bytes of an image file in memory to boxes; decoding, letterboxing, "
        "network, box decoding and NMS.",
        "Both are milliseconds per call of one batch. Percentiles are over all timed calls after "
        "warm-up; none is left out.",
        *_cost_sentences(record.rows),
        _images_sentence(record.data),
        "Bold is the best of its group; a row that failed parity is struck out and never is.",
    ]


def _cost_sentences(rows: list[Row]) -> list[str]:
    sentences = []
    batches = sorted({row.throughput_batch for row in rows if row.throughput_batch is not None})
    if any(row.throughput_images_per_s is not None for row in rows):
        sizes = f", batch {' or '.join(map(str, batches))}" if batches else ""
        sentences.append(f"Offline: images per second with all images at hand{sizes}.")
    if any(row.energy_j_per_image is not None for row in rows):
        sentences.append("Energy: mean power while the model was timed, by the time of an image.")
    return sentences


def _images_sentence(data: dict[str, Any]) -> str:
    images = data.get("num_images")
    name = data.get("name")
    if images is None and name is None:
        return "The record does not name the evaluation set."
    where = f" of {name}" if name is not None else ""
    counted_images = f"{images} images" if images is not None else "the images"
    return f"mAP: COCO definition, over {counted_images}{where}."


def reproduce_commands(place: Path, record: BenchRecord, config: Path | None) -> list[str]:
    """Shell lines that make this run and this page again.

    Args:
        place: what `edgekd report` was given.
        record: holds its own command line, unless an earlier version wrote it.
        config: of the whole run, if there is one.
    """
    commands = [shlex.join(["edgekd", "run", str(config)])] if config is not None else []
    if record.command:
        commands.append(shlex.join(record.command))
    elif not commands:
        commands.append(_bench_command(record.rows, record.data))
    return [*commands, shlex.join(["edgekd", "report", str(place)])]


def _bench_command(rows: list[Row], data: dict[str, Any]) -> str:
    models = list(dict.fromkeys(row.model for row in rows if row.init != "baseline"))
    baselines = list(dict.fromkeys(row.model for row in rows if row.init == "baseline"))
    words = ["edgekd", "bench", *models]
    for baseline in baselines:
        words += ["--baseline", baseline]
    source = "/".join(str(data[key]) for key in ("name", "file") if key in data)
    return shlex.join([*words, "--data", source or "DATA"])
