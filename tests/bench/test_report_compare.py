"""Two runs against each other: what is matched, what may be said, and what is said first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench.page_parts import Page, plots
from bench.report_fixture import build_record, build_run
from bench.report_rich_record import build_rich_record, build_rich_run, self_check

from edgekd_bench.errors import InputError
from edgekd_bench.record import BenchRecord, Row
from edgekd_bench.report import run
from edgekd_bench.report_compare import compare_runs, match_rows
from edgekd_bench.report_runs import Run


def as_run(name: str, record: BenchRecord) -> Run:
    return Run(name, Path(name) / "results.json", record, name, "")


def quiet(**changes: Any) -> BenchRecord:
    """The rich record without flags and failures; ``changes`` go into every row."""
    record = build_rich_record()
    update = {"flags": [], "parity": "pass", **changes}
    rows = [row.model_copy(update=update) for row in record.rows]
    return record.model_copy(update={"rows": rows})


def with_latency(record: BenchRecord, factor: float, half_width: float) -> BenchRecord:
    def slowed(row: Row) -> Row:
        p50 = row.latency_p50_ms * factor
        span = (p50 * (1 - half_width), p50 * (1 + half_width))
        spans = {"latency_p50_ms": span}
        return row.model_copy(update={"latency_p50_ms": p50, "latency_intervals_ms": spans})

    return record.model_copy(update={"rows": [slowed(row) for row in record.rows]})


@pytest.mark.parametrize(
    ("factor", "half_width", "reading"),
    [
        (0.9, 0.002, "faster"),
        (1.1, 0.002, "slower"),
        (1.1, 0.06, "not told apart"),  # the intervals overlap
        (1.005, 0.001, "not told apart"),  # they do not, but the effect is below 1 %
        (1.0, 0.002, "not told apart"),
    ],
)
def test_latency_is_read_from_both_intervals(
    factor: float, half_width: float, reading: str
) -> None:
    before = with_latency(quiet(), 1.0, half_width)
    after = with_latency(quiet(), factor, half_width)
    changes = compare_runs(as_run("a", before), as_run("b", after)).changes
    assert {change.latency.reading for change in changes} == {reading}
    for change in changes:
        assert change.latency.estimate == pytest.approx(factor)
        assert change.latency.low < factor < change.latency.high


def test_going_back_turns_every_ratio_over() -> None:
    first, second = quiet(), with_latency(quiet(), 1.3, 0.01)
    there = compare_runs(as_run("a", first), as_run("b", second)).changes
    back = compare_runs(as_run("b", second), as_run("a", first)).changes
    for one, other in zip(there, back, strict=True):
        assert one.latency.estimate * other.latency.estimate == pytest.approx(1)
        assert one.latency.low * other.latency.high == pytest.approx(1)
        assert one.map_difference == -other.map_difference


def test_nothing_is_said_without_intervals_or_trust() -> None:
    plain, record = build_record(), with_latency(quiet(), 0.5, 0.001)
    distrusted = record.model_copy(update={"self_checks": [self_check(passed=False)]})
    flagged = build_rich_record()
    unsound = quiet(parity="fail")
    for before, after, reading, num_read_so in (
        (quiet(), unsound, "not trusted", 18),
        (plain, record, "no interval", 18),
        (quiet(), distrusted, "not trusted", 12),  # the rows of the backend that was checked
        (quiet(), flagged, "flagged", 1),
    ):
        changes = compare_runs(as_run("a", before), as_run("b", after)).changes
        readings = [change.latency.reading for change in changes]
        assert readings.count(reading) == num_read_so


def test_map_is_only_compared_on_the_same_images() -> None:
    record = quiet()
    moved = [row.model_copy(update={"map50_95": row.map50_95 + 0.02}) for row in record.rows]
    better = record.model_copy(update={"rows": moved})
    others = better.model_copy(update={"data": {"name": "coco", "hash": "00" * 32}})
    unknown = better.model_copy(update={"data": {}})
    for after, reading, note in (
        (record, "equal", None),
        (better, "no interval", "same file on the same images"),
        (others, "other images", "evaluation sets differ"),
        (unknown, "other images", "does not name its evaluation set"),
    ):
        comparison = compare_runs(as_run("a", record), as_run("b", after))
        assert {change.map_reading for change in comparison.changes} == {reading}
        notes = " ".join(comparison.notes)
        assert note is None or note in notes


def test_rows_are_matched_by_name_then_by_hash_then_on_another_device() -> None:
    row = build_record().rows[0]
    renamed = row.model_copy(update={"model": "export/model.onnx"})
    moved = row.model_copy(update={"device": "cuda", "sha256": "11" * 32})
    other_size = row.model_copy(update={"image_size": 640})
    assert match_rows([row], [renamed, row]) == [(row, row)]
    assert match_rows([row], [renamed]) == [(row, renamed)]
    assert match_rows([row], [moved]) == [(row, moved)]
    assert match_rows([row], [other_size]) == []
    assert match_rows([row, row], [row]) == [(row, row)]


def test_unmatched_rows_are_named(tmp_path: Path) -> None:
    before, after = build_run(tmp_path / "a", num_seeds=3), build_run(tmp_path / "b", num_seeds=2)
    page = Page(run(before, after, compare=True).path.read_text(encoding="utf-8"))
    unmatched = page.html.split('id="unmatched"')[1]
    assert "Only before:" in unmatched
    assert "baseline-seed2.onnx" in unmatched
    assert "Only after:" not in unmatched


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    first = quiet()
    second = quiet(image_size=640)
    with pytest.raises(InputError, match="nothing to compare") as caught:
        compare_runs(as_run("a", first), as_run("b", second))
    assert "\n" not in str(caught.value)
    folder = build_run(tmp_path / "run", optional=False)
    with pytest.raises(InputError, match="takes two runs"):
        run(folder, compare=True)


def test_what_differs_comes_before_what_changed(tmp_path: Path) -> None:
    before = build_rich_run(tmp_path / "orin", optional=False)
    after = build_rich_run(tmp_path / "thor", optional=False, board="Thor", speed=4)
    result = run(before, after, compare=True)
    assert result.path == tmp_path / "compare.html"
    assert result.headline.startswith(
        "Latency p50: 16 of 18 rows faster, 1 flagged, 1 not to be trusted."
    )
    page = Page(result.path.read_text(encoding="utf-8"))
    assert page.misnested == page.open_tags == []
    assert set(plots(page)) == {"change-latency", "change-map"}
    html, text = page.html, page.text
    assert html.index("environment.board") < html.index('id="changes"')
    assert "nothing is paired" in text
    assert "edgekd bench AFTER --baseline BEFORE" in text


def test_equal_runs_differ_in_nothing() -> None:
    comparison = compare_runs(as_run("a", quiet()), as_run("b", quiet()))
    assert comparison.differences == []
    assert comparison.num_equal > 10
    assert comparison.title == "Latency p50: 18 of 18 rows not told apart"
    assert not comparison.only_before and not comparison.only_after
