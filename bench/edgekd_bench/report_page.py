"""Put the parts of a report into its template.

The page is what people read instead of ``results.json``, so it must neither say more than the
record nor hide what is missing. It loads nothing: no script, no font, no picture from elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from edgekd_bench.manifest import library_versions
from edgekd_bench.report_numbers import count_word, counted, fixed
from edgekd_bench.report_parts import build_parts
from edgekd_bench.report_provenance import SHORT_HASH
from edgekd_bench.report_rows import measured
from edgekd_bench.report_runs import Run, data_hash
from edgekd_bench.report_samples import MATCH_IOU, MIN_SCORE
from edgekd_bench.report_svg import Drawing, printable
from edgekd_bench.report_tables import results_table
from edgekd_bench.report_words import OUTCOME_WORDS, scope_sentences

DISAGREEMENT = 0.005  # mAP; rounding on another backend moves it by less
_MAX_DISAGREEMENTS = 4
_TEMPLATES = Path(__file__).parent / "templates"


def render_report(runs: Sequence[Run]) -> str:
    """The page about one or several runs.

    Raises:
        InputError: a malformed ``predictions.json``.
    """
    parts = build_parts(runs)
    styles = {part.verdict.style for part in parts}
    sentences = [sentence for run in runs for sentence in scope_sentences(run.record)]
    return render(
        "report.html.j2",
        {
            "parts": parts,
            "several": len(parts) > 1,
            "name": ", ".join(run.name for run in runs),
            "style": styles.pop() if len(styles) == 1 else "no-baseline",
            "headline": headline_of(runs),
            "disagreements": disagreements(runs),
            "results": results_table(runs),
            "scope": list(dict.fromkeys(sentences)),
            "min_score": MIN_SCORE,
            "match_iou": MATCH_IOU,
        },
    )


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a template; every page knows the version and how many texts its drawings may show."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    common = {
        "version": library_versions().get("edgekd", ""),
        "short_hash": SHORT_HASH,
        "num_tips": _most_tips(context),
    }
    return printable(environment.get_template(template).render(context | common))


def headline_of(runs: Sequence[Run]) -> str:
    """The record's own headline, or of several runs ``Three runs: better in two, …``."""
    if len(runs) == 1:
        return runs[0].record.verdict.headline
    outcomes = Counter(run.record.verdict.outcome for run in runs)
    parts = [
        f"{OUTCOME_WORDS[outcome].lower()} in {count_word(number)}"
        for outcome, number in outcomes.most_common()
    ]
    return f"{counted(len(runs), 'run').capitalize()}: {', '.join(parts)}"


def disagreements(runs: Sequence[Run]) -> list[str]:
    """Files whose mAP on the same images differs between runs: somewhere they are run wrongly."""
    found: dict[tuple[str, str], list[tuple[float, str, str]]] = {}
    for run in runs:
        images = data_hash(run.record.data)
        for row in measured(run.record.rows):
            if images is not None:
                where = f"{fixed(row.map50_95)} on {run.title}"
                found.setdefault((row.sha256, images), []).append((row.map50_95, row.model, where))
    sentences = [
        f"{low[1]} has mAP50-95 {low[2]} and {high[2]}, the same file on the same images."
        for low, high in ((min(values), max(values)) for values in found.values())
        if high[0] - low[0] >= DISAGREEMENT
    ]
    rest = len(sentences) - _MAX_DISAGREEMENTS
    return sentences[:_MAX_DISAGREEMENTS] + ([f"So have {rest} more files."] if rest > 0 else [])


def _unbroken(text: str) -> Markup:
    """The name of the metric on one line: browsers break it at its hyphen."""
    return Markup(escape(text).replace("mAP50-95", Markup('<span class="nowrap">mAP50-95</span>')))


def _most_tips(value: object) -> int:
    """The most texts any drawing of a context shows: the style sheet needs a rule for each."""
    if isinstance(value, Drawing):
        return value.num_tips
    if is_dataclass(value) and not isinstance(value, type):
        return _most_tips([getattr(value, field.name) for field in fields(value)])
    if isinstance(value, dict):
        return _most_tips(list(value.values()))
    if isinstance(value, (list, tuple)):
        return max(map(_most_tips, value), default=0)
    return 0
