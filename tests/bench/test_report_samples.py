"""Sample panels: each picture embedded once, boxes judged and drawn where they belong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from bench.page_parts import Page
from bench.report_fixture import build_record, build_run
from PIL import Image

from edgekd_bench.record import SampleBox, SampleImage, SamplePredictions, write_record
from edgekd_bench.report import run
from edgekd_bench.report_samples import MAX_IMAGES, build_samples, choose_models, overlap


def box(*xyxy: float, class_id: int = 0, score: float = 0.9) -> SampleBox:
    x1, y1, x2, y2 = xyxy
    return SampleBox(xyxy=(x1, y1, x2, y2), class_id=class_id, score=score)


def sample(path: str, truth: list[SampleBox], found: list[SampleBox]) -> SamplePredictions:
    image = SampleImage(
        path=path, width=200, height=100, truth=truth, predictions={"m.onnx|cpu": found}
    )
    return SamplePredictions(names={0: "cat", 1: "dog"}, images=[image])


def test_each_picture_is_embedded_once_and_used_by_every_panel(tmp_path: Path) -> None:
    page = Page(run(build_run(tmp_path)).path.read_text(encoding="utf-8"))
    pictures = [attributes["href"] for tag, attributes in page.tags if tag == "image"]
    assert len(pictures) == len(set(pictures)) == 3
    assert all(href.startswith("data:image/jpeg;base64,") for href in pictures)
    used = [attributes["href"] for tag, attributes in page.tags if tag == "use"]
    assert sorted(used) == sorted(3 * [f"#sample-{index}" for index in range(3)])
    assert page.count("symbol") == 3


def test_pictures_of_noise_stay_within_the_size_limit(tmp_path: Path) -> None:
    build_run(tmp_path, optional=False)
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    image = SampleImage(path="noise.png", width=900, height=900, truth=[], predictions={})
    write_record(tmp_path / "predictions.json", SamplePredictions(names={}, images=[image] * 9))
    result = run(tmp_path)
    assert result.size_bytes < 5_000_000
    assert Page(result.path.read_text(encoding="utf-8")).count("symbol") == MAX_IMAGES


@pytest.mark.parametrize("content", [None, b"not a picture", b""])
def test_a_picture_that_cannot_be_shown_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "gone.jpg").write_bytes(content)
    predictions = sample("gone.jpg", [box(0, 0, 10, 10)], [])
    (built,), _ = build_samples(predictions, [("m", "m.onnx|cpu")], tmp_path)
    assert "gone.jpg" in built.missing
    assert built.symbol == ""
    assert len(built.panels) == 2
    assert "<use" not in built.panels[0].drawing
    assert "cat" in built.panels[0].drawing


def test_boxes_are_judged_by_class_and_overlap(tmp_path: Path) -> None:
    truth = [box(0, 0, 40, 40), box(100, 0, 140, 40), box(50, 50, 90, 90, class_id=1)]
    found = [
        box(2, 2, 41, 41, score=0.8),  # hit
        box(0, 0, 40, 40, score=0.7),  # the same object again: wrong
        box(100, 0, 140, 40, class_id=1),  # right place, wrong class
        box(50, 50, 90, 90, class_id=1, score=0.1),  # below the drawing threshold: missed
    ]
    (built,), _ = build_samples(sample("x.jpg", truth, found), [("m", "m.onnx|cpu")], tmp_path)
    panel = built.panels[1]
    assert panel.caption == "1 of 3 found, 2 wrong"
    assert panel.drawing.count('class="box b-hit"') == 1
    assert panel.drawing.count('class="box b-extra"') == 2
    assert panel.drawing.count('class="box b-missed"') == 2
    assert "dog 0.90" in panel.drawing
    assert "dog 0.10" not in panel.drawing


def test_unknown_model_class_and_broken_box_do_not_break_the_panel(tmp_path: Path) -> None:
    truth = [box(0, 0, math.nan, 40), box(0, 0, 40, 40, class_id=7)]
    (built,), _ = build_samples(sample("x.jpg", truth, []), [("m", "other|cpu")], tmp_path)
    assert built.panels[0].caption == "1 object"
    assert "class 7" in built.panels[0].drawing
    assert "nan" not in built.panels[0].drawing
    assert "no predictions" in built.panels[1].caption


def test_models_are_paired_by_backend_precision_and_seed() -> None:
    record = build_record()
    image = SampleImage(
        path="x.jpg",
        width=1,
        height=1,
        truth=[],
        predictions={f"{row.model}|{row.backend}": [] for row in record.rows[2:]},
    )
    models = choose_models(record, SamplePredictions(names={}, images=[image]))
    titles = [title for title, _ in models]
    assert [title.partition(",")[0] for title in titles] == ["baseline", "distilled"]
    assert titles[0].partition(",")[2] == titles[1].partition(",")[2]
    assert models[0][1].partition("|")[2] == models[1][1].partition("|")[2]


def test_models_unknown_to_the_record_are_still_drawn() -> None:
    models = choose_models(build_record(), sample("x.jpg", [], []))
    assert models == [("m.onnx", "m.onnx|cpu")]


def test_overlap_is_a_ratio() -> None:
    assert overlap(box(0, 0, 2, 2), box(0, 0, 2, 2)) == 1
    assert overlap(box(0, 0, 2, 2), box(2, 0, 4, 2)) == 0
    assert overlap(box(0, 0, 2, 2), box(1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap(box(0, 0, 0, 0), box(0, 0, 0, 0)) == 0
