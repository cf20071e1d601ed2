"""mAP of a runner on a detection set, as it would run in an application.

Each image goes through the deployed file and its own pre- and postprocessing once. Its output is
decoded twice: with the thresholds of mAP evaluation, and with those of an application, which is
what confusions and sample images show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd_bench.coco_score import Score, any_class_map, score_detections
from edgekd_bench.detection_data import DetectionSet
from edgekd_bench.detections import Detections, Thresholds, to_detections
from edgekd_bench.errors import InputError
from edgekd_bench.images import decode_image, letterbox, to_batch
from edgekd_bench.runner import Runner

_EVALUATION = Thresholds()
_APPLICATION = Thresholds(conf=0.25, multi_label=False)


@dataclass(frozen=True)
class Accuracy:
    """The score of a model and what it found, one entry an image of the set, in its order."""

    score: Score
    map50_95_any_class: float  # of the boxes alone
    detections: tuple[Detections, ...]  # by the thresholds of mAP evaluation
    deployed: tuple[Detections, ...]  # by those of an application


def evaluate(
    runner: Runner,
    dataset: DetectionSet,
    *,
    batch: int = 1,
    thresholds: Thresholds = _EVALUATION,
    deployment: Thresholds = _APPLICATION,
    on_image: Callable[[], None] = lambda: None,
) -> Accuracy:
    """Run a model over a detection set and score it.

    Args:
        runner: the opened model.
        dataset: images and truth.
        batch: images per forward call; the last call is filled up by repeating its last image.
        thresholds: decoding for mAP.
        deployment: decoding as an application would do it.
        on_image: called after each image, for progress.

    Raises:
        InputError: an image that cannot be decoded, or another set of classes than the model's.
    """
    check_classes(runner, dataset)
    found: list[Detections] = []
    deployed: list[Detections] = []
    for start in range(0, len(dataset.images), batch):
        paths = [image.path for image in dataset.images[start : start + batch]]
        for both in _detect(runner, paths, batch, (thresholds, deployment)):
            found.append(both[0])
            deployed.append(both[1])
            on_image()
    return Accuracy(
        score=score_detections(found, dataset),
        map50_95_any_class=any_class_map(found, dataset, iou=thresholds.iou),
        detections=tuple(found),
        deployed=tuple(deployed),
    )


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


def _detect(
    runner: Runner, paths: Sequence[Path], batch: int, ways: Sequence[Thresholds]
) -> list[list[Detections]]:
    """One entry an image: its detections, decoded in each way."""
    info = runner.info
    fitted = [letterbox(decode_image(path), info.image_size) for path in paths]
    padded = fitted + [fitted[-1]] * (batch - len(fitted))
    output = runner.forward(to_batch([canvas for canvas, _ in padded]))
    return [
        [
            to_detections(output[index], way_back, end_to_end=info.end_to_end, thresholds=how)
            for how in ways
        ]
        for index, (_, way_back) in enumerate(fitted)
    ]
