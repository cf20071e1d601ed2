"""Every box is counted once: right, of the wrong class, invented or missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.synthetic_sets import NAMES, imperfect_detections, perfect_detections, random_set

from edgekd_bench.coco_score import score_detections
from edgekd_bench.confusion import confusion_matrix, judge, judge_image, worst_images
from edgekd_bench.detections import Detections
from edgekd_bench.labelled_image import LabelledImage
from edgekd_bench.samples import collect_samples

A, B, NOTHING = 0, 1, 2


def _image(boxes: list[tuple[int, list[float]]], crowd: tuple[bool, ...] = ()) -> LabelledImage:
    return LabelledImage(
        Path("0.jpg"),
        200,
        200,
        np.array([box for _, box in boxes], np.float64).reshape(-1, 4),
        np.array([class_id for class_id, _ in boxes], np.int64),
        np.array(crowd or [False] * len(boxes), bool),
    )


def _found(boxes: list[tuple[int, float, list[float]]]) -> Detections:
    return Detections(
        np.array([box for _, _, box in boxes], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in boxes], np.float32),
        np.array([class_id for class_id, _, _ in boxes], np.int64),
    )


LEFT, RIGHT, NEAR_LEFT = [0, 0, 40, 40], [100, 0, 140, 40], [4, 0, 44, 40]


@pytest.mark.parametrize(
    ("truth", "found", "cells"),
    [
        ([(A, LEFT)], [(A, 0.9, LEFT)], {(A, A): 1}),
        ([(A, LEFT)], [(B, 0.9, LEFT)], {(A, B): 1}),
        ([(A, LEFT)], [], {(A, NOTHING): 1}),
        ([], [(B, 0.9, LEFT)], {(NOTHING, B): 1}),
        ([(A, LEFT)], [(A, 0.9, RIGHT)], {(A, NOTHING): 1, (NOTHING, A): 1}),
        # A second box on an object that has been found is an invention, whatever its class.
        ([(A, LEFT)], [(A, 0.9, LEFT), (A, 0.8, NEAR_LEFT)], {(A, A): 1, (NOTHING, A): 1}),
        ([(A, LEFT)], [(B, 0.9, LEFT), (A, 0.8, NEAR_LEFT)], {(A, A): 1, (NOTHING, B): 1}),
        # Two objects in one place: neither detection may be taken for a confusion.
        (
            [(A, LEFT), (B, NEAR_LEFT)],
            [(A, 0.9, NEAR_LEFT), (B, 0.8, LEFT)],
            {(A, A): 1, (B, B): 1},
        ),
    ],
)
def test_each_box_has_one_cell(
    truth: list[tuple[int, list[float]]],
    found: list[tuple[int, float, list[float]]],
    cells: dict[tuple[int, int], int],
) -> None:
    matrix = confusion_matrix([judge_image(_found(found), _image(truth))], 2)
    expected = np.zeros((3, 3), int)
    for cell, count in cells.items():
        expected[cell] = count
    np.testing.assert_array_equal(matrix, expected)


def test_a_crowd_is_neither_missed_nor_an_invention() -> None:
    image = _image([(A, [0, 0, 150, 150])], crowd=(True,))
    inside = judge_image(_found([(A, 0.9, LEFT), (A, 0.8, RIGHT)]), image)
    assert confusion_matrix([inside], 2).sum() == 0 and inside.f1 == 1.0
    other = judge_image(_found([(B, 0.9, LEFT)]), image)
    assert confusion_matrix([other], 2)[NOTHING, B] == 1


def test_rows_add_up_to_the_truth_and_columns_to_what_was_found() -> None:
    rng = np.random.default_rng(2)
    dataset = random_set(50, rng)
    found = imperfect_detections(dataset, rng)
    matrix = confusion_matrix(judge(found, dataset), 3)
    truth = np.concatenate([image.class_ids for image in dataset.images])
    all_found = np.concatenate([f.class_ids for f in found])
    np.testing.assert_array_equal(matrix[:3].sum(axis=1), np.bincount(truth, minlength=3))
    np.testing.assert_array_equal(matrix[:, :3].sum(axis=0), np.bincount(all_found, minlength=3))
    assert matrix[3, 3] == 0


def test_the_diagonal_is_what_coco_calls_right_where_objects_stand_apart() -> None:
    rng = np.random.default_rng(3)
    dataset = random_set(60, rng)
    alone = [
        LabelledImage(i.path, 200, 150, i.boxes[:1], i.class_ids[:1], i.crowd[:1])
        for i in dataset.images
    ]
    from dataclasses import replace

    dataset = replace(dataset, images=tuple(alone))
    found = [
        Detections(f.boxes[order], f.scores[order], f.class_ids[order])
        for f in imperfect_detections(dataset, rng)
        for order in [np.argsort(-f.scores, kind="stable")]
    ]
    matrix = confusion_matrix(judge(found, dataset), 3)
    coco = [int(m.true_positive[0].sum()) for m in score_detections(found, dataset).matches]
    assert matrix.diagonal()[:3].tolist() == coco


def test_worst_are_the_lowest_f1_then_the_most_errors_and_never_a_faultless_image() -> None:
    perfect = judge_image(_found([(A, 0.9, LEFT)]), _image([(A, LEFT)]))
    missed = judge_image(_found([]), _image([(A, LEFT)]))
    both_missed = judge_image(_found([]), _image([(A, LEFT), (A, RIGHT)]))
    half = judge_image(_found([(A, 0.9, LEFT)]), _image([(A, LEFT), (A, RIGHT)]))
    assert (perfect.f1, missed.f1, half.f1) == (1.0, 0.0, pytest.approx(2 / 3))
    assert worst_images([[perfect, missed, both_missed, half]], 9) == [2, 1, 3]
    assert worst_images([[perfect, missed], [missed, perfect]], 1) == [0]
    assert worst_images([[perfect]], 3) == [] and worst_images([], 3) == []


def test_samples_hold_the_worst_images_and_the_confusions_of_each_model() -> None:
    dataset = random_set(30, np.random.default_rng(0))
    good = perfect_detections(dataset)
    bad = list(good)
    bad[0] = Detections(good[0].boxes, good[0].scores, (good[0].class_ids + 1) % 3)
    assert len(bad[0]) > 0
    samples = collect_samples(
        dataset, {"a|x": good, "b|x": bad}, count=5, num_worst=3, judged=["b|x"]
    )
    worst = [image for image in samples.images if image.reason == "worst"]
    assert [image.path for image in worst] == ["0.jpg"]
    assert set(worst[0].predictions) == {"a|x", "b|x"}
    assert len({image.path for image in samples.images}) == len(samples.images) <= 6
    matrix = np.array(samples.confusion["b|x"])
    assert matrix.shape == (len(NAMES) + 1, len(NAMES) + 1)
    assert np.trace(matrix) == dataset.num_boxes - len(bad[0])
    assert np.trace(np.array(samples.confusion["a|x"])) == dataset.num_boxes
