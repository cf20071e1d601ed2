"""Pick a few evaluation images and keep what each model saw in them, for the report.

Numbers alone hide a detector that is right for the wrong reason; a page of boxes does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekd_bench.detection_data import DetectionSet, LabelledImage
from edgekd_bench.detections import Detections
from edgekd_bench.record import SampleBox, SampleImage, SamplePredictions


def collect_samples(
    dataset: DetectionSet,
    detections: Mapping[str, Sequence[Detections]],
    *,
    count: int,
    threshold: float,
) -> SamplePredictions:
    """Truth and confident detections on evenly spread images of a set.

    Args:
        dataset: the evaluation set.
        detections: per '<model>|<backend>', one entry an image of the set.
        count: images at most; those with true boxes go first.
        threshold: score from which a detection is shown.
    """
    images = [
        SampleImage(
            path=str(dataset.images[index].path),
            width=dataset.images[index].width,
            height=dataset.images[index].height,
            truth=_truth(dataset.images[index]),
            predictions={
                key: _boxes(found[index].above(threshold)) for key, found in detections.items()
            },
        )
        for index in spread(dataset, count)
    ]
    return SamplePredictions(names=dataset.names, images=images)


def spread(dataset: DetectionSet, count: int) -> list[int]:
    """Indices of ``count`` images, evenly spread over those with true boxes."""
    labelled = [i for i, image in enumerate(dataset.images) if len(image.class_ids)]
    chosen = np.linspace(0, len(labelled) - 1, min(count, len(labelled))).round().astype(int)
    return [labelled[index] for index in chosen]


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
