"""mAP is pycocotools' mAP, and every image of the set goes through the runner once."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bench.fake_runner import FakeRunner
from bench.synthetic_sets import (
    NAMES,
    imperfect_detections,
    perfect_detections,
    random_boxes,
    random_set,
    write_yolo_set,
)

from edgekd_bench.accuracy import evaluate
from edgekd_bench.coco_score import Score, any_class_map, score_detections
from edgekd_bench.detection_data import DetectionSet, LabelledImage, load_detection_set
from edgekd_bench.detections import Detections
from edgekd_bench.errors import InputError


def _pycocotools_precision(dataset: DetectionSet, found: Sequence[Detections]) -> np.ndarray:
    """(10, 101, nc, 4) from the reference implementation, fed by hand; areas all, s, m, l."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, results = [], []
    for index, (image, detections) in enumerate(zip(dataset.images, found, strict=True)):
        areas = image.area.tolist() if image.area is not None else [math.nan] * len(image.boxes)
        for box, class_id, crowd, area in zip(
            image.boxes.tolist(),
            image.class_ids.tolist(),
            image.crowd.tolist(),
            areas,
            strict=True,
        ):
            width, height = box[2] - box[0], box[3] - box[1]
            entry = {"id": len(annotations) + 1, "image_id": index + 1, "iscrowd": int(crowd)}
            entry |= {"category_id": class_id + 1, "bbox": [box[0], box[1], width, height]}
            annotations.append(entry | {"area": width * height if math.isnan(area) else area})
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
    precision: np.ndarray = evaluation.eval["precision"][:, :, :, :, 2]
    return precision


def _assert_equal_to_pycocotools(dataset: DetectionSet, found: Sequence[Detections]) -> Score:
    score = score_detections(found, dataset)
    reference = _pycocotools_precision(dataset, found)
    overall = reference[..., 0]
    present = overall[0, 0] > -1
    assert score.map50_95 == pytest.approx(overall[:, :, present].mean(), abs=1e-6)
    assert score.map50 == pytest.approx(overall[0][:, present].mean(), abs=1e-6)
    for index, name in dataset.names.items():
        if not present[index]:
            assert name not in score.map50_95_per_class and name not in score.map50_per_class
            continue
        expected, expected50 = overall[:, :, index].mean(), overall[0][:, index].mean()
        assert score.map50_95_per_class[name] == pytest.approx(expected, abs=1e-6)
        assert score.map50_per_class[name] == pytest.approx(expected50, abs=1e-6)
    for place, size in enumerate(("small", "medium", "large"), start=1):
        known = reference[..., place][reference[..., place] > -1]
        if len(known):
            assert score.map50_95_by_size[size] == pytest.approx(known.mean(), abs=1e-6)
        else:
            assert score.map50_95_by_size[size] is None
    return score


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("crowd", [False, True])
def test_scores_equal_pycocotools(seed: int, crowd: bool) -> None:
    rng = np.random.default_rng(seed)
    dataset = random_set(25, rng, crowd)
    score = _assert_equal_to_pycocotools(dataset, imperfect_detections(dataset, rng))
    assert 0.05 < score.map50_95 < 0.95
    assert score.map50_95_by_size["large"] is None, "no box of the set is larger than 96 x 96"


def _of_all_sizes(num_images: int, rng: np.random.Generator) -> DetectionSet:
    """Objects from 4 to 400 px, some exactly on COCO's borders, some crowds, some empty images."""
    images = []
    for index in range(num_images):
        count = 0 if index % 5 == 4 else int(rng.integers(1, 9))
        side = np.exp(rng.uniform(np.log(4), np.log(400), (count, 2)))
        side[rng.random(count) < 0.2] = rng.choice([32.0, 96.0])
        low = rng.uniform(0, 640 - side)
        area = np.where(rng.random(count) < 0.5, side.prod(axis=1) * 0.6, np.nan)
        images.append(
            LabelledImage(
                Path(f"{index}.jpg"),
                640,
                640,
                np.concatenate([low, low + side], axis=1),
                rng.integers(0, 3, count),
                rng.random(count) < 0.15,
                area,
            )
        )
    return DetectionSet(NAMES, tuple(images), Path("coco.yaml"), "val")


@pytest.mark.parametrize("seed", range(3))
def test_sizes_crowds_and_empty_images_equal_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dataset = _of_all_sizes(40, rng)
    score = _assert_equal_to_pycocotools(dataset, imperfect_detections(dataset, rng, 4.0))
    assert all(score.map50_95_by_size[size] is not None for size in ("small", "medium", "large"))
    assert len(set(score.map50_95_by_size.values())) == 3


def test_many_detections_equal_pycocotools() -> None:
    """More than the hundred that count, of one class, overlapping each other and the truth."""
    rng = np.random.default_rng(0)
    dataset = _of_all_sizes(10, rng)
    found = []
    for image in dataset.images:
        copies = np.repeat(image.boxes, 60, axis=0)
        copies = copies + rng.normal(0, 3, copies.shape)
        copies[:, 2:] = np.maximum(copies[:, 2:], copies[:, :2] + 1)
        boxes = np.concatenate([copies, random_boxes(150, rng)]).astype(np.float32)
        scores = rng.integers(1, 40, len(boxes)).astype(np.float32) / 40
        order = np.argsort(-scores, kind="stable")
        found.append(Detections(boxes[order], scores[order], np.ones(len(boxes), np.int64)))
    score = _assert_equal_to_pycocotools(dataset, found)
    assert max(len(f) for f in found) > 300 and 0 < score.map50_95_per_class["two"] < 0.9


def test_the_stated_area_decides_the_size_not_the_box() -> None:
    box = np.array([[10.0, 10.0, 110.0, 110.0]])
    thin = LabelledImage(
        Path("0.jpg"), 200, 200, box, np.zeros(1, int), np.zeros(1, bool), np.array([900.0])
    )
    dataset = DetectionSet({0: "a"}, (thin,), Path("coco.yaml"), "val")
    sizes = score_detections(perfect_detections(dataset), dataset).map50_95_by_size
    assert sizes == {"small": pytest.approx(1.0), "medium": None, "large": None}


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
    for found in [*accuracy.detections, *accuracy.deployed]:
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
    alone = any_class_map(wrong, dataset, iou=1.0)
    assert alone == pytest.approx(any_class_map(perfect, dataset, iou=1.0))
    assert alone > 0.9
