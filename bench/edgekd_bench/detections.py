"""From a detector's raw output to boxes on the original image.

One decoder serves every backend, so that two backends can differ in mAP only through the numbers
they computed. The thresholds and the order of steps are those of the Ultralytics validator (for
mAP: conf 0.001, IoU 0.7, 300 detections, several classes per box), which tests compare against.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd_bench.errors import InputError
from edgekd_bench.images import Letterbox
from edgekd_bench.nms import suppress

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Detections:
    """What one model found in one image, best first."""

    boxes: Float32Array  # (N, 4) xyxy, pixels of the original image
    scores: Float32Array  # (N,) in [0, 1]
    class_ids: IntArray  # (N,)

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> Detections:
        """Only the detections that score at least ``threshold``."""
        keep = self.scores >= threshold
        return Detections(self.boxes[keep], self.scores[keep], self.class_ids[keep])


@dataclass(frozen=True)
class Thresholds:
    """How raw outputs become detections; the defaults are those of mAP evaluation."""

    conf: float = 0.001
    iou: float = 0.7
    max_det: int = 300
    multi_label: bool = True


def to_detections(
    output: npt.NDArray[np.floating],
    letterbox: Letterbox,
    *,
    end_to_end: bool,
    thresholds: Thresholds,
) -> Detections:
    """Decode the output for one image.

    Args:
        output: (4 + nc, A) cx, cy, w, h and class probabilities, or where ``end_to_end``
            (K, 6) x1, y1, x2, y2, score, class; both in pixels of the letterboxed square.
        letterbox: how the image was fitted into the square.
        end_to_end: True where the network did its own suppression.
        thresholds: confidence, overlap and count.

    Returns:
        Detections in pixels of the original image, clipped to it.
    """
    decode = decode_end_to_end if end_to_end else decode_raw
    found = decode(output, thresholds)
    return Detections(undo_letterbox(found.boxes, letterbox), found.scores, found.class_ids)


def decode_raw(output: npt.NDArray[np.floating], thresholds: Thresholds) -> Detections:
    """Threshold and suppress a (4 + nc, A) output; boxes stay in letterboxed pixels."""
    classes = output[4:]  # (nc, A)
    by_anchor = classes.transpose()
    if thresholds.multi_label and len(classes) > 1:
        anchors, class_ids = np.nonzero(by_anchor > thresholds.conf)
        scores = classes[class_ids, anchors]
    else:
        best = classes.max(axis=0)
        anchors = np.flatnonzero(best > thresholds.conf)
        class_ids = classes[:, anchors].argmax(axis=0)
        scores = best[anchors]
    centre, half = output[:2, anchors].T, output[2:4, anchors].T / 2  # (N, 2)
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    keep = suppress(boxes, scores, class_ids, iou=thresholds.iou, max_det=thresholds.max_det)
    return Detections(
        boxes[keep], scores[keep].astype(np.float32), class_ids[keep].astype(np.int64)
    )


def decode_end_to_end(output: npt.NDArray[np.floating], thresholds: Thresholds) -> Detections:
    """Threshold a (K, 6) output, best first; boxes stay in letterboxed pixels."""
    kept = output[output[:, 4] > thresholds.conf]
    kept = kept[np.argsort(-kept[:, 4], kind="stable")][: thresholds.max_det]
    boxes, scores = kept[:, :4].astype(np.float32), kept[:, 4].astype(np.float32)
    return Detections(boxes, scores, kept[:, 5].round().astype(np.int64))


def undo_letterbox(boxes: Float32Array, letterbox: Letterbox) -> Float32Array:
    """(N, 4) xyxy in letterboxed pixels → in original pixels, clipped to the image."""
    pad = np.array([letterbox.pad_x, letterbox.pad_y] * 2, np.float32)
    scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2, np.float32)
    limit = np.array([letterbox.width, letterbox.height] * 2, np.float32)
    clipped: Float32Array = np.clip((boxes - pad) / scale, 0, limit).astype(np.float32)
    return clipped


def check_output(output: npt.NDArray[np.floating], num_classes: int, model: Path) -> bool:
    """Whether a network's output is end-to-end, judged by its shape.

    Args:
        output: what the network returned for a batch of B: (B, 4 + nc, A) or (B, K, 6).
        num_classes: how many classes the model says it has.
        model: the file, for the error.

    Raises:
        InputError: neither shape, or values that are not numbers.
    """
    if output.ndim == 3 and output.shape[1] == 4 + num_classes and output.shape[2] != 6:
        end_to_end = False
    elif output.ndim == 3 and output.shape[2] == 6:
        end_to_end = True
    else:
        raise InputError(
            f"{model}: output of shape {output.shape} is not a detector's: expected "
            f"(B, {4 + num_classes}, anchors) for {num_classes} classes, or (B, boxes, 6)"
        )
    if not np.isfinite(output).all():
        raise InputError(f"{model}: the network returns NaN or infinity; export or train it again")
    return end_to_end
