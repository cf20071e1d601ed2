"""COCO's mAP of detections: overall, by class and by size of object.

Scoring is hotcoco's (tests hold every figure equal to pycocotools). The matches behind the score
are kept, because the comparison of two models resamples images and must not match boxes again each
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd_bench.box_matching import match_detections
from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.detections import Detections
from edgekd_bench.nms import suppress
from edgekd_bench.resampled_map import ClassMatches

Float64Array = npt.NDArray[np.float64]

# COCO's own areas in square pixels; an object on a border belongs to both sides.
AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
DETECTIONS_PER_CLASS = 100  # COCO counts at most these in an image


@dataclass(frozen=True)
class Score:
    """mAP of one set of detections; classes without a true box are left out everywhere."""

    map50_95: float
    map50: float
    map50_95_per_class: dict[str, float]
    map50_per_class: dict[str, float]
    map50_95_by_size: dict[str, float | None]  # None: no object of that size
    matches: tuple[ClassMatches, ...]


def score_detections(detections: Sequence[Detections], dataset: DetectionSet) -> Score:
    """COCO's mAP of detections.

    Args:
        detections: what was found, one entry an image of the set, in its order.
        dataset: the truth.
    """
    precision = _precision(detections, dataset, list(AREA_RANGES))
    present = [k for k in range(len(dataset.names)) if precision[0, 0, k, 0] > -1]
    names = [dataset.names[k] for k in present]
    overall = precision[:, :, present, 0]  # (10, 101, classes with truth)
    by_class = overall.mean(axis=(0, 1)).tolist()
    return Score(
        map50_95=float(overall.mean()),
        map50=float(overall[0].mean()),
        map50_95_per_class=dict(zip(names, by_class, strict=True)),
        map50_per_class=dict(zip(names, overall[0].mean(axis=0).tolist(), strict=True)),
        map50_95_by_size={
            size: _mean_where_known(precision[..., place])
            for place, size in enumerate(AREA_RANGES)
            if size != "all"
        },
        matches=match_detections(detections, dataset, max_per_class=DETECTIONS_PER_CLASS),
    )


def any_class_map(
    detections: Sequence[Detections], dataset: DetectionSet, *, iou: float = 0.7
) -> float:
    """mAP50-95 of the boxes alone, whatever class they were given.

    Far above the mAP by class it says that objects are found and not told apart: a few labels
    teach a detector where things are long before they teach it what they are.

    Args:
        detections: what was found, one entry an image of the set, in its order.
        dataset: the truth.
        iou: overlap at which two boxes count as one where classes are put aside.
    """
    if len(dataset.names) == 1:
        alone = detections
    else:
        alone = [_without_classes(found, iou) for found in detections]
    images = tuple(
        replace(image, class_ids=np.zeros_like(image.class_ids)) for image in dataset.images
    )
    one_class = replace(dataset, names={0: "object"}, images=images)
    return _mean_where_known(_precision(alone, one_class, ["all"])) or 0.0


def _without_classes(found: Detections, iou: float) -> Detections:
    """All of one class; where several classes were given to one box, the best remains."""
    one = np.zeros_like(found.class_ids)
    kept = suppress(found.boxes, found.scores, one, iou=iou, max_det=DETECTIONS_PER_CLASS)
    return Detections(found.boxes[kept], found.scores[kept], one[kept])


def _mean_where_known(precision: Float64Array) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else None


def _precision(
    detections: Sequence[Detections], dataset: DetectionSet, sizes: Sequence[str]
) -> Float64Array:
    """(10, 101, nc, sizes) interpolated precision; -1 where a class has no true box of a size.

    Image and category ids are indices plus one.
    """
    import hotcoco

    truth = _coco_truth(hotcoco, dataset)
    evaluation = hotcoco.COCOeval(truth, truth.load_res(_coco_results(detections)), "bbox")
    evaluation.params.area_rng = [list(AREA_RANGES[size]) for size in sizes]
    evaluation.params.area_rng_lbl = list(sizes)
    evaluation.params.max_dets = [DETECTIONS_PER_CLASS]
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval is not None, "accumulated above"
    precision: Float64Array = evaluation.eval["precision"][..., 0]
    return precision


def _coco_truth(hotcoco: Any, dataset: DetectionSet) -> Any:
    images = [
        {"id": index + 1, "width": image.width, "height": image.height}
        for index, image in enumerate(dataset.images)
    ]
    categories = [{"id": index + 1, "name": name} for index, name in dataset.names.items()]
    counts = [len(image.class_ids) for image in dataset.images]
    boxes = np.concatenate([image.boxes for image in dataset.images])
    crowd = np.concatenate([image.crowd for image in dataset.images])
    return hotcoco.COCO.from_arrays(
        images,
        categories,
        np.repeat(np.arange(1, len(images) + 1), counts),
        np.concatenate([image.class_ids for image in dataset.images]) + 1,
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
        area=np.concatenate([image.object_areas() for image in dataset.images]),
        iscrowd=crowd.astype(np.int64),
    )


def _coco_results(detections: Sequence[Detections]) -> Float64Array:
    """(N, 7): image id, x, y, w, h, score, category id."""
    image_ids = np.repeat(np.arange(1, len(detections) + 1), [len(found) for found in detections])
    boxes = np.concatenate([found.boxes for found in detections]).astype(np.float64)
    return np.column_stack(
        [
            image_ids,
            boxes[:, :2],
            boxes[:, 2:] - boxes[:, :2],
            np.concatenate([found.scores for found in detections]),
            np.concatenate([found.class_ids for found in detections]) + 1,
        ]
    ).astype(np.float64)
