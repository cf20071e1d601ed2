"""Verdict and table as Markdown, ready for a README, a release note or a comment on a pull request.

The verdict and what speaks against trusting it come first, as on the page; the table has the
columns somebody measured and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekd_bench.report_compare import RunComparison
from edgekd_bench.report_compare_page import HEAD, READINGS, change_cells
from edgekd_bench.report_numbers import MISSING
from edgekd_bench.report_runs import Run
from edgekd_bench.report_tables import TableRow, results_table
from edgekd_bench.report_words import OUTCOME_WORDS, remarks, scope_sentences


def rows_markdown(runs: Sequence[Run]) -> str:
    """A verdict line a run, its warnings, and one table of all rows."""
    several = len(runs) > 1
    lines: list[str] = []
    for run in runs:
        verdict = run.record.verdict
        where = f"{_escaped(run.title)}: " if several else ""
        word = OUTCOME_WORDS[verdict.outcome]
        lines += [f"**{where}{word}.** {_escaped(verdict.headline)}", ""]
        notes = [remark for remark in remarks(run.record) if remark.is_warning]
        lines += [f"> **Warning:** {_escaped(remark.text)}\n" for remark in notes]
    return "\n".join([*lines, *_results(runs), "", _conditions(runs)]) + "\n"


def _results(runs: Sequence[Run]) -> list[str]:
    table = results_table(runs)
    machine = ["machine"] if len(runs) > 1 else []
    columns = [column.full_title for column in table.columns]
    head = [*machine, "model", "kind", "seed", "runs on", *columns, "parity", "flags"]
    align = ["---"] * (len(machine) + 4) + ["---:"] * len(columns) + ["---", "---"]
    lines = [_line(head), _line(align)]
    notes: list[str] = []
    for group in table.groups:
        for row in [*group.rows, *group.means]:
            names = [*([group.run.title] if machine else []), row.label, row.init]
            runs_on = f"{group.title}, {group.conditions.rpartition(' · ')[0]}"
            cells = [f"**{cell.text}**" if cell.best else cell.text for cell in row.cells]
            judged = _judged(row, notes)
            lines.append(_line([*names, row.seed or MISSING, runs_on, *cells, *judged]))
    flags = [f"{number}. {_escaped(note)}" for number, note in enumerate(notes, start=1)]
    return [*lines, "", "Flags:", "", *flags] if flags else lines


def _judged(row: TableRow, notes: list[str]) -> list[str]:
    """Parity, and the numbers of the flags in ``notes``, which grows by those that are new."""
    if row.row is None:
        return ["", ""]
    notes += [flag for flag in row.row.flags if flag not in notes]
    numbers = ", ".join(str(notes.index(flag) + 1) for flag in row.row.flags)
    parity = row.row.parity
    return [f"**{parity}**" if parity == "fail" else parity, numbers]


def _conditions(runs: Sequence[Run]) -> str:
    """What the figures mean, in one small line."""
    sentences = dict.fromkeys(s for run in runs for s in scope_sentences(run.record))
    machines = ", ".join(dict.fromkeys(run.machine for run in runs))
    return f"<sub>{_escaped(machines)}. {_escaped(' '.join(sentences))}</sub>"


def changes_markdown(comparison: RunComparison) -> str:
    """The headline, what differed around the measurements, and one line a matched pair."""
    lines = [f"**{_escaped(comparison.title)}.** {_escaped(comparison.summary)}", ""]
    lines += [f"> **Warning:** {_escaped(note)}\n" for note in comparison.notes]
    if comparison.differences:
        lines += ["| differs | before | after |", "|---|---|---|"]
        lines += [_line(difference) for difference in comparison.differences]
        lines.append("")
    lines += [_line(HEAD), _line(["---"] * len(HEAD))]
    lines += [_line(change_cells(change)) for change in comparison.changes]
    return "\n".join([*lines, "", f"<sub>{_escaped(' '.join(READINGS))}</sub>"]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Text that stays in its cell and makes no markup of its own."""
    flat = " ".join(text.split())
    return flat.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
