"""Pick a few evaluation images and keep what each model saw in them, for the report.

Numbers alone hide a detector that is right for the wrong reason; a page of boxes does not. Half an
answer is in typical images, which are spread evenly over the set, and the other half in those where
the models do worst. What each class is taken for is counted over the whole set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from edgekd_bench.confusion import confusion_matrix, judge, worst_images
from edgekd_bench.detection_data import DetectionSet, LabelledImage
from edgekd_bench.detections import Detections
from edgekd_bench.record import SampleBox, SampleImage, SamplePredictions


def collect_samples(
    dataset: DetectionSet,
    detections: Mapping[str, Sequence[Detections]],
    *,
    count: int,
    num_worst: int = 0,
    judged: Sequence[str] | None = None,
) -> SamplePredictions:
    """Truth and detections on evenly spread images of a set, then on the worst ones.

    Args:
        dataset: the evaluation set.
        detections: per '<model>|<backend>' what an application would be given, one entry an image.
        count: evenly spread images at most; only images with true boxes are taken, and an image
            that is among the worst is not shown twice.
        num_worst: images with the lowest F1 at most.
        judged: keys of the models whose mean F1 decides which images are worst; None: all.
    """
    judgements = {key: judge(found, dataset) for key, found in detections.items()}
    deciding = list(judgements) if judged is None else list(judged)
    worst = worst_images([judgements[key] for key in deciding], num_worst)
    typical = [index for index in spread(dataset, count) if index not in worst]
    images = [_sample(dataset, index, "sample", detections) for index in typical]
    images += [_sample(dataset, index, "worst", detections) for index in worst]
    return SamplePredictions(
        names=dataset.names,
        images=images,
        confusion={
            key: confusion_matrix(each, len(dataset.names)).tolist()
            for key, each in judgements.items()
        },
    )


def spread(dataset: DetectionSet, count: int) -> list[int]:
    """Indices of ``count`` images, evenly spread over those with true boxes."""
    labelled = [i for i, image in enumerate(dataset.images) if len(image.class_ids)]
    chosen = np.linspace(0, len(labelled) - 1, min(count, len(labelled))).round().astype(int)
    return [labelled[index] for index in chosen]


def _sample(
    dataset: DetectionSet,
    index: int,
    reason: Literal["sample", "worst"],
    detections: Mapping[str, Sequence[Detections]],
) -> SampleImage:
    image = dataset.images[index]
    return SampleImage(
        path=str(image.path),
        width=image.width,
        height=image.height,
        truth=_truth(image),
        reason=reason,
        predictions={key: _boxes(found[index]) for key, found in detections.items()},
    )


def _truth(image: LabelledImage) -> list[SampleBox]:
    boxes, class_ids = image.boxes.tolist(), image.class_ids.tolist()
    return [SampleBox(xyxy=tuple(b), class_id=c) for b, c in zip(boxes, class_ids, strict=True)]


def _boxes(found: Detections) -> list[SampleBox]:
    boxes = found.boxes.round(2).astype(float).tolist()
    scores = found.scores.astype(float).round(4).tolist()
    class_ids = found.class_ids.tolist()
    return [
        SampleBox(xyxy=tuple(box), class_id=class_id, score=score)
        for box, class_id, score in zip(boxes, class_ids, scores, strict=True)
    ]
