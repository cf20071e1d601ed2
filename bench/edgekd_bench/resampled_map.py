"""mAP over thousands of resampled image sets, from boxes that were matched once.

Drawing images with replacement only changes how often each image counts. So a resample is a row of
image weights, and average precision is accumulated for many rows at once; with all weights one it
is COCO's own mAP, which tests check. Only true positives can raise precision, so the curve is kept
at those alone: the work grows with the number of true boxes, hardly with that of detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]

NUM_IOU_THRESHOLDS = 10  # 0.50, 0.55 … 0.95
_RECALLS = np.linspace(0.0, 1.0, 101)
_CHUNK_ELEMENTS = 4_000_000  # bounds the memory of one pass to a few tens of MB


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class over all images, best first, matched at T IoU thresholds."""

    image_index: IntArray  # (N,)
    true_positive: BoolArray  # (T, N)
    counted: BoolArray  # (T, N) False: matched a crowd, so neither right nor wrong
    num_truth: IntArray  # (I,) true boxes that count, per image


def resampled_map(matches: Sequence[ClassMatches], weights: IntArray) -> Float64Array:
    """mAP50-95 under each row of image weights.

    Args:
        matches: one entry a class.
        weights: (B, I) how often each image counts; a bootstrap resample sums to I.

    Returns:
        (B,); NaN where a resample holds no true box at all.
    """
    per_class = np.stack([_average_precision(found, weights) for found in matches])  # (nc, B)
    present = ~np.isnan(per_class)
    total = np.where(present, per_class, 0.0).sum(axis=0)
    count = present.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def draw_image_weights(num_images: int, count: int, rng: np.random.Generator) -> IntArray:
    """(count, num_images): how often each image was drawn, with replacement."""
    return rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=count)


def _average_precision(found: ClassMatches, weights: IntArray) -> Float64Array:
    """(B,) AP over all thresholds; NaN where the class has no true box."""
    chunk = max(_CHUNK_ELEMENTS // max(len(found.image_index), 1), 1)
    parts = [
        _precision_of_chunk(found, weights[start : start + chunk])
        for start in range(0, len(weights), chunk)
    ]
    return np.concatenate(parts)


def _precision_of_chunk(found: ClassMatches, weights: IntArray) -> Float64Array:
    num_truth = weights @ found.num_truth  # (b,)
    needed = _needed(num_truth)  # (b, 101)
    drawn = weights.astype(np.int32)[:, found.image_index]  # (b, N)
    seen = np.cumsum(drawn, axis=1, dtype=np.int32)
    total = np.zeros(len(weights))
    for right, counted in zip(found.true_positive, found.counted, strict=True):
        hits, skipped = np.flatnonzero(right), np.flatnonzero(~counted)
        seen_at_hits = seen[:, hits]
        if len(skipped):
            # Crowds take out few detections, so only those are summed anew for each threshold.
            before = np.cumsum(drawn[:, skipped], axis=1, dtype=np.int32)
            before = np.concatenate([np.zeros((len(weights), 1), np.int32), before], axis=1)
            seen_at_hits = seen_at_hits - before[:, np.searchsorted(skipped, hits)]
        true = np.cumsum(drawn[:, hits], axis=1, dtype=np.int32)
        total += _interpolate(true, seen_at_hits, needed)
    return np.where(num_truth > 0, total / len(found.true_positive), np.nan)


def _needed(num_truth: IntArray) -> IntArray:
    """(b, 101): the fewest true positives whose recall reaches each of COCO's 101 levels.

    Whole numbers instead of recalls keep the comparison exact, where a recall of 0.3 computed in
    two ways might fall on either side.
    """
    truth = np.maximum(num_truth, 1)[:, None]
    needed = np.maximum(np.floor(_RECALLS * truth).astype(np.int64) - 1, 0)
    for _ in range(3):
        needed += needed / truth < _RECALLS
    return needed


def _interpolate(hits: Int32Array, seen: Int32Array, needed: IntArray) -> Float64Array:
    """Mean interpolated precision: (b, M) running hits and detections → (b,)."""
    rows, count = hits.shape
    if count == 0:
        return np.zeros(rows)
    precision = hits / np.maximum(seen, 1)
    best_ahead = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([best_ahead, np.zeros((rows, 1))], axis=1)  # recall never reached: 0
    # One search for all rows: give each row its own range of numbers.
    step = max(int(needed.max()), int(hits.max())) + 2
    offset = np.arange(rows)[:, None] * step
    flat = np.searchsorted((hits + offset).ravel(), (needed + offset).ravel(), side="left")
    position = flat.reshape(needed.shape) - np.arange(rows)[:, None] * count
    result: Float64Array = np.take_along_axis(padded, position, axis=1).mean(axis=1)
    return result
