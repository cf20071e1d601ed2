"""Histories are read as runs leave them: cut short, padded, repeated, with NaN."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.page_parts import Page, plots
from bench.report_fixture import build_run

from edgekd_bench.report import run
from edgekd_bench.report_curve_plots import thinned
from edgekd_bench.report_curves import (
    mean_curve,
    read_csv,
    read_distillation,
    read_trainings,
    without_repeats,
)


def test_missing_history_is_none(tmp_path: Path) -> None:
    assert read_distillation(tmp_path / "metrics.jsonl") is None
    assert read_trainings(tmp_path / "train") == []


def test_half_lines_and_nan_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"epoch": 1, "loss": 0.5, "heldout_cosine": NaN}\n\n[3]\n'
        '{"epoch": 2, "loss": "0.25", "heldout_cosine": 0.5, "note": null, "best": true}\n'
        '{"epoch": 3, "lo',
        encoding="utf-8",
    )
    history = read_distillation(path)
    assert history is not None
    assert history.points("loss") == [(1.0, 0.5), (2.0, 0.25)]
    assert history.points("heldout_cosine") == [(2.0, 0.5)]
    assert history.points("note") == history.points("best") == []
    assert history.num_skipped == 2


def test_a_repeated_epoch_keeps_the_later_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"epoch": 2, "loss": 9}\n{"epoch": 1, "loss": 3}\n{"epoch": 2, "loss": 1}\n',
        encoding="utf-8",
    )
    history = read_distillation(path)
    assert history is not None
    assert history.points("loss") == [(1.0, 3.0), (2.0, 1.0)]


def test_trainer_csv_with_padding_nan_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "baseline-seed3" / "results.csv"
    path.parent.mkdir()
    path.write_text(
        "   epoch,  train/box_loss, train/cls_loss,  metrics/mAP50-95(B), val/box_loss\n"
        "       1,   1.0, 2.0,   0.1, nan\n"
        "       2,   0.5, nan,   0.1, 1\n"
        "       3,   0.5, 0.5,   nan, 1\n"
        "       4,   0.25, 0.5,  0.3, 1\n"
        "       5,   0.25\n",
        encoding="utf-8",
    )
    (history,) = read_trainings(tmp_path)
    assert (history.init, history.seed, history.num_skipped) == ("baseline", 3, 1)
    assert history.loss == [(1.0, 3.0), (3.0, 1.0), (4.0, 0.75)]
    assert history.validation == [(1.0, 0.1), (4.0, 0.3)]


@pytest.mark.parametrize("content", ["", "\n", "epoch\n", "a,b\n1,2\n", "\0\0", "epoch,x\n1,-\n"])
def test_useless_csv_gives_no_validation(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.csv"
    path.write_text(content, encoding="utf-8")
    assert read_csv(path).points("metrics/mAP50-95(B)") == []


def test_page_with_unreadable_histories_says_so(tmp_path: Path) -> None:
    build_run(tmp_path)
    (tmp_path / "distill" / "metrics.jsonl").write_text("not json\n", encoding="utf-8")
    for path in (tmp_path / "train").glob("*/results.csv"):
        path.write_text("epoch\n", encoding="utf-8")
    page = Page(run(tmp_path).path.read_text(encoding="utf-8"))
    assert "distill-cosine" not in plots(page)
    assert "train-map" not in plots(page)
    assert "no epoch that can be drawn" in page.text
    assert "left out: 1" in page.text


def test_seeds_are_thin_and_their_mean_is_thick(tmp_path: Path) -> None:
    page = Page(run(build_run(tmp_path)).path.read_text(encoding="utf-8"))
    curves = plots(page)["train-map"].findall("polyline")
    classes = [curve.attrib["class"] for curve in curves]
    assert classes.count("curve s-baseline thin") == classes.count("curve s-distilled thin") == 3
    assert classes.count("curve s-baseline") == classes.count("curve s-distilled") == 1


def test_long_histories_are_thinned_with_both_ends() -> None:
    points = [(float(epoch), epoch / 7) for epoch in range(10_001)]
    few = thinned(points, 240)
    assert len(few) == 240
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert thinned(few, 240) == few


def test_mean_is_over_epochs_all_curves_have() -> None:
    assert mean_curve([[(1, 1.0), (2, 2.0)], [(2, 4.0), (3, 1.0)]]) == [(2, 3.0)]
    assert mean_curve([]) == []


def test_only_consecutive_repeats_go() -> None:
    points = [(1.0, 0.0), (2.0, 0.0), (3.0, 0.5), (4.0, 0.0)]
    assert without_repeats(points) == [(1.0, 0.0), (3.0, 0.5), (4.0, 0.0)]
