"""Several runs on one page: a device column, a panel each, and nothing claimed across them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bench.page_parts import Page, plots
from bench.report_fixture import build_record, build_run
from bench.report_rich_record import BOARD, build_rich_run

from edgekd_bench.errors import InputError
from edgekd_bench.record import write_record
from edgekd_bench.report import ReportResult, run
from edgekd_bench.report_runs import machine_name, read_runs

THOR = "NVIDIA Jetson AGX Thor"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("merged")
    orin = build_rich_run(folder / "orin")
    thor = build_rich_run(folder / "thor", outcome="undecided", board=THOR, speed=4)
    return [orin, thor, build_run(folder / "xeon", optional=False)]


@pytest.fixture(scope="module")
def merged(runs: list[Path]) -> ReportResult:
    return run(*runs)


@pytest.fixture(scope="module")
def page(merged: ReportResult) -> Page:
    return Page(merged.path.read_text(encoding="utf-8"))


def test_the_page_lies_where_the_runs_meet(merged: ReportResult, runs: list[Path]) -> None:
    assert merged.path == runs[0].parent / "report.html"
    assert merged.size_bytes < 5_000_000
    assert merged.headline == "Three runs: undecided in two, better in one"


def test_one_table_holds_the_rows_of_all_with_their_device(page: Page) -> None:
    table = page.html.split('<table class="results">')[1].split("</table>")[0]
    assert ">device</th>" in table
    for title in (BOARD, THOR, "Intel Xeon Gold 6448Y"):
        assert table.count(f'title="{title}"') == 18 + 6  # rows, and means over seeds


def test_every_device_has_a_panel_and_all_share_the_accuracy_axis(page: Page) -> None:
    panels = [d for name, d in plots(page).items() if name.startswith("accuracy-latency")]
    assert len(panels) == 3
    titles = [panel.findtext("title") for panel in panels]
    assert titles[1] == f"mAP50-95 against latency, {THOR}"
    ticks = [
        [(e.get("y"), e.text) for e in panel.iter("text") if e.get("text-anchor") == "end"]
        for panel in panels
    ]
    assert ticks[0] == ticks[1] == ticks[2]


def test_names_on_the_page_are_unique(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert page.misnested == page.open_tags == []


def test_every_run_keeps_its_own_verdict_and_warnings(page: Page) -> None:
    verdict = page.html.split('id="verdict"')[1].split("</section>")[0]
    assert verdict.count("throttled for heat") == 2
    assert verdict.count("The distilled backbone is better") == 1
    assert verdict.count("none in this record") == 1
    assert "runs are not paired with one another" in verdict


def test_the_same_file_with_another_map_on_the_same_images_is_a_warning(tmp_path: Path) -> None:
    record = build_record()
    write_record(tmp_path / "a.json", record)
    worse = record.rows[1].model_copy(update={"map50_95": record.rows[1].map50_95 - 0.3})
    rows = [record.rows[0], worse, *record.rows[2:]]
    write_record(tmp_path / "b.json", record.model_copy(update={"rows": rows}))
    text = Page(run(tmp_path / "a.json", tmp_path / "b.json").path.read_text("utf-8")).text
    assert "the same file on the same images" in text
    assert text.count("the same file on the same images") == 1
    write_record(tmp_path / "b.json", record.model_copy(update={"rows": rows, "data": {}}))
    text = Page(run(tmp_path / "a.json", tmp_path / "b.json").path.read_text("utf-8")).text
    assert "the same file on the same images" not in text


def test_records_under_names_of_their_own_are_read_alone(tmp_path: Path) -> None:
    """What else lies beside them may belong to another record."""
    folder = build_rich_run(tmp_path / "run")
    shutil.copy(folder / "results.json", folder / "orin.json")
    result = run(folder / "orin.json")
    assert result.path == folder / "orin.html"
    page = Page(result.path.read_text(encoding="utf-8"))
    assert "train-map" not in plots(page)
    assert "sample-0-truth" not in plots(page)


def test_many_runs_with_pictures_stay_within_the_size_limit(tmp_path: Path) -> None:
    folders = [build_rich_run(tmp_path / f"run{index}", board=f"b{index}") for index in range(7)]
    result = run(*folders)
    assert result.size_bytes < 5_000_000
    page = Page(result.path.read_text(encoding="utf-8"))
    assert page.count("symbol") == 14  # one sample and one of the worst each


def test_runs_on_one_machine_are_told_apart_by_name(tmp_path: Path) -> None:
    first, second = (build_run(tmp_path / name, optional=False) for name in ("before", "after"))
    read = read_runs([first, second])
    assert [each.machine for each in read] == ["Intel Xeon Gold 6448Y"] * 2
    assert [each.short_title for each in read] == ["before", "after"]
    assert read[0].title == "Intel Xeon Gold 6448Y (before)"


def test_runs_of_one_name_are_told_apart_by_path(tmp_path: Path) -> None:
    folders = [build_run(tmp_path / parent / "bench", optional=False) for parent in "ab"]
    names = [each.name for each in read_runs(folders)]
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"board": "NVIDIA Jetson Orin NX", "cpu": "ARMv8"}, "NVIDIA Jetson Orin NX"),
        ({"cpu": "AMD EPYC", "cpu_cores": 64, "cpu_cores_usable": 2}, "AMD EPYC, 2 cores"),
        ({"cpu": "X", "gpus": ["NVIDIA H100, 570.1", "NVIDIA H100, 570.1"]}, "X, NVIDIA H100"),
        ({"cpu": {"name": "X"}, "gpus": [{"name": "NVIDIA L4"}]}, "X, NVIDIA L4"),
        ({}, "unknown machine"),
        ({"board": None, "cpu": 3, "gpus": None}, "unknown machine"),
    ],
)
def test_machines_have_short_names(environment: dict[str, object], name: str) -> None:
    assert machine_name(environment) == name


def test_runs_that_cannot_be_merged_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", optional=False)
    (tmp_path / "empty.json").write_text("", encoding="utf-8")
    (tmp_path / "coco.json").write_text(json.dumps({"images": [], "annotations": []}), "utf-8")
    (tmp_path / "bare").mkdir()
    for runs, message in (
        ((folder, folder / "results.json"), "given twice"),
        ((folder, tmp_path / "empty.json"), "is empty"),
        ((folder, tmp_path / "coco.json"), "not a results.json"),
        ((folder, tmp_path / "bare"), "no results.json"),
        ((folder, tmp_path / "absent"), "no such run"),
        ((), "no run given"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            run(*runs)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.rglob("*.html")) == []
