"""mAP of a runner on a detection set, by COCO's rules, as it would run in an application.

Scoring is hotcoco's (tests hold it equal to pycocotools). The matches behind the score are kept,
because the comparison of two models resamples images and must not match boxes again each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.detections import Detections, Thresholds, to_detections
from edgekd_bench.errors import InputError
from edgekd_bench.images import decode_image, letterbox, to_batch
from edgekd_bench.nms import suppress
from edgekd_bench.resampled_map import ClassMatches
from edgekd_bench.runner import Runner

_ALL_AREAS = [0.0, 1e10]  # COCO's own bounds of its area range "all"
_DETECTIONS_PER_CLASS = 100  # COCO counts at most these in an image


@dataclass(frozen=True)
class Score:
    """mAP of one set of detections."""

    map50_95: float
    map50: float
    map50_95_per_class: dict[str, float]  # classes without a true box are left out
    map50_95_any_class: float
    matches: tuple[ClassMatches, ...]


@dataclass(frozen=True)
class Accuracy:
    """The score of a model and what it found, one entry an image of the set, in its order."""

    score: Score
    detections: tuple[Detections, ...]


def evaluate(
    runner: Runner,
    dataset: DetectionSet,
    *,
    batch: int = 1,
    thresholds: Thresholds | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> Accuracy:
    """Run a model over a detection set and score it.

    Args:
        runner: the opened model.
        dataset: images and truth.
        batch: images per forward call; the last call is filled up by repeating its last image.
        thresholds: decoding; the default is that of mAP evaluation.
        on_image: called after each image, for progress.

    Raises:
        InputError: an image that cannot be decoded, or another set of classes than the model's.
    """
    check_classes(runner, dataset)
    thresholds = thresholds or Thresholds()
    found: list[Detections] = []
    for start in range(0, len(dataset.images), batch):
        paths = [image.path for image in dataset.images[start : start + batch]]
        for detections in _detect(runner, paths, batch, thresholds):
            found.append(detections)
            on_image()
    return Accuracy(score_detections(found, dataset, iou=thresholds.iou), tuple(found))


def score_detections(
    detections: Sequence[Detections], dataset: DetectionSet, *, iou: float = 0.7
) -> Score:
    """COCO's mAP of detections, one entry an image of the set, in its order.

    Args:
        detections: what was found.
        dataset: the truth.
        iou: overlap at which two boxes count as one where classes are put aside.
    """
    evaluation = _coco_evaluation(detections, dataset)
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (10, 101, nc), -1: no truth
    present = [k for k in range(len(dataset.names)) if precision[0, 0, k] > -1]
    per_class = {dataset.names[k]: float(precision[:, :, k].mean()) for k in present}
    return Score(
        map50_95=float(precision[:, :, present].mean()),
        map50=float(precision[0][:, present].mean()),
        map50_95_per_class=per_class,
        map50_95_any_class=_any_class(detections, dataset, iou),
        matches=_matches(evaluation, len(dataset.images), len(dataset.names)),
    )


def _any_class(detections: Sequence[Detections], dataset: DetectionSet, iou: float) -> float:
    """mAP50-95 of the boxes alone.

    Far above the mAP by class it says that objects are found and not told apart: a few labels
    teach a detector where things are long before they teach it what they are.
    """
    if len(dataset.names) == 1:
        alone = detections
    else:
        alone = [_without_classes(found, iou) for found in detections]
    images = tuple(
        replace(image, class_ids=np.zeros_like(image.class_ids)) for image in dataset.images
    )
    evaluation = _coco_evaluation(alone, replace(dataset, names={0: "object"}, images=images))
    precision = evaluation.eval["precision"][:, :, 0, 0, 0]
    return float(precision.mean()) if precision[0, 0] > -1 else 0.0


def _without_classes(found: Detections, iou: float) -> Detections:
    """All of one class; where several classes were given to one box, the best remains."""
    one = np.zeros_like(found.class_ids)
    kept = suppress(found.boxes, found.scores, one, iou=iou, max_det=_DETECTIONS_PER_CLASS)
    return Detections(found.boxes[kept], found.scores[kept], one[kept])


def check_classes(runner: Runner, dataset: DetectionSet) -> None:
    """Refuse a set whose classes are not the model's: its mAP would be meaningless.

    Raises:
        InputError: another number of classes, or another order.
    """
    info, names = runner.info, dataset.names
    if len(info.names) != len(names):
        raise InputError(
            f"{info.path}: has {len(info.names)} classes but {dataset.source} has {len(names)}; "
            "measure it on the set it was trained for"
        )
    for index, name in names.items():
        # Models built without names carry a number in their place; those say nothing.
        if info.names[index] not in (name, str(index), f"class{index}"):
            raise InputError(
                f"{info.path}: class {index} is '{info.names[index]}' but '{name}' in "
                f"{dataset.source}; correct `names` in the YAML if only the spelling differs"
            )


def _detect(runner: Runner, paths: Sequence[Any], batch: int, how: Thresholds) -> list[Detections]:
    info = runner.info
    fitted = [letterbox(decode_image(path), info.image_size) for path in paths]
    padded = fitted + [fitted[-1]] * (batch - len(fitted))
    output = runner.forward(to_batch([canvas for canvas, _ in padded]))
    return [
        to_detections(output[index], way_back, end_to_end=info.end_to_end, thresholds=how)
        for index, (_, way_back) in enumerate(fitted)
    ]


def _coco_evaluation(detections: Sequence[Detections], dataset: DetectionSet) -> Any:
    """hotcoco's evaluation, accumulated; image and category ids are indices plus one."""
    import hotcoco

    truth = _coco_truth(hotcoco, dataset)
    found = truth.load_res(_coco_results(detections))
    evaluation = hotcoco.COCOeval(truth, found, "bbox")
    evaluation.params.area_rng = [_ALL_AREAS]
    evaluation.params.area_rng_lbl = ["all"]
    evaluation.params.max_dets = [_DETECTIONS_PER_CLASS]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _coco_truth(hotcoco: Any, dataset: DetectionSet) -> Any:
    images = [
        {"id": index + 1, "width": image.width, "height": image.height}
        for index, image in enumerate(dataset.images)
    ]
    categories = [{"id": index + 1, "name": name} for index, name in dataset.names.items()]
    counts = [len(image.class_ids) for image in dataset.images]
    boxes = np.concatenate([image.boxes for image in dataset.images])
    sides = boxes[:, 2:] - boxes[:, :2]
    crowd = np.concatenate([image.crowd for image in dataset.images])
    return hotcoco.COCO.from_arrays(
        images,
        categories,
        np.repeat(np.arange(1, len(images) + 1), counts),
        np.concatenate([image.class_ids for image in dataset.images]) + 1,
        np.concatenate([boxes[:, :2], sides], axis=1),
        area=sides.prod(axis=1),
        iscrowd=crowd.astype(np.int64),
    )


def _coco_results(detections: Sequence[Detections]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(N, 7): image id, x, y, w, h, score, category id."""
    rows = [np.empty((0, 7))]
    for index, found in enumerate(detections):
        boxes = found.boxes.astype(np.float64)
        rows.append(
            np.column_stack(
                [
                    np.full(len(found), index + 1.0),
                    boxes[:, :2],
                    boxes[:, 2:] - boxes[:, :2],
                    found.scores.astype(np.float64),
                    found.class_ids + 1.0,
                ]
            )
        )
    return np.concatenate(rows)


def _matches(evaluation: Any, num_images: int, num_classes: int) -> tuple[ClassMatches, ...]:
    by_class: list[list[dict[str, Any]]] = [[] for _ in range(num_classes)]
    for entry in evaluation.eval_imgs:
        if entry is not None:
            by_class[entry["category_id"] - 1].append(entry)
    return tuple(ClassMatches.from_coco(entries, num_images) for entries in by_class)
