"""Which detection found which true box, by COCO's rules, at all ten IoU thresholds at once.

The bootstrap needs the matches behind a mAP, not only the mAP. The scorer can list them, but as a
Python dictionary for every class in every image, which takes fifty times longer than scoring. Here
the same rules run on arrays: only pairs that overlap by half can ever match, they are few, and
detections of equal rank in different images do not get in each other's way. Tests hold the result
to the scorer's own.

Rules: pycocotools, ``COCOeval.evaluateImg`` (https://github.com/cocodataset/cocoapi).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.detections import Detections
from edgekd_bench.resampled_map import NUM_IOU_THRESHOLDS, ClassMatches

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, NUM_IOU_THRESHOLDS)
_CHUNK_PAIRS = 1_000_000  # bounds the memory of one pass to a few tens of MB


@dataclass(frozen=True)
class _Boxes:
    """Boxes of all images, sorted by group: class, then image."""

    group: IntArray  # (N,) class * number of images + image
    xywh: Float64Array  # (N, 4)
    scores: Float64Array  # (N,) of true boxes: all 1
    crowd: BoolArray  # (N,)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a detection and a true box of its group that overlap by at least 0.5."""

    found: IntArray  # (P,) index of the detection
    truth: IntArray  # (P,) index of the true box
    iou: Float64Array  # (P,)

    def __len__(self) -> int:
        return len(self.found)

    def take(self, chosen: IntArray | BoolArray) -> _Pairs:
        return _Pairs(self.found[chosen], self.truth[chosen], self.iou[chosen])


def match_detections(
    detections: Sequence[Detections], dataset: DetectionSet, *, max_per_class: int = 100
) -> tuple[ClassMatches, ...]:
    """Match detections with the truth, greedily by score, as COCO does for objects of any size.

    Args:
        detections: one entry an image of the set, in its order.
        dataset: the truth.
        max_per_class: detections of one class in one image that count, the best ones.

    Returns:
        One entry a class.
    """
    num_images = len(dataset.images)
    truth = _truth_boxes(dataset)
    found = _found_boxes(detections, num_images, max_per_class)
    matched, ignored = _match(found, truth, _overlapping(found, truth))
    counts = np.bincount(truth.group[~truth.crowd], minlength=len(dataset.names) * num_images)
    num_truth = counts.reshape(-1, num_images)  # (nc, I)
    edges = np.searchsorted(found.group, np.arange(len(dataset.names) + 1) * num_images)
    return tuple(
        _of_class(found, matched, ignored, slice(start, stop), num_truth[index])
        for index, (start, stop) in enumerate(itertools.pairwise(edges))
    )


def _of_class(
    found: _Boxes, matched: BoolArray, ignored: BoolArray, part: slice, num_truth: IntArray
) -> ClassMatches:
    order = np.argsort(-found.scores[part], kind="stable")
    is_ignored = ignored[:, part][:, order]
    return ClassMatches(
        image_index=found.group[part][order] % len(num_truth),
        true_positive=matched[:, part][:, order] & ~is_ignored,
        counted=~is_ignored,
        num_truth=num_truth,
    )


def _truth_boxes(dataset: DetectionSet) -> _Boxes:
    images = dataset.images
    image_index = np.repeat(np.arange(len(images)), [len(image.class_ids) for image in images])
    group = np.concatenate([image.class_ids for image in images]) * len(images) + image_index
    crowd = np.concatenate([image.crowd for image in images])
    xywh = _to_xywh(np.concatenate([image.boxes for image in images]))
    order = np.argsort(group, kind="stable")
    return _Boxes(group[order], xywh[order], np.ones(len(order)), crowd[order])


def _found_boxes(detections: Sequence[Detections], num_images: int, max_per_class: int) -> _Boxes:
    """Sorted by group and within it by score; ties keep their order."""
    image_index = np.repeat(np.arange(num_images), [len(found) for found in detections])
    group = np.concatenate([found.class_ids for found in detections]) * num_images + image_index
    scores = np.concatenate([found.scores for found in detections]).astype(np.float64)
    xywh = _to_xywh(np.concatenate([found.boxes for found in detections]).astype(np.float64))
    order = np.lexsort((-scores, group))
    order = order[_rank_within(group[order]) < max_per_class]
    return _Boxes(group[order], xywh[order], scores[order], np.zeros(len(order), bool))


def _to_xywh(xyxy: Float64Array) -> Float64Array:
    return np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)


