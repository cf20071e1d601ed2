"""Which box of one side is which box of the other, one to one.

Two backends rarely return boxes in the same order: near-ties swap places, and a box right at a
threshold or at the last rank may show on one side only. Pairing takes the best pairs first; a
leftover counts against the artefact unless rounding alone explains why it is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd_bench.detections import Detections
from edgekd_bench.nms import box_iou
from edgekd_export.thresholds import ParityThresholds

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """Partners by index, and how many rows should have had one."""

    reference: IntArray  # (M,)
    candidate: IntArray  # (M,)
    num_unmatched: int  # on either side, those at a cut-off left out
    num_rows: int  # on both sides together

    @property
    def unmatched_share(self) -> float:
        """Unmatched rows of all rows; 0 where there are none."""
        return self.num_unmatched / self.num_rows if self.num_rows else 0.0


def pair_rows(
    reference: FloatArray, candidate: FloatArray, *, radius: float, score_slack: float
) -> Pairs:
    """Pair rows of two end-to-end outputs, (K, 6) each, by nearest corners.

    Args:
        reference: x1, y1, x2, y2, score, class.
        candidate: the same.
        radius: corners further apart than this, in pixels, belong to different boxes.
        score_slack: so do scores further apart than this.
    """
    distance = _corner_distance(reference[:, :4], candidate[:, :4])  # (K, K)
    possible = reference[:, None, 5] == candidate[None, :, 5]
    possible &= abs(reference[:, None, 4] - candidate[None, :, 4]) <= score_slack
    possible &= distance <= radius
    # The last rank is a cut-off: which of two nearly equal scores takes it is up to rounding.
    cut_off = max(reference[:, 4].min(initial=1), candidate[:, 4].min(initial=1)) + score_slack
    return _pair(distance, possible, reference[:, 4] <= cut_off, candidate[:, 4] <= cut_off)


def pair_detections(
    reference: Detections, candidate: Detections, limits: ParityThresholds, *, capacity: int
) -> Pairs:
    """Pair detections of the same class that overlap enough.

    Corners within the raw limit count as the same box too: of a box two pixels wide, a hundredth
    is less than rounding. A leftover is not counted where its score is at a cut-off.

    Args:
        reference: N detections.
        candidate: M detections.
        limits: what makes two detections the same.
        capacity: how many a side can hold; at that number, its last score is a cut-off too.
    """
    ours, theirs = reference.boxes.astype(np.float64), candidate.boxes.astype(np.float64)
    distance = _corner_distance(ours, theirs)
    possible = box_iou(ours, theirs) >= limits.min_iou
    possible |= distance <= limits.same_box_px
    possible &= reference.class_ids[:, None] == candidate.class_ids[None, :]
    last = [side.scores.min() for side in (reference, candidate) if len(side) >= capacity]
    cut_off = max([limits.conf, *last]) + limits.detection_score_max_abs
    return _pair(distance, possible, reference.scores <= cut_off, candidate.scores <= cut_off)


def _corner_distance(a: FloatArray, b: FloatArray) -> FloatArray:
    """Largest coordinate difference of every pair: (N, 4) and (M, 4) → (N, M)."""
    distance: FloatArray = abs(a[:, None] - b[None, :]).max(axis=2)
    return distance


def _pair(
    distance: FloatArray,
    possible: BoolArray,
    reference_edge: BoolArray,
    candidate_edge: BoolArray,
) -> Pairs:
    """Take possible pairs in ascending distance, each row once."""
    rows, columns = np.nonzero(possible)
    order = np.argsort(distance[rows, columns], kind="stable")
    free_row, free_column = np.ones(len(reference_edge), bool), np.ones(len(candidate_edge), bool)
    chosen: list[tuple[int, int]] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if free_row[row] and free_column[column]:
            free_row[row] = free_column[column] = False
            chosen.append((row, column))
    first, second = np.array(chosen, np.int64).reshape(-1, 2).T
    unmatched = (free_row & ~reference_edge).sum() + (free_column & ~candidate_edge).sum()
    return Pairs(first, second, int(unmatched), len(free_row) + len(free_column))
