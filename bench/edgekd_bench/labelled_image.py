"""One image with its true boxes: what the readers of both label formats produce.

Coordinates may leave the image by the tolerances below, which cover the rounding of labelling
tools; anything further out is an error. Boxes are then clipped to the image, as predictions are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NORMALISED_TOLERANCE = 1e-3  # YOLO form: a thousandth of the image
PIXEL_TOLERANCE = 1.0  # COCO form: tools that count pixels from one


@dataclass(frozen=True)
class LabelledImage:
    """One image and its true boxes, pixels of the image as displayed (EXIF applied)."""

    path: Path
    width: int
    height: int
    boxes: Float64Array  # (N, 4) xyxy
    class_ids: IntArray  # (N,) 0-based
    crowd: BoolArray  # (N,) COCO `iscrowd`: not counted in mAP, not to be trained on
    # (N,) COCO `area` in square pixels, that of the outline; NaN, or None for all: not stated
    area: Float64Array | None = None

    def object_areas(self) -> Float64Array:
        """(N,) the area by which an object is small, medium or large: as stated, or its box's."""
        sides: Float64Array = self.boxes[:, 2:] - self.boxes[:, :2]
        boxes: Float64Array = sides.prod(axis=1)
        return boxes if self.area is None else np.where(np.isnan(self.area), boxes, self.area)


def clip_boxes(boxes: Float64Array, width: int, height: int) -> Float64Array:
    """(N, 4) xyxy clipped to the image."""
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float64))
