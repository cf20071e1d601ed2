"""Our matches are the scorer's own, box by box, in every odd case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.synthetic_sets import NAMES, imperfect_detections, random_boxes, random_set

from edgekd_bench import box_matching
from edgekd_bench.box_matching import match_detections
from edgekd_bench.detection_data import DetectionSet, LabelledImage
from edgekd_bench.detections import Detections
from edgekd_bench.resampled_map import ClassMatches


def _scorers_own(found: Sequence[Detections], dataset: DetectionSet) -> list[ClassMatches]:
    """Gathered from what hotcoco lists for every class in every image."""
    import hotcoco

    from edgekd_bench.coco_score import _coco_results, _coco_truth

    truth = _coco_truth(hotcoco, dataset)
    evaluation = hotcoco.COCOeval(truth, truth.load_res(_coco_results(found)), "bbox")
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = [[0.0, 1e10]], ["all"]
    evaluation.params.max_dets = [100]
    evaluation.evaluate()
    by_class: list[list[dict[str, Any]]] = [[] for _ in dataset.names]
    for entry in evaluation.eval_imgs:
        if entry is not None:
            by_class[entry["category_id"] - 1].append(entry)
    return [_gather(entries, len(dataset.images)) for entries in by_class]


def _gather(entries: list[dict[str, Any]], num_images: int) -> ClassMatches:
    num_truth = np.zeros(num_images, np.int64)
    scores, images = [np.empty(0)], [np.empty(0, np.int64)]
    matched, ignored = [np.empty((10, 0), bool)], [np.empty((10, 0), bool)]
    for entry in sorted(entries, key=lambda entry: int(entry["image_id"])):
        index, count = entry["image_id"] - 1, len(entry["dtScores"])
        num_truth[index] += len(entry["gtIgnore"]) - int(np.sum(entry["gtIgnore"]))
        scores.append(np.asarray(entry["dtScores"], np.float64))
        images.append(np.full(count, index))
        matched.append(np.asarray(entry["dtMatches"], np.int64).reshape(10, count).astype(bool))
        ignored.append(np.asarray(entry["dtIgnore"]).reshape(10, count).astype(bool))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    is_ignored = np.concatenate(ignored, axis=1)[:, order]
    return ClassMatches(
        np.concatenate(images)[order],
        np.concatenate(matched, axis=1)[:, order] & ~is_ignored,
        ~is_ignored,
        num_truth,
    )


def _assert_same(found: Sequence[Detections], dataset: DetectionSet) -> None:
    ours, theirs = match_detections(found, dataset), _scorers_own(found, dataset)
    for name, one, other in zip(dataset.names.values(), ours, theirs, strict=True):
        for field in ("image_index", "true_positive", "counted", "num_truth"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field), f"{name}")


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_match_is_the_scorers(
    seed: int, crowd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    dataset = random_set(40, rng, crowd)
    found = imperfect_detections(dataset, rng)
    _assert_same(found, dataset)
    monkeypatch.setattr(box_matching, "_CHUNK_PAIRS", 3)  # however the work is cut up
    _assert_same(found, dataset)


def test_a_heap_of_equal_boxes_and_ties() -> None:
    """Copies with equal scores compete for copies of true boxes, next to crowds over them."""
    rng = np.random.default_rng(7)
    images, found = [], []
    for index in range(12):
        base = random_boxes(3, rng)
        boxes = np.concatenate([base, base, base[:1]])
        crowd = np.array([False] * 3 + [True, False, False, False])
        images.append(LabelledImage(Path(f"{index}.jpg"), 200, 150, boxes, np.zeros(7, int), crowd))
        copies = np.repeat(base, 50, axis=0) + rng.integers(-4, 5, (150, 4))
        copies[:, 2:] = np.maximum(copies[:, 2:], copies[:, :2])
        scores = rng.integers(1, 4, 150).astype(np.float32) / 4
        found.append(Detections(copies.astype(np.float32), scores, np.zeros(150, np.int64)))
    dataset = DetectionSet(NAMES, tuple(images), Path("coco.yaml"), "val")
    _assert_same(found, dataset)


def test_boxes_turned_inside_out_are_as_little_counted_as_the_scorer_counts_them() -> None:
    image = LabelledImage(
        Path("0.jpg"), 99, 99, np.array([[5.0, 5, 50, 50]]), np.zeros(1, int), np.zeros(1, bool)
    )
    dataset = DetectionSet({0: "a"}, (image,), Path("data.yaml"), "val")
    boxes = np.array([[5, 50, 50, 5], [5, 5, 50, 50]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64))
    _assert_same([found], dataset)


def test_silence_and_empty_images() -> None:
    dataset = random_set(5, np.random.default_rng(1))
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, int))
    _assert_same([nothing] * 5, dataset)
