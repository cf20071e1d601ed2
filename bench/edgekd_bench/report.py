"""``edgekd report``: what was measured, as a page that can be mailed and tables that can be pasted.

This file decides what is read and where things are written, and refuses what cannot be: the page
itself is put together in ``report_page`` and ``report_compare_page``, the tables in
``report_csv`` and ``report_markdown``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_text_atomically
from edgekd_bench.report_compare import RunComparison, compare_runs
from edgekd_bench.report_compare_page import render_comparison
from edgekd_bench.report_csv import changes_csv, rows_csv
from edgekd_bench.report_markdown import changes_markdown, rows_markdown
from edgekd_bench.report_page import headline_of, render_report
from edgekd_bench.report_runs import Run, read_runs

STDOUT = Path("-")


@dataclass(frozen=True)
class ReportResult:
    """Where the page and the tables are, how large the page is, and the sentence it opens with."""

    path: Path
    size_bytes: int
    headline: str
    csv: Path | None = None
    markdown: Path | None = None


@dataclass(frozen=True)
class _Texts:
    """Everything that can be written, as text."""

    page: str
    csv: str
    markdown: str
    headline: str


def run(
    *runs: Path,
    out: Path | None = None,
    csv: Path | None = None,
    markdown: Path | None = None,
    compare: bool = False,
) -> ReportResult:
    """Write the report of one run, of several in one, or of what changed between two.

    Args:
        runs: folders with ``results.json``, or such files under any name. Of a folder,
            ``predictions.json``, ``distill/metrics.jsonl``, ``train/<init>-seed<k>/results.csv``,
            ``config.yaml`` and the manifests of its models are used where they exist.
        out: the HTML file to write. None: ``report.html`` in the run's folder, or of several runs
            in the folder they share; ``compare.html`` of a comparison.
        csv: also write the rows as CSV; ``-``: to standard output.
        markdown: also write verdict and table as Markdown; ``-``: to standard output.
        compare: two runs, before and after.

    Raises:
        InputError: a run is missing, empty or foreign, ``predictions.json`` is malformed, or a
            target cannot be written; nothing is written then.
    """
    _check(runs, out, csv, markdown, compare)
    read = read_runs(runs)
    target = out or _default_target(read, runs, compare)
    for path, option in ((target, "--out"), (csv, "--csv"), (markdown, "--markdown")):
        if path is not None and path != STDOUT:
            _check_target(path, option, read)
    texts = _compared(compare_runs(*read)) if compare else _reported(read)
    _write(target, texts.page, "--out")
    if csv is not None:
        _write(csv, texts.csv, "--csv")
    if markdown is not None:
        _write(markdown, texts.markdown, "--markdown")
    return ReportResult(target, target.stat().st_size, texts.headline, csv, markdown)


def _check(
    runs: Sequence[Path],
    out: Path | None,
    csv: Path | None,
    markdown: Path | None,
    compare: bool,
) -> None:
    if not runs:
        raise InputError("no run given; give a folder that holds results.json")
    if compare and len(runs) != 2:
        raise InputError(f"--compare takes two runs, before and after; {len(runs)} given")
    if out == STDOUT:
        raise InputError("--out -: the page goes to a file; only --csv and --markdown can be -")
    named = [path.resolve() for path in (out, csv, markdown) if path is not None]
    if len(set(named)) < len(named):
        raise InputError("--out, --csv and --markdown name the same place; give each its own")


def _check_target(target: Path, option: str, runs: Sequence[Run]) -> None:
    """Refuse what would fail later, when half of the files are written, or would cost a record."""
    if target.is_dir():
        raise InputError(f"{target}: is a folder; give a file name to {option}")
    if any(target.resolve() == run.source.resolve() for run in runs):
        raise InputError(f"{target}: is the record itself; choose another place with {option}")
    place = next(parent for parent in target.resolve().parents if parent.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise InputError(
            f"{target}: cannot be written, {place} is no folder to write to; choose another place "
            f"with {option}"
        )


def _reported(runs: Sequence[Run]) -> _Texts:
    return _Texts(render_report(runs), rows_csv(runs), rows_markdown(runs), headline_of(runs))


def _compared(comparison: RunComparison) -> _Texts:
    return _Texts(
        render_comparison(comparison),
        changes_csv(comparison),
        changes_markdown(comparison),
        comparison.headline,
    )


def _default_target(runs: Sequence[Run], given: Sequence[Path], compare: bool) -> Path:
    """Beside the record; a record under a name of its own gives the page that name."""
    if len(runs) == 1:
        source = runs[0].source
        return source.with_name("report.html") if given[0].is_dir() else source.with_suffix(".html")
    shared = Path(os.path.commonpath([run.source.resolve().parent for run in runs]))
    return shared / ("compare.html" if compare else "report.html")


def _write(target: Path, text: str, option: str) -> None:
    if target == STDOUT:
        sys.stdout.write(text)
        return
    try:
        write_text_atomically(target, text)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror}); choose another place with {option}"
        ) from error
