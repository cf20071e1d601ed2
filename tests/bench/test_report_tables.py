"""CSV and Markdown: every row, parsable, escaped, and the verdict before the figures."""

from __future__ import annotations

import csv
import io
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench.report_fixture import build_record, build_run
from bench.report_rich_record import THROTTLED, build_rich_record, build_rich_run

from edgekd_bench.errors import InputError
from edgekd_bench.record import write_record
from edgekd_bench.report import run

_EDGEKD = [sys.executable, "-c", "from edgekd.cli import main; main()", "report"]


def edgekd_report(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*_EDGEKD, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def cells(line: str) -> list[str]:
    """The cells of a Markdown table's line; an escaped bar is no border."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_csv_has_a_line_a_row_and_every_single_valued_field(tmp_path: Path) -> None:
    folder = build_rich_run(tmp_path / "run", optional=False)
    result = run(folder, csv=tmp_path / "rows.csv")
    assert result.csv == tmp_path / "rows.csv"
    record = build_rich_record()
    lines = list(csv.DictReader(io.StringIO(result.csv.read_text(encoding="utf-8"))))
    assert len(lines) == len(record.rows)
    scalar = [name for name, value in record.rows[0] if not isinstance(value, (dict, list))]
    assert set(scalar) <= set(lines[0])
    for line, row in zip(lines, record.rows, strict=True):
        assert float(line["map50_95"]) == row.map50_95
        assert float(line["latency_p99_ms_high"]) == row.latency_intervals_ms["latency_p99_ms"][1]
        assert line["machine"].startswith("NVIDIA Jetson")
        large = row.map50_95_by_size["large"]
        assert line["map50_95_large"] == ("" if large is None else str(large))
    assert lines[2]["flags"] == THROTTLED


def test_csv_leaves_unknown_and_not_finite_cells_empty(tmp_path: Path) -> None:
    record = build_record()
    rows = [record.rows[0].model_copy(update={"map50_95": math.nan, "model": 'a,"b"\n.onnx'})]
    write_record(tmp_path / "results.json", record.model_copy(update={"rows": rows}))
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    text = text.replace('"map50_95": null', '"map50_95": NaN')
    (tmp_path / "results.json").write_text(text, encoding="utf-8")
    target = run(tmp_path, csv=tmp_path / "rows.csv").csv
    assert target is not None
    (line,) = csv.DictReader(io.StringIO(target.read_text(encoding="utf-8")))
    assert line["model"] == 'a,"b"\n.onnx'
    assert line["power_w"] == line["teacher"] == ""
    assert "nan" not in target.read_text(encoding="utf-8").lower()


def test_markdown_opens_with_the_verdict_and_its_warnings(tmp_path: Path) -> None:
    folder = build_rich_run(tmp_path / "run", outcome="worse", optional=False)
    target = run(folder, markdown=tmp_path / "r.md").markdown
    assert target is not None
    text = target.read_text(encoding="utf-8")
    assert text.startswith("**Worse.** The distilled backbone is worse")
    assert text.index("Warning") < text.index("| model |")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(cells(line)) for line in table}) == 1
    assert len(table) == 2 + 18 + 6  # heading, rows, means over seeds
    assert [cells(line)[-1] for line in table].count("1") == 1
    assert f"\n1. {THROTTLED}\n" in text


def test_markdown_of_several_runs_has_a_machine_column(tmp_path: Path) -> None:
    folders = [build_rich_run(tmp_path / n, board=n, optional=False) for n in ("Orin", "Thor")]
    target = run(*folders, markdown=tmp_path / "r.md").markdown
    assert target is not None
    table = [line for line in target.read_text("utf-8").splitlines() if line.startswith("|")]
    assert [cells(line)[0] for line in table].count("Thor") == 18 + 6


def test_names_cannot_break_a_markdown_table(tmp_path: Path) -> None:
    record = build_record()
    rows = [row.model_copy(update={"model": "a|b\n<img>.onnx"}) for row in record.rows[:2]]
    write_record(tmp_path / "results.json", record.model_copy(update={"rows": rows}))
    target = run(tmp_path, markdown=tmp_path / "r.md").markdown
    assert target is not None
    text = target.read_text(encoding="utf-8")
    assert "<img>" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(cells(line)) for line in lines}) == 1


def test_a_comparison_has_tables_too(tmp_path: Path) -> None:
    folders = [build_rich_run(tmp_path / n, board=n, optional=False) for n in ("Orin", "Thor")]
    result = run(*folders, compare=True, csv=tmp_path / "c.csv", markdown=tmp_path / "c.md")
    assert result.csv is not None and result.markdown is not None
    lines = list(csv.DictReader(io.StringIO(result.csv.read_text(encoding="utf-8"))))
    assert len(lines) == 18
    assert {line["latency_p50_reading"] for line in lines} == {
        "not told apart",
        "flagged",
        "not trusted",
    }
    text = result.markdown.read_text(encoding="utf-8")
    assert text.startswith("**Latency p50: ")
    assert text.index("environment.board") < text.index("| model |")


@pytest.mark.parametrize("option", ["--csv", "--markdown"])
def test_a_dash_writes_to_standard_output_and_messages_go_elsewhere(
    tmp_path: Path, option: str
) -> None:
    folder = build_run(tmp_path / "run", optional=False)
    answer = edgekd_report(folder, option, "-")
    assert answer.returncode == 0, answer.stderr
    start = "run,machine,model" if option == "--csv" else "**Undecided.**"
    assert answer.stdout.startswith(start)
    assert "report.html" in answer.stderr
    assert "report.html" not in answer.stdout


def test_the_command_makes_merged_and_compared_pages(tmp_path: Path) -> None:
    folders = [build_run(tmp_path / name, optional=False) for name in ("a", "b")]
    answer = edgekd_report(*folders, "--json")
    assert answer.returncode == 0, answer.stderr
    assert '"headline": "Two runs: undecided in two"' in answer.stdout
    answer = edgekd_report("--compare", *folders)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "compare.html").is_file()


def test_wrong_use_is_one_line_and_exit_2(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", optional=False)
    (tmp_path / "empty.json").write_text(" \n", encoding="utf-8")
    for words, message in (
        ((tmp_path / "absent",), "no such run folder"),
        ((tmp_path / "empty.json",), "is empty"),
        ((folder, "--compare"), "takes two runs"),
        ((folder, "--csv", "-", "--json"), "standard output"),
        ((folder, "--csv", "-", "--markdown", "-"), "same place"),
        ((folder, "--csv", tmp_path), "is a folder"),
        ((folder, "--out", "-"), "goes to a file"),
    ):
        answer = edgekd_report(*words)
        assert answer.returncode == 2, words
        assert message in answer.stderr
        assert len(answer.stderr.strip().splitlines()) == 1
        assert answer.stdout == ""
    assert list(tmp_path.rglob("*.html")) == []


def test_nothing_is_written_where_a_target_cannot_be(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", optional=False)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be written.*--markdown"):
        run(folder, markdown=tmp_path / "file" / "r.md")
    record = (folder / "results.json").read_bytes()
    with pytest.raises(InputError, match="is the record itself"):
        run(folder, csv=folder / "results.json")
    assert (folder / "results.json").read_bytes() == record
    assert list(tmp_path.rglob("*.html")) == []
