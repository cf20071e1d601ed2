"""What newer records hold is on the page: clocks, tails, energy, flags, self-check, provenance."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from bench.page_parts import Page, plots
from bench.report_rich_record import (
    BOARD,
    THROTTLED,
    build_rich_record,
    build_rich_run,
    self_check,
    write_manifest_for,
)

from edgekd_bench.record import BenchRecord, GateOutcome, Row, write_record
from edgekd_bench.report import run
from edgekd_bench.report_latency_plots import latency_plots
from edgekd_bench.report_pareto import pareto_plot
from edgekd_bench.report_rows import series_of

OPTIONAL_PLOTS = {"by-size", "throughput", "energy", "confusion-0", "confusion-1"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = build_rich_run(tmp_path_factory.mktemp("rich") / "orin")
    return Page(run(folder).path.read_text(encoding="utf-8"))


def page_of(folder: Path, record: BenchRecord) -> Page:
    write_record(folder / "results.json", record)
    return Page(run(folder).path.read_text(encoding="utf-8"))


def section(page: Page, name: str) -> str:
    """The text of one section."""
    inner = page.html.split(f'id="{name}"')[1].split("</section>")[0]
    return " ".join(Page(f"<p {inner}</p>").text.split())


def test_every_optional_plot_is_drawn_and_the_page_is_well_formed(page: Page) -> None:
    assert set(plots(page)) >= OPTIONAL_PLOTS
    assert page.misnested == page.open_tags == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))


def test_a_flag_stands_in_its_row_and_beside_the_verdict(page: Page) -> None:
    assert "1 of 18 rows is flagged" in section(page, "verdict")
    assert THROTTLED in section(page, "verdict")
    assert section(page, "results").count(f"! Flagged. {THROTTLED}") == 1
    assert ">!</text>" in page.html  # beside its point


def test_a_flag_of_all_rows_is_said_once_and_marked_at_each(tmp_path: Path) -> None:
    record = build_rich_record()
    rows = [row.model_copy(update={"flags": ["busy", *row.flags]}) for row in record.rows]
    page = page_of(tmp_path, record.model_copy(update={"rows": rows}))
    table = page.html.split('<table class="results">')[1].split("</table>")[0]
    assert table.count("All rows flagged.</strong> busy<") == 3  # backends
    assert table.count('<abbr class="warning-word" title="busy') == 18
    assert f"Flagged.</strong> {THROTTLED}<" in table


def test_an_unflagged_record_has_no_warning(tmp_path: Path) -> None:
    record = build_rich_record()
    rows = [row.model_copy(update={"flags": []}) for row in record.rows]
    page = page_of(tmp_path, record.model_copy(update={"rows": rows}))
    assert "Warning" not in page.text
    assert "Flagged" not in page.text


@pytest.mark.parametrize("passed", [True, False])
def test_the_self_check_is_said_and_a_failed_one_is_a_warning(tmp_path: Path, passed: bool) -> None:
    record = build_rich_record()
    rows = [row.model_copy(update={"flags": []}) for row in record.rows]
    update = {"rows": rows, "self_checks": [self_check(passed)]}
    verdict = section(page_of(tmp_path, record.model_copy(update=update)), "verdict")
    assert ("Warning." in verdict) is not passed
    assert ("latencies on this backend decide nothing" in verdict) is not passed
    assert "Self-check on onnxruntime, baseline-seed0.onnx against itself" in verdict


def test_violated_gates_come_first(tmp_path: Path) -> None:
    gates = [
        GateOutcome(
            condition="latency_p90_ms > 8",
            models=["m.onnx"],
            backend="onnxruntime",
            value=value,
            limit=8.0,
            violated=value > 8,
            text=f"latency_p90_ms > 8: {value} for m.onnx",
        )
        for value in (7.5, 9.5)
    ]
    record = build_rich_record().model_copy(update={"gate": gates})
    verdict = section(page_of(tmp_path, record), "verdict")
    assert verdict.index("Violated --fail-if") < verdict.index("is flagged")
    assert verdict.index("is flagged") < verdict.index("Kept --fail-if")


def test_the_relation_is_said_only_where_the_record_says_it(page: Page, tmp_path: Path) -> None:
    assert "dominates the baseline" in section(page, "verdict")
    raw = json.loads(build_rich_record().model_dump_json())
    for comparison in raw["verdict"]["comparisons"]:
        del comparison["relation"]
    (tmp_path / "results.json").write_text(json.dumps(raw), encoding="utf-8")
    old = Page(run(tmp_path).path.read_text(encoding="utf-8"))
    assert "mAP and latency together" not in old.text


def test_provenance_comes_from_manifests_with_the_right_hash_only(tmp_path: Path) -> None:
    record = build_rich_record()
    row = next(row for row in record.rows if row.precision == "int8")
    write_manifest_for(tmp_path, row.model_copy(update={"sha256": "00" * 32}))
    (tmp_path / "export" / "other.onnx.json").write_text('{"kind": "onnx"}', encoding="utf-8")
    page = page_of(tmp_path, record)
    assert "entropy over 128 images" not in page.text
    write_manifest_for(tmp_path, row)
    text = Page(run(tmp_path).path.read_text(encoding="utf-8")).text
    for fact in ("entropy over 128 images of dice/train", "AGPL-3.0", "box_max_abs_px 0.31"):
        assert fact in text
    assert "score_cosine 1 − 8.6e-05" in text


def test_device_state_and_command_are_shown(page: Page) -> None:
    environment = section(page, "environment")
    assert "temperature_c.gpu 49.0 97.0" in environment
    assert BOARD in environment
    assert "edgekd bench 'distilled seed0.onnx' --baseline" in section(page, "provenance")


def test_worst_images_have_a_section_of_their_own(page: Page) -> None:
    assert page.html.count('id="sample-0"') == page.html.count('id="worst-0"') == 1
    assert "dice_0002.jpg" in section(page, "worst")
    assert "dice_0002.jpg" not in section(page, "samples")


def test_every_mark_with_a_text_can_be_focused_and_its_text_is_drawn_last(page: Page) -> None:
    num_rules = len(re.findall(r"\.m(\d+):focus~\.tips>\.t\1", page.html))
    for drawing in plots(page).values():
        marks = [e for e in drawing if e.get("tabindex") == "0"]
        tips = [e for e in drawing.iter() if (e.get("class") or "").startswith("tip t")]
        assert len(marks) == len(tips) <= num_rules
        if marks:
            assert drawing[-1].get("class") == "tips"
            assert all(mark.get("aria-label") and mark.get("role") == "img" for mark in marks)
            # Screen readers skip what is inside an image.
            assert drawing.get("role") == "group"


def test_every_plot_has_its_figures_as_a_table(page: Page) -> None:
    figures = [part.split("</figure>")[0] for part in page.html.split("<figure>")[1:]]
    drawn = [part for part in figures if 'class="plot"' in part]
    assert len(drawn) == len(plots(page)) - page.html.count('class="plot picture"')
    for part in drawn:
        table = part.split('<details class="data">')[1]
        assert table.count("<tr>") >= 2
        assert "<th" in table


def test_calls_are_drawn_where_they_fell() -> None:
    row = (
        build_rich_record()
        .rows[0]
        .model_copy(
            update={
                "latency_p50_ms": 10.0,
                "latency_p90_ms": 14.0,
                "latency_p99_ms": 14.0,
                "latency_intervals_ms": {},
                "latency_quantiles_ms": [*np.linspace(10, 10.1, 60), *np.linspace(13.9, 14, 41)],
            }
        )
    )
    ((_, drawing),) = latency_plots([row])
    points = str(drawing.markup).split('<polygon points="')[1].split('"')[0]
    corners = [tuple(map(float, corner.split(","))) for corner in points.split()]
    ground = max(y for _, y in corners)
    raised = [x for x, y in corners if y < ground - 1]
    first, last = min(x for x, _ in corners), max(x for x, _ in corners)
    shares = sorted((x - first) / (last - first) for x in raised)
    assert shares[0] < 0.1
    assert shares[-1] > 0.9
    assert not [share for share in shares if 0.15 < share < 0.85]


def test_rows_without_quantiles_still_show_their_percentiles() -> None:
    rows = [r.model_copy(update={"latency_quantiles_ms": []}) for r in build_rich_record().rows]
    for _, drawing in latency_plots(rows):
        assert "<polygon" not in drawing.markup
        assert drawing.markup.count('class="percentile') == 3 * len(drawing.rows)


def test_one_set_of_weights_deployed_in_two_ways_is_compared_side_by_side() -> None:
    """Both sides are distilled: what tells them apart is their part in the comparison."""
    record = build_rich_record(num_seeds=1)
    before, after = (
        next(r for r in record.rows if r.init == "distilled" and r.precision == precision)
        for precision in ("fp32", "int8")
    )
    comparison = record.verdict.comparisons[0].model_copy(
        update={
            "kind": "deployment",
            "precision": "int8",
            "baseline_precision": "fp32",
            "baselines": [before.model],
            "candidates": [after.model],
        }
    )
    rows: list[Row] = [before, after]
    series = series_of(comparison, rows)
    assert [(side.name, side.rows) for side in series] == [
        ("baseline", [before]),
        ("candidate", [after]),
    ]
    drawing = pareto_plot(rows, [comparison])
    assert drawing is not None
    assert drawing.markup.count('class="pair"') == 1
    assert drawing.markup.count('class="dot s-distilled hollow m') == 1
    assert drawing.markup.count('class="dot s-distilled m') == 1
