"""mAP is pycocotools' mAP, and every image of the set goes through the runner once."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bench.fake_runner import FakeRunner
from bench.synthetic_sets import (
    imperfect_detections,
    perfect_detections,
    random_set,
    write_yolo_set,
)

from edgekd_bench.accuracy import evaluate, score_detections
from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.detections import Detections
from edgekd_bench.errors import InputError


def _pycocotools_precision(dataset: DetectionSet, found: Sequence[Detections]) -> np.ndarray:
    """(10, 101, nc) from the reference implementation, fed by hand."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, results = [], []
    for index, (image, detections) in enumerate(zip(dataset.images, found, strict=True)):
        for box, class_id, crowd in zip(
            image.boxes.tolist(), image.class_ids.tolist(), image.crowd.tolist(), strict=True
        ):
            width, height = box[2] - box[0], box[3] - box[1]
            entry = {"id": len(annotations) + 1, "image_id": index + 1, "iscrowd": int(crowd)}
            entry |= {"category_id": class_id + 1, "bbox": [box[0], box[1], width, height]}
            annotations.append(entry | {"area": width * height})
        for box, score, class_id in zip(
            detections.boxes.astype(np.float64).tolist(),
            detections.scores.astype(np.float64).tolist(),
            detections.class_ids.tolist(),
            strict=True,
        ):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            entry = {"image_id": index + 1, "category_id": class_id + 1}
            results.append(entry | {"bbox": xywh, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i + 1} for i in range(len(dataset.images))],
            "categories": [{"id": k + 1, "name": n} for k, n in dataset.names.items()],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][:, :, :, 0, 2]
    return precision


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("crowd", [False, True])
def test_scores_equal_pycocotools(seed: int, crowd: bool) -> None:
    rng = np.random.default_rng(seed)
    dataset = random_set(25, rng, crowd)
    found = imperfect_detections(dataset, rng)
    score = score_detections(found, dataset)
    reference = _pycocotools_precision(dataset, found)
    present = reference[0, 0] > -1
    assert score.map50_95 == pytest.approx(reference[:, :, present].mean(), abs=1e-6)
    assert score.map50 == pytest.approx(reference[0][:, present].mean(), abs=1e-6)
    for index, name in dataset.names.items():
        assert score.map50_95_per_class[name] == pytest.approx(
            reference[:, :, index].mean(), abs=1e-6
        )
    assert 0.05 < score.map50_95 < 0.95


def test_the_truth_scores_one_and_silence_zero() -> None:
    dataset = random_set(12, np.random.default_rng(0))
    perfect = score_detections(perfect_detections(dataset), dataset)
    assert perfect.map50_95 == pytest.approx(1.0)
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, int))
    silent = score_detections([nothing] * 12, dataset)
    assert silent.map50_95 == silent.map50 == 0.0


def test_classes_without_truth_do_not_count() -> None:
    dataset = random_set(12, np.random.default_rng(0))
    dataset.names[3] = "never seen"
    try:
        score = score_detections(perfect_detections(dataset), dataset)
    finally:
        del dataset.names[3]
    assert score.map50_95 == pytest.approx(1.0)
    assert "never seen" not in score.map50_95_per_class


@pytest.mark.parametrize("batch", [1, 2])
def test_boxes_come_back_through_the_letterbox(tmp_path: Path, batch: int) -> None:
    """80 x 60 images in a 64 px square: scale 0.8, 8 px of padding on top."""
    dataset = load_detection_set(write_yolo_set(tmp_path / "set", names={0: "a", 1: "b"}), "val")
    truth = dataset.images[0].boxes * 0.8 + np.array([0, 8, 0, 8])
    rows = np.column_stack([truth, [0.9, 0.8], dataset.images[0].class_ids]).astype(np.float32)
    runner = FakeRunner("A", [], rows, names={0: "a", 1: "b"})
    ticks: list[int] = []
    accuracy = evaluate(runner, dataset, batch=batch, on_image=lambda: ticks.append(1))
    assert len(accuracy.detections) == len(ticks) == 3
    for found in accuracy.detections:
        np.testing.assert_allclose(found.boxes, dataset.images[0].boxes, atol=1e-3)
    assert {len(seen) for seen in runner.seen} == {batch}
    assert 0.5 < accuracy.score.map50_95 < 1  # image 1 has another class at the same place


def test_other_classes_are_refused(tmp_path: Path) -> None:
    dataset = load_detection_set(write_yolo_set(tmp_path / "set"), "val")
    with pytest.raises(InputError, match=r"2 classes but .* has 3"):
        evaluate(FakeRunner("A", [], names={0: "one", 1: "two"}), dataset)
    with pytest.raises(InputError, match="class 0 is 'two' but 'one'"):
        evaluate(FakeRunner("A", [], names={0: "two", 1: "one", 2: "three"}), dataset)
    unnamed = FakeRunner("A", [], names={0: "0", 1: "1", 2: "class2"})
    assert evaluate(unnamed, dataset).score.map50_95 == 0.0


def test_boxes_alone_count_what_is_found_whatever_its_class() -> None:
    from dataclasses import replace

    dataset = random_set(20, np.random.default_rng(4))
    perfect = perfect_detections(dataset)
    wrong = [replace(d, class_ids=(d.class_ids + 1) % len(dataset.names)) for d in perfect]
    assert score_detections(wrong, dataset).map50_95 < 0.2
    # Truths that overlap by more than the limit merge into one where classes are put aside.
    alone = score_detections(wrong, dataset, iou=1.0).map50_95_any_class
    assert alone == pytest.approx(score_detections(perfect, dataset, iou=1.0).map50_95_any_class)
    assert alone > 0.9
