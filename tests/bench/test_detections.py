"""Decoding must be what Ultralytics' validator does, box for box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekd_bench.detections import (
    Thresholds,
    check_output,
    decode_end_to_end,
    decode_raw,
    to_detections,
)
from edgekd_bench.errors import InputError
from edgekd_bench.images import letterbox
from edgekd_bench.nms import box_iou, suppress


def _raw_output(rng: np.random.Generator, num_classes: int, num_anchors: int) -> np.ndarray:
    """(4 + nc, A): boxes in clusters, so that there is much to suppress."""
    centres = rng.uniform(40, 280, (12, 2))
    chosen = centres[rng.integers(0, 12, num_anchors)] + rng.normal(0, 4, (num_anchors, 2))
    sides = rng.uniform(25, 45, (num_anchors, 2))
    scores = rng.random((num_anchors, num_classes)) ** 6
    return np.concatenate([chosen, sides, scores], axis=1).T.astype(np.float32)


@pytest.mark.parametrize("num_classes", [1, 3, 20])
@pytest.mark.parametrize("how", [Thresholds(), Thresholds(0.25, 0.45, 20, multi_label=False)])
def test_raw_decoding_equals_ultralytics(num_classes: int, how: Thresholds) -> None:
    from edgekd_bench.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    import torch
    from ultralytics.utils.nms import non_max_suppression

    for seed in range(4):
        output = _raw_output(np.random.default_rng(seed), num_classes, 700)
        reference = non_max_suppression(
            torch.from_numpy(output[None].copy()),
            how.conf,
            how.iou,
            multi_label=how.multi_label,
            max_det=how.max_det,
        )[0].numpy()
        found = decode_raw(output, how)
        assert len(found) == len(reference) > 0
        np.testing.assert_allclose(found.boxes, reference[:, :4], atol=1e-3)
        np.testing.assert_allclose(found.scores, reference[:, 4], atol=1e-7)
        assert np.array_equal(found.class_ids, reference[:, 5].astype(int))


def test_suppression_keeps_no_overlapping_pair_and_drops_only_overlapped() -> None:
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 60, (900, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (900, 2))], axis=1)
    scores, class_ids = rng.random(900), rng.integers(0, 2, 900)
    kept = suppress(boxes, scores, class_ids, iou=0.5, max_det=900)
    assert (np.diff(scores[kept]) <= 0).all()
    clash = (box_iou(boxes, boxes) > 0.5) & (class_ids[:, None] == class_ids[None])
    np.fill_diagonal(clash, False)
    assert not clash[np.ix_(kept, kept)].any()
    for dropped in np.setdiff1d(np.arange(900), kept):
        assert any(scores[k] >= scores[dropped] for k in kept[clash[dropped][kept]])


def test_nothing_above_the_threshold_is_no_detection() -> None:
    output = np.zeros((7, 50), np.float32)
    for multi_label in (True, False):
        assert len(decode_raw(output, Thresholds(multi_label=multi_label))) == 0
    assert len(decode_end_to_end(np.zeros((300, 6), np.float32), Thresholds())) == 0


def test_end_to_end_rows_are_filtered_and_sorted() -> None:
    rows = np.array([[0, 0, 5, 5, 0.3, 1], [1, 1, 9, 9, 0.9, 0], [2, 2, 4, 4, 0.1, 2]], np.float32)
    found = decode_end_to_end(rows, Thresholds(conf=0.2))
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])
    assert found.class_ids.tolist() == [0, 1]
    assert len(found.above(0.5)) == 1


@pytest.mark.parametrize(("height", "width"), [(90, 160), (161, 97), (64, 64)])
def test_letterbox_is_undone_and_boxes_are_clipped(height: int, width: int) -> None:
    _, way_back = letterbox(np.zeros((height, width, 3), np.uint8), 128)
    truth = np.array([[0, 0, width, height], [10, 20, 40, 50]], np.float64)
    scale = np.array([way_back.scale_x, way_back.scale_y] * 2)
    boxed = truth * scale + np.array([way_back.pad_x, way_back.pad_y] * 2)
    boxed[0] += [-30, -30, 30, 30]  # out into the padding
    rows = np.column_stack([boxed, [0.9, 0.8], [0, 0]]).astype(np.float32)
    found = to_detections(rows, way_back, end_to_end=True, thresholds=Thresholds())
    np.testing.assert_allclose(found.boxes, truth, atol=1e-3)


def test_outputs_of_other_networks_are_refused() -> None:
    model = Path("m.onnx")
    assert check_output(np.zeros((1, 7, 84)), 3, model) is False
    assert check_output(np.zeros((1, 300, 6)), 3, model) is True
    for shape in [(1, 9, 84), (7, 84), (1, 1000)]:
        with pytest.raises(InputError, match=r"m\.onnx.*shape"):
            check_output(np.zeros(shape), 3, model)
    with pytest.raises(InputError, match="NaN"):
        check_output(np.full((1, 7, 84), np.nan), 3, model)