def _rank_within(sorted_keys: IntArray) -> IntArray:
    """(N,) how many equal keys precede each."""
    first = np.searchsorted(sorted_keys, sorted_keys, side="left")
    return np.arange(len(sorted_keys)) - first


def _overlapping(found: _Boxes, truth: _Boxes) -> _Pairs:
    """All pairs that can match at any threshold, by detection and then by preference.

    COCO prefers a true box that counts to a crowd, then the larger overlap, then the later box.
    """
    parts = [_Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for pairs in _all_pairs(found, truth):
        iou = _iou(found.xywh[pairs.found], truth.xywh[pairs.truth], truth.crowd[pairs.truth])
        near = iou >= IOU_THRESHOLDS[0]
        parts.append(_Pairs(pairs.found[near], pairs.truth[near], iou[near]))
    pairs = _Pairs(
        np.concatenate([part.found for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.iou for part in parts]),
    )
    return pairs.take(np.lexsort((-pairs.truth, -pairs.iou, truth.crowd[pairs.truth], pairs.found)))


def _all_pairs(found: _Boxes, truth: _Boxes) -> Iterator[_Pairs]:
    """Every detection with every true box of its group, in chunks; overlaps are still 0."""
    first = np.searchsorted(truth.group, found.group, side="left")
    count = np.searchsorted(truth.group, found.group, side="right") - first
    ends = np.cumsum(count)
    start = 0
    while start < len(count):
        done = ends[start] - count[start]
        stop = max(int(np.searchsorted(ends, done + _CHUNK_PAIRS, side="right")), start + 1)
        here = count[start:stop]
        which = np.repeat(np.arange(start, stop), here)
        offset = np.arange(len(which)) - np.repeat(np.cumsum(here) - here, here)
        yield _Pairs(which, first[which] + offset, np.zeros(len(which)))
        start = stop


def _iou(found: Float64Array, truth: Float64Array, crowd: BoolArray) -> Float64Array:
    """(P,) overlap of (P, 4) xywh pairs, in COCO's order of operations so that ties stay ties.

    For a crowd it is the share of the detection that lies inside it.
    """
    low = np.maximum(found[:, :2], truth[:, :2])
    high = np.minimum(found[:, :2] + found[:, 2:], truth[:, :2] + truth[:, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=1)
    area_found, area_truth = found[:, 2:].prod(axis=1), truth[:, 2:].prod(axis=1)
    union = np.where(crowd, area_found, area_found + area_truth - inside)
    overlap: Float64Array = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return overlap


def _match(found: _Boxes, truth: _Boxes, pairs: _Pairs) -> tuple[BoolArray, BoolArray]:
    """(T, N) twice: which detections found a box at each threshold, and which found a crowd.

    Round r settles the r-th best detection of every group that has one; a group is one class in
    one image, so within a round no two of them want the same box.
    """
    matched = np.zeros((NUM_IOU_THRESHOLDS, len(found.group)), bool)
    ignored = np.zeros_like(matched)
    taken = np.zeros((NUM_IOU_THRESHOLDS, len(truth.group)), bool)
    candidates, which = np.unique(pairs.found, return_inverse=True)
    rounds = _rank_within(found.group[candidates])[which]
    for number in range(int(rounds.max(initial=-1)) + 1):
        here = pairs.take(rounds == number)
        chosen = _first_free(here, taken, truth.crowd)
        at, pair = np.nonzero(chosen)
        hit, box = here.found[pair], here.truth[pair]
        matched[at, hit] = True
        ignored[at, hit] = truth.crowd[box]
        taken[at, box] = True
    inside_out = found.xywh[:, 2:].prod(axis=1) < 0  # outside COCO's area range "all"
    return matched, ignored | (inside_out & ~matched)


def _first_free(pairs: _Pairs, taken: BoolArray, crowd: BoolArray) -> BoolArray:
    """(T, P): at each threshold the most preferred pair of each detection whose box is free.

    A crowd is never used up.
    """
    near = pairs.iou >= IOU_THRESHOLDS[:, None]
    free = near & (~taken[:, pairs.truth] | crowd[pairs.truth])
    starts = np.flatnonzero(np.diff(pairs.found, prepend=-1))
    # Earlier pairs get larger numbers, so the largest free one of a detection is its first.
    worth = np.where(free, np.arange(len(pairs), 0, -1), 0)
    best = np.maximum.reduceat(worth, starts, axis=1)
    sizes = np.diff(starts, append=len(pairs))
    chosen: BoolArray = free & (worth == np.repeat(best, sizes, axis=1))
    return chosen
