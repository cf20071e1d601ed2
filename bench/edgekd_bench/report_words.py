"""The report's sentences: what the verdict means, what was measured, how to make it again.

Figures in a table are easily misread; the headline's interval and the number of seeds are therefore
also said in words, and "undecided" is explained as the finding it is.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from edgekd_bench.record import BenchRecord, Comparison, Interval, Row
from edgekd_bench.report_numbers import counted, fixed, interval, signed

OUTCOME_WORDS = {
    "better": "Better",
    "worse": "Worse",
    "undecided": "Undecided",
    "no baseline": "No baseline",
}
_MAX_HEADLINE = 110


def subject_of(record: BenchRecord, lead: Comparison) -> str:
    """What is compared with the baseline: ``the distilled model``, or ``the candidate``."""
    inits = {row.init for row in record.rows if row.model in lead.candidates}
    return "the distilled model" if inits == {"distilled"} else "the candidate"


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
    return f"{subject} has {signed(difference.estimate)} mAP50-95"


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
        ("95 % intervals", "", f"{seeds}, {lead.backend} {lead.precision}"),
    ]


def verdict_sentences(record: BenchRecord, lead: Comparison | None) -> list[str]:
    """One to five sentences below the headline."""
    if lead is None:
        return [
            "Nothing was compared. A comparison needs a baseline and a candidate of the same "
            "backend, precision and seed: edgekd bench MODEL… --baseline M --data D."
        ]
    difference, ratio = lead.map50_95_difference, lead.latency_p50_ratio
    sentences = [
        f"On {lead.backend} in {lead.precision}, mAP50-95 of {subject_of(record, lead)} "
        f"{_direction(difference)}. {_interval_sentence(difference)}",
        f"Forward latency p50 is {fixed(ratio.estimate)} times the baseline’s "
        f"({fixed(ratio.low)} to {fixed(ratio.high)}).",
        _seed_sentence(record.verdict.num_seeds),
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


def _seed_sentence(num_seeds: int) -> str:
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
        "Forward: the network alone on a prepared input, copies to and from the device included.",
        "End to end: from the bytes of an image file in memory to boxes; decoding, letterboxing, "
        "network, box decoding and NMS.",
        "Both are milliseconds per call of one batch. Percentiles are over all timed calls after "
        "warm-up; none is left out.",
        _images_sentence(record.data),
        "Bold is the best of its group; a row that failed parity is struck out and never is.",
    ]


def _images_sentence(data: dict[str, Any]) -> str:
    images = data.get("num_images")
    name = data.get("name")
    if images is None and name is None:
        return "The record does not name the evaluation set."
    where = f" of {name}" if name is not None else ""
    counted_images = f"{images} images" if images is not None else "the images"
    return f"mAP: COCO definition, over {counted_images}{where}."


def reproduce_commands(run_dir: Path, record: BenchRecord, has_config: bool) -> list[str]:
    """Shell lines that make this run and this page again."""
    if has_config:
        first = shlex.join(["edgekd", "run", str(run_dir / "config.yaml")])
    else:
        first = _bench_command(record.rows, record.data)
    return [first, shlex.join(["edgekd", "report", str(run_dir)])]


def _bench_command(rows: list[Row], data: dict[str, Any]) -> str:
    models = list(dict.fromkeys(row.model for row in rows if row.init != "baseline"))
    baselines = list(dict.fromkeys(row.model for row in rows if row.init == "baseline"))
    words = ["edgekd", "bench", *models]
    for baseline in baselines:
        words += ["--baseline", baseline]
    source = "/".join(str(data[key]) for key in ("name", "file") if key in data)
    return shlex.join([*words, "--data", source or "DATA"])


def flattened(tree: object, prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as ``(dotted key, text)`` pairs; lists of plain values become one line."""
    if isinstance(tree, dict):
        return [
            pair
            for key, value in tree.items()
            for pair in flattened(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(tree, list):
        if any(isinstance(item, (dict, list)) for item in tree):
            return [p for i, item in enumerate(tree) for p in flattened(item, f"{prefix}[{i}]")]
        return [(prefix, ", ".join(map(str, tree)))]
    return [(prefix, "–" if tree is None else str(tree))]
