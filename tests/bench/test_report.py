"""The page as a whole: complete, self-contained, escaped, and honest about what is missing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from bench.page_parts import Page, plots
from bench.report_fixture import build_record, build_run
from bench.report_pictures import CLASSES, write_predictions

from edgekd_bench.errors import InputError
from edgekd_bench.record import Outcome, Verdict, write_record
from edgekd_bench.report import ReportResult, run
from edgekd_bench.report_numbers import interval

MEASURED_PLOTS = {
    "accuracy-latency",
    "map-difference",
    "latency-ratio",
    "latency-0",
    "latency-1",
    "latency-2",
    "clocks",
    "per-class",
}
ALL_PLOTS = MEASURED_PLOTS | {
    "distill-cosine",
    "distill-loss",
    "train-map",
    "train-loss",
}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> ReportResult:
    return run(build_run(tmp_path_factory.mktemp("report") / "dice"))


@pytest.fixture(scope="module")
def page(complete: ReportResult) -> Page:
    return Page(complete.path.read_text(encoding="utf-8"))


def test_result_describes_the_file(complete: ReportResult) -> None:
    assert complete.path.name == "report.html"
    assert complete.size_bytes == complete.path.stat().st_size < 5_000_000
    assert complete.headline.startswith("Undecided")
    assert [path.name for path in complete.path.parent.glob(".*")] == []


def test_page_is_well_formed(page: Page) -> None:
    assert page.misnested == []
    assert page.open_tags == []
    assert page.html.startswith("<!doctype html>")
    assert len(page.drawings()) == page.count("svg") > len(ALL_PLOTS)
    ids = page.values("id")
    assert len(ids) == len(set(ids))


def test_every_plot_is_there_with_title_and_description(page: Page) -> None:
    found = plots(page)
    assert set(found) >= ALL_PLOTS
    for drawing in found.values():
        assert drawing.findtext("title")
        assert drawing.findtext("desc")
        assert drawing.attrib["role"] in ("img", "group")
        named = {element.get("id") for element in drawing.iter()}
        assert set(drawing.attrib["aria-labelledby"].split()) <= named


def test_page_loads_nothing(page: Page) -> None:
    for attribute in ("src", "href", "xlink:href", "srcset", "action", "poster"):
        for value in page.values(attribute):
            assert value.startswith(("#", "data:")), value
    assert page.count("script") == 0
    assert "url(" not in page.html
    assert "@import" not in page.html
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]


def test_links_lead_to_sections(page: Page) -> None:
    targets = [value[1:] for value in page.values("href") if value.startswith("#")]
    assert set(targets) <= set(page.values("id"))


@pytest.mark.parametrize("outcome", ["better", "worse", "undecided"])
def test_verdict_comes_first_with_interval_and_seeds(tmp_path: Path, outcome: Outcome) -> None:
    record = build_record(outcome)
    page = Page(run(build_run(tmp_path, outcome=outcome)).path.read_text(encoding="utf-8"))
    text = page.text
    # The headline may be cut into coloured parts, so compare without spaces.
    headline = record.verdict.headline.replace(" ", "")
    assert headline in text.replace(" ", "")
    assert text.replace(" ", "").index(headline) < text.replace(" ", "").index("Parity".lower())
    assert page.count("section", f"o-{outcome}") == 1
    zero = "includes" if outcome == "undecided" else "excludes"
    assert f"and {zero} zero" in text
    assert "three seeds" in text


def test_one_seed_is_said_to_cover_images_only(tmp_path: Path) -> None:
    text = Page(run(build_run(tmp_path, num_seeds=1)).path.read_text(encoding="utf-8")).text
    assert "one seed on each side" in text
    assert "not the luck of training" in text


def write_with_verdict(folder: Path, **changes: object) -> Page:
    record = build_record()
    verdict = record.verdict.model_copy(update=changes)
    write_record(folder / "results.json", record.model_copy(update={"verdict": verdict}))
    return Page(run(folder).path.read_text(encoding="utf-8"))


def test_a_long_headline_is_summarised_and_still_shown_whole(tmp_path: Path) -> None:
    long = "Distillation: +0.014 mAP50-95. " + "Also: pytorch fp32 +0.010. " * 8
    page = write_with_verdict(tmp_path, headline=long)
    title = page.html.split("<h1>")[1].split("</h1>")[0]
    assert "Undecided" in title
    difference = build_record().verdict.comparisons[0].map50_95_difference
    assert f"somewhere from {interval(difference.low, difference.high)}" in title
    assert long.strip() in page.text


def test_undecided_says_why(tmp_path: Path) -> None:
    first = build_record("better").verdict.comparisons[0]
    assert "contradict each other" in write_with_verdict(tmp_path, comparisons=[first]).text
    few = first.map50_95_difference.model_copy(update={"outcome": "undecided"})
    comparison = first.model_copy(update={"map50_95_difference": few})
    page = write_with_verdict(tmp_path, comparisons=[comparison])
    assert "although the interval excludes zero" in page.text


def test_missing_inputs_name_the_command_that_makes_them(tmp_path: Path) -> None:
    page = Page(run(build_run(tmp_path, optional=False)).path.read_text(encoding="utf-8"))
    assert page.misnested == []
    assert set(plots(page)) == MEASURED_PLOTS
    for what, command in (
        ("distill/metrics.jsonl", "edgekd distill"),
        ("train/<init>-seed<k>/results.csv", "edgekd train"),
        ("predictions.json", "edgekd bench"),
        ("config.yaml", "edgekd run"),
    ):
        assert what in page.text
        assert command in page.text


def test_single_row_without_baseline(tmp_path: Path) -> None:
    row = build_record().rows[0].model_copy(update={"init": "other", "seed": None})
    verdict = Verdict(headline="One model measured", outcome="no baseline", num_seeds=0)
    record = build_record().model_copy(update={"rows": [row], "verdict": verdict})
    write_record(tmp_path / "results.json", record)
    page = Page(run(tmp_path).path.read_text(encoding="utf-8"))
    assert "One model measured" in page.text
    assert "--baseline" in page.text
    assert set(plots(page)) == {"accuracy-latency", "latency-0", "clocks", "per-class"}
    assert page.count("section", "o-no-baseline") == 1
    assert page.count("td", "best") == 0


def test_no_rows_at_all(tmp_path: Path) -> None:
    verdict = Verdict(headline="Nothing measured", outcome="no baseline", num_seeds=0)
    record = build_record().model_copy(update={"rows": [], "verdict": verdict})
    write_record(tmp_path / "results.json", record)
    page = Page(run(tmp_path).path.read_text(encoding="utf-8"))
    assert plots(page) == {}
    assert "holds no rows" in page.text


def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>\x00"
    record = build_record()
    rows = [
        row.model_copy(
            update={
                "model": row.model + evil,
                "teacher": evil,
                "map50_95_per_class": {evil: 0.5, '"><img src=x>': 0.25},
            }
        )
        for row in record.rows
    ]
    build_run(tmp_path)
    verdict = record.verdict.model_copy(update={"headline": evil})
    record = record.model_copy(
        update={"rows": rows, "verdict": verdict, "environment": {evil: evil}, "data": {evil: 1}}
    )
    write_record(tmp_path / "results.json", record)
    write_predictions(tmp_path, 1, {**CLASSES, 0: evil, 1: evil, 2: evil})
    (tmp_path / "config.yaml").write_text(f"name: {evil}</pre>", encoding="utf-8")
    page = Page(run(tmp_path).path.read_text(encoding="utf-8"))
    assert page.count("script") == page.count("img") == 0
    assert page.misnested == page.open_tags == []
    assert "<script>" in page.text
    assert len(page.drawings()) == page.count("svg")
    assert "\x00" not in page.html


@pytest.mark.parametrize(
    "content", [None, b"{", b"[]", b'{"rows": 3}', b"\xff\xfe\x00", b'{"environment": {}}']
)
def test_bad_results_are_refused_and_nothing_is_written(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(InputError, match=r"results\.json") as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.glob("*.html")) == []


def test_missing_folder_and_bad_target_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        run(tmp_path / "absent")
    folder = build_run(tmp_path / "run", optional=False)
    with pytest.raises(InputError, match="is a folder"):
        run(folder, out=tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        run(folder, out=blocked / "report.html")


@pytest.mark.parametrize("content", ["{", '{"names": {}, "images": [{"path": 3}]}', "[1]"])
def test_bad_predictions_are_refused(tmp_path: Path, content: str) -> None:
    build_run(tmp_path, optional=False)
    (tmp_path / "predictions.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"predictions\.json") as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_out_is_honoured_and_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run")
    first = run(folder, out=tmp_path / "elsewhere" / "page.html")
    assert first.path == tmp_path / "elsewhere" / "page.html"
    assert not (folder / "report.html").exists()
    second = run(folder)
    assert first.path.read_bytes() == second.path.read_bytes()


def test_numbers_that_are_not_finite_never_reach_a_drawing(tmp_path: Path) -> None:
    record = json.loads(build_record().model_dump_json())
    record["rows"][0]["map50_95"] = math.nan
    record["rows"][1]["latency_p50_ms"] = math.inf
    record["rows"][2]["latency_p50_ms"] = 0.0
    record["rows"][3]["size_mb"] = math.nan
    record["rows"][3]["map50_95_per_class"]["one"] = math.nan
    record["verdict"]["comparisons"][0]["map50_95_difference"]["low"] = math.nan
    (tmp_path / "results.json").write_text(json.dumps(record), encoding="utf-8")
    page = Page(run(tmp_path).path.read_text(encoding="utf-8"))
    for drawing in page.drawings():
        for element in drawing.iter():
            for name, value in element.attrib.items():
                if name in ("x", "y", "cx", "cy", "r", "x1", "x2", "y1", "y2", "points", "width"):
                    assert "nan" not in value
                    assert "inf" not in value


def test_best_is_marked_within_a_group_and_never_on_a_failed_row(page: Page) -> None:
    rows = page.html.split("<tbody>")[1:]
    group = next(part for part in rows if "pytorch fp32" in part)
    failed = next(line for line in group.split("<tr") if 'class="void"' in line)
    assert 'class="best' not in failed
    assert 'class="best' in group


def test_config_and_commands_are_shown(page: Page) -> None:
    assert "name: efficientnet_lite0" in page.text
    assert "edgekd run" in page.text
    assert "edgekd report" in page.text
    assert page.count("details") - page.count("details", "data") == 1


def test_report_needs_no_heavy_library() -> None:
    code = (
        "import sys, edgekd_bench.report; "
        "print([name for name in ('torch', 'matplotlib', 'ultralytics') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
