"""What both sides answered to one image, taken apart for the tally.

Outputs are looked at three times: as they are, in the network's own terms, and as the detections an
application would get.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgekd_bench.detections import Detections, Thresholds, decode_end_to_end, decode_raw
from edgekd_export.aligned_outputs import Align, Aligned, align_to
from edgekd_export.known_faults import OUTPUT_FAULTS
from edgekd_export.parity_tally import ParityTally
from edgekd_export.raw_difference import raw_difference
from edgekd_export.row_pairing import pair_detections
from edgekd_export.thresholds import ParityThresholds

Float32Array = npt.NDArray[np.float32]


class ImageComparison:
    """Adds images to a tally, all of one size and from one kind of head."""

    def __init__(
        self, tally: ParityTally, *, end_to_end: bool, image_size: int, thresholds: ParityThresholds
    ) -> None:
        self._tally = tally
        self._end_to_end = end_to_end
        self._image_size = image_size
        self._thresholds = thresholds

    def add(
        self, expected: Float32Array, found: Float32Array, faulty: Mapping[str, Float32Array]
    ) -> None:
        """Add one image: outputs (4 + nc, A), or (K, 6) from an end-to-end head.

        Args:
            expected: what the reference answers.
            found: what the candidate answers.
            faulty: what the reference answers when a mistake is made on its input.
        """
        if not (np.isfinite(expected).all() and np.isfinite(found).all()):
            self._tally.add_not_finite()
            return
        self._tally.add_raw(
            raw_difference(expected, found, end_to_end=self._end_to_end, limits=self._thresholds)
        )
        align = align_to(expected, end_to_end=self._end_to_end, image_size=self._image_size)
        reference, candidate = align(expected), align(found)
        self._tally.add_aligned(reference, candidate)
        self._add_faults(expected, faulty, align, reference, candidate)
        self._add_detections(expected, found)

    def _add_faults(
        self,
        expected: Float32Array,
        faulty: Mapping[str, Float32Array],
        align: Align,
        reference: Aligned,
        candidate: Aligned,
    ) -> None:
        faults = self._tally.faults
        for name, output in faulty.items():
            if np.isfinite(output).all():  # a scale of 255 may be too much for a network
                faults.add(name, reference, align(output), candidate)
        for name, fault in OUTPUT_FAULTS.items():
            output = fault(expected, self._end_to_end)
            faults.add(name, reference, align(output), candidate)

    def _add_detections(self, expected: Float32Array, found: Float32Array) -> None:
        limits = self._thresholds
        ours, theirs = self._detect(expected), self._detect(found)
        capacity = min(limits.max_det, len(expected)) if self._end_to_end else limits.max_det
        pairs = pair_detections(ours, theirs, limits, capacity=capacity)
        self._tally.add_detections(ours, theirs, pairs)

    def _detect(self, output: Float32Array) -> Detections:
        decode = decode_end_to_end if self._end_to_end else decode_raw
        limits = self._thresholds
        how = Thresholds(conf=limits.conf, iou=limits.iou, max_det=limits.max_det)
        return decode(output, how)
