"""How far two raw outputs of a detector are apart, boxes and class probabilities separately.

Boxes run to hundreds of pixels and probabilities to one, so a difference over the whole tensor
would only ever measure the boxes. All arithmetic is float64, so that the comparison adds no noise
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd_export.row_pairing import pair_rows
from edgekd_export.thresholds import ParityThresholds

_FAR_BEYOND = 10

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TensorDifference:
    """Differences between two tensors of the same shape."""

    max_abs: float
    relative: float  # ||a - b|| / ||a||, Euclidean
    cosine: float


@dataclass(frozen=True)
class RawDifference:
    """Differences between two outputs for one image."""

    boxes: TensorDifference  # pixels of the letterboxed square
    scores: TensorDifference
    unmatched_share: float = 0.0  # rows of an end-to-end output without a partner


def raw_difference(
    reference: FloatArray, candidate: FloatArray, *, end_to_end: bool, limits: ParityThresholds
) -> RawDifference:
    """Compare the outputs for one image.

    Args:
        reference: (4 + nc, A), or (K, 6) where ``end_to_end``.
        candidate: the same shape.
        end_to_end: rows are ranked boxes. Ties may swap ranks, so boxes are paired by class and
            place, and scores compared rank by rank.
        limits: those of the gate; rows far beyond them are not the same box.
    """
    a, b = reference.astype(np.float64), candidate.astype(np.float64)
    if not end_to_end:
        return RawDifference(
            boxes=tensor_difference(a[:4], b[:4]),
            scores=tensor_difference(a[4:], b[4:], floor=limits.conf),
        )
    pairs = pair_rows(
        a,
        b,
        radius=_FAR_BEYOND * limits.same_box_px,
        score_slack=_FAR_BEYOND * limits.score_max_abs,
    )
    ranked = (np.sort(a[:, 4]), np.sort(b[:, 4]))
    return RawDifference(
        boxes=tensor_difference(a[pairs.reference, :4], b[pairs.candidate, :4]),
        scores=tensor_difference(*ranked, floor=limits.conf),
        unmatched_share=pairs.unmatched_share,
    )


def tensor_difference(a: Float64Array, b: Float64Array, floor: float = 0.0) -> TensorDifference:
    """Compare two tensors of one shape.

    Args:
        a: the reference.
        b: the other.
        floor: tensors of a smaller norm count as silent. On an image without objects every score
            may be 1e-7, where two implementations of the sigmoid differ by percents of nothing.
    """
    norm_a, norm_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    difference = float(np.linalg.norm(a - b))
    if difference == 0:
        return TensorDifference(0.0, 0.0, 1.0)
    largest = float(abs(a - b).max())
    if max(norm_a, norm_b) < floor:
        return TensorDifference(largest, difference / floor, 1.0)
    relative = difference / max(norm_a, floor) if norm_a or floor else 1.0
    cosine = float((a * b).sum() / (norm_a * norm_b)) if norm_a and norm_b else 0.0
    return TensorDifference(largest, relative, cosine)
