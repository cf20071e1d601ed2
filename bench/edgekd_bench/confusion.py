"""What a detector takes for what, and in which images it does worst, as an application would see.

mAP says how good a ranking is over all thresholds; a deployed detector has one threshold, and its
user meets single boxes: right, of the wrong class, invented, or missing. A detection and a true box
belong together if they overlap by an IoU of at least 0.5, one to one, best score first, and the box
with the largest overlap goes first. Pairs of the same class are formed before any others, so that
the diagonal is what COCO would call right and no confusion arises only because objects overlap.
Detections that lie by half in a crowd of their class are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.detections import Detections
from edgekd_bench.labelled_image import LabelledImage
from edgekd_bench.nms import box_iou

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MATCH_IOU = 0.5


@dataclass(frozen=True)
class ImageJudgement:
    """The boxes of one image, each counted once."""

    true_class: IntArray  # (N,) class of the true box; -1: there is none, the box was invented
    found_class: IntArray  # (N,) class of the detection; -1: there is none, the object was missed

    @property
    def num_errors(self) -> int:
        """Missed and invented boxes; one of the wrong class is a single error."""
        return int((self.true_class != self.found_class).sum())

    @property
    def f1(self) -> float:
        """2 right / (true + found); 1 for an image where there is and was nothing."""
        right = int((self.true_class == self.found_class).sum())
        both = int((self.true_class >= 0).sum() + (self.found_class >= 0).sum())
        return 2 * right / both if both else 1.0


def judge_image(found: Detections, image: LabelledImage) -> ImageJudgement:
    """Pair the detections of one image, best first, with its true boxes."""
    regular = ~image.crowd
    truth, true_class = image.boxes[regular], image.class_ids[regular]
    overlap = box_iou(found.boxes.astype(np.float64), truth)  # (N, M)
    same = found.class_ids[:, None] == true_class
    partner = np.full(len(found), -1)
    for allowed in (same, ~same):
        _pair(np.where(allowed, overlap, 0.0), partner)
    counted = (partner >= 0) | ~_in_crowd(found, image)
    missed = np.setdiff1d(np.arange(len(truth)), partner)
    of_found = np.where(partner >= 0, np.append(true_class, -1)[partner], -1)[counted]
    return ImageJudgement(
        true_class=np.concatenate([of_found, true_class[missed]]),
        found_class=np.concatenate([found.class_ids[counted], np.full(len(missed), -1)]),
    )


def judge(detections: Sequence[Detections], dataset: DetectionSet) -> list[ImageJudgement]:
    """One judgement an image of the set, in its order."""
    pairs = zip(detections, dataset.images, strict=True)
    return [judge_image(found, image) for found, image in pairs]


def confusion_matrix(judgements: Sequence[ImageJudgement], num_classes: int) -> IntArray:
    """(nc + 1, nc + 1) counts; row: true class, column: found class, the last of each: nothing."""
    side = num_classes + 1
    cells = [np.empty(0, np.int64)]
    # -1 is the last index of both sides.
    cells += [(one.true_class % side) * side + one.found_class % side for one in judgements]
    counts: IntArray = np.bincount(np.concatenate(cells), minlength=side * side)
    return counts.reshape(side, side)


def worst_images(models: Sequence[Sequence[ImageJudgement]], count: int) -> list[int]:
    """Indices of the images with the lowest F1, worst first.

    Args:
        models: one entry a model with its judgements; F1 and errors are their means.
        count: images at most; images without an error are never among them.
    """
    if not models:
        return []
    f1 = np.array([[one.f1 for one in judgements] for judgements in models]).mean(axis=0)
    errors = np.array([[one.num_errors for one in each] for each in models]).mean(axis=0)
    order = np.lexsort((-errors, f1))  # among equals, the image with more errors
    return [int(index) for index in order[:count] if errors[index] > 0]


def _pair(overlap: npt.NDArray[np.float64], partner: IntArray) -> None:
    """Give detections without a partner the free true box they overlap most; best score first."""
    for row in np.flatnonzero((overlap >= MATCH_IOU).any(axis=1) & (partner < 0)):
        free = overlap[row].copy()
        free[partner[partner >= 0]] = 0.0
        best = int(free.argmax())
        if free[best] >= MATCH_IOU:
            partner[row] = best


def _in_crowd(found: Detections, image: LabelledImage) -> BoolArray:
    """(N,) whether at least half of a detection lies in a crowd of its class."""
    inside = np.zeros(len(found), bool)
    boxes = found.boxes.astype(np.float64)
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-9)
    for index in np.flatnonzero(image.crowd):
        crowd = image.boxes[index]
        low, high = np.maximum(boxes[:, :2], crowd[:2]), np.minimum(boxes[:, 2:], crowd[2:])
        share = np.clip(high - low, 0, None).prod(axis=1) / area
        inside |= (share >= MATCH_IOU) & (found.class_ids == image.class_ids[index])
    return inside
