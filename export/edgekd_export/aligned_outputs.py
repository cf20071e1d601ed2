"""Two outputs of a detector in the terms the network itself thinks in, box beside box.

In pixels and probabilities a difference of one pixel means everything for a dice and nothing for a
bus, and a background score of 1e-5 that doubles looks like no change at all. A network predicts box
centres in cells of its grid, sizes as logarithms and classes as logits; there, rounding noise is of
one size everywhere, and what is not noise stands out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd_bench.nms import box_iou

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Below this a score is silence: implementations of the sigmoid differ there by factors.
SILENCE = 1e-6
_AUDIBLE = 1e-5
# Sigmoids are approximated: two libraries give one logit scores that differ by up to this, which at
# a score of 1e-4 is a thousandth of a logit and no change at all.
_SIGMOID_STEP = 1e-7
_SMALLEST_SIDE = 1e-3  # of a box in cells, so that its logarithm exists
_ROW_SCORE = 0.01  # rows of an end-to-end output that are more than filling
_SAME_PLACE = 0.5  # IoU


@dataclass(frozen=True)
class Aligned:
    """One output; column n is the same box in every output aligned to the same reference."""

    boxes: Float64Array  # (4, N) centre in cells (or box sides), log width, log height
    logits: Float64Array  # (nc, N), or (1, N) where rows carry one score
    audible: BoolArray  # like logits: scores above silence
    classes: npt.NDArray[np.int64] | None = None  # (N,) of rows; -1: no such box here


Align = Callable[[FloatArray], Aligned]


def align_to(reference: FloatArray, *, end_to_end: bool, image_size: int) -> Align:
    """How to look at outputs for one image so that they can be compared with ``reference``.

    Args:
        reference: (4 + nc, A), or (K, 6) where ``end_to_end``.
        end_to_end: rows are ranked boxes; each reference row looks for its own among the other's.
        image_size: side of the letterboxed square, which tells a raw output's grid.
    """
    if end_to_end:
        return _align_rows(reference.astype(np.float64))
    return _align_raw(reference.astype(np.float64), image_size)


def cell_grid(num_anchors: int, image_size: int) -> Float64Array | None:
    """Centre and side of every cell, (3, A) pixels, in the order heads concatenate their levels.

    Returns:
        None where no row of strides 2^i … 2^j has so many cells.
    """
    for finest in (4, 8, 16, 32):
        strides = [finest * 2**level for level in range(5)]
        for count in range(1, 6):
            if sum((image_size // stride) ** 2 for stride in strides[:count]) == num_anchors:
                return np.concatenate([_level(image_size, s) for s in strides[:count]], axis=1)
    return None


def logit(score: FloatArray) -> Float64Array:
    """Inverse sigmoid; scores outside (0, 1), which no sigmoid returns, count as its ends."""
    clipped = np.clip(score.astype(np.float64), SILENCE, 1 - SILENCE)
    inverse: Float64Array = np.log(clipped / (1 - clipped))
    return inverse


def _level(image_size: int, stride: int) -> Float64Array:
    cells = image_size // stride
    rows, columns = np.mgrid[0:cells, 0:cells]
    centres = np.stack([columns.ravel(), rows.ravel()]) + 0.5
    return np.concatenate([centres * stride, np.full((1, cells * cells), stride)])


def _align_raw(reference: Float64Array, image_size: int) -> Align:
    grid = cell_grid(reference.shape[1], image_size)
    if grid is None:  # of an unknown head only changes against the reference can be told
        centre, side = reference[:2], np.maximum(reference[2:4], 1)
    else:
        centre, side = grid[:2], np.repeat(grid[2:], 2, axis=0)

    def align(output: FloatArray) -> Aligned:
        boxes = _in_cells(output[:4].astype(np.float64), centre, side)
        known, scores = reference[4:], output[4:].astype(np.float64)
        scores = np.where(abs(scores - known) <= _SIGMOID_STEP, known, scores)
        return Aligned(boxes, logit(scores), scores > _AUDIBLE)

    return align


def _align_rows(reference: Float64Array) -> Align:
    rows = reference[reference[:, 4] > _ROW_SCORE]  # (N, 6)
    centre, side = _centre_and_side(rows)

    def align(output: FloatArray) -> Aligned:
        partner, found = _partners(rows, output.astype(np.float64))
        # Which of several equal scores still gets a rank at all is decided by rounding.
        at_the_cut = ~found & (rows[:, 4] <= output[:, 4].min() + _SIGMOID_STEP)
        partner[at_the_cut], found = rows[at_the_cut], found | at_the_cut
        boxes = np.zeros((4, len(rows)))
        boxes[:, found] = _in_cells(
            np.concatenate(_centre_and_side(partner[found])), centre[:, found], side[:, found]
        )
        scores = np.where(found, partner[:, 4], _ROW_SCORE)[None]
        classes = np.where(found, partner[:, 5].round(), -1).astype(np.int64)
        return Aligned(boxes, logit(scores), np.ones_like(scores, bool), classes)

    return align


def _partners(rows: Float64Array, output: Float64Array) -> tuple[Float64Array, BoolArray]:
    """For each row the one of ``output`` at its place, of its class where there is one."""
    if not len(rows) or not len(output):
        return np.zeros((len(rows), 6)), np.zeros(len(rows), bool)
    overlap = box_iou(rows[:, :4], output[:, :4])  # (N, K)
    same_class = rows[:, None, 5] == output[None, :, 5]
    rank = np.where(overlap >= _SAME_PLACE, overlap + same_class, 0)
    best = rank.argmax(axis=1)
    return output[best], rank[np.arange(len(rows)), best] > 0


def _centre_and_side(rows: Float64Array) -> tuple[Float64Array, Float64Array]:
    """(N, 6) with corners → centres (2, N) and sides (2, N)."""
    low, high = rows[:, :2].T, rows[:, 2:4].T
    return (low + high) / 2, np.maximum(high - low, 1)


def _in_cells(boxes: Float64Array, centre: Float64Array, side: Float64Array) -> Float64Array:
    """(4, N) cx, cy, w, h in pixels → centre offset and log size in units of ``side``."""
    sizes = np.log(np.maximum(boxes[2:4] / side, _SMALLEST_SIDE))
    return np.concatenate([(boxes[:2] - centre) / side, sizes])
