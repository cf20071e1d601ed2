"""What suppression inside the graph must return, computed outside it.

It is the suppression of the benchmark, so that a file with NMS in it is held against what a file
without would have been measured with. Only NumPy is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgekd_bench.detections import Thresholds, decode_raw
from edgekd_bench.manifest import Nms

Float32Array = npt.NDArray[np.float32]
Forward = Callable[[Float32Array], Float32Array]


def suppressed(forward: Forward, nms: Nms) -> Forward:
    """A raw network followed by the suppression of the benchmark: what the graph is held against.

    Args:
        forward: (B, 3, S, S) → (B, 4 + nc, A).
        nms: thresholds.

    Returns:
        (B, 3, S, S) → (B, K, 6), as `add_nms` returns it.
    """
    how = Thresholds(conf=nms.conf, iou=nms.iou, max_det=nms.max_det)

    def both(batch: Float32Array) -> Float32Array:
        raw = forward(batch)
        num_rows = min(nms.max_det, (raw.shape[1] - 4) * raw.shape[2])
        rows = np.zeros((len(raw), num_rows, 6), np.float32)
        for target, output in zip(rows, raw, strict=True):
            found = decode_raw(output, how)
            target[: len(found), :4] = found.boxes
            target[: len(found), 4] = found.scores
            target[: len(found), 5] = found.class_ids
        return rows

    return both
