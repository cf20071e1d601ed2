"""Take a few labelled images of a set along, so that a device can measure mAP without the set.

Image files are copied byte for byte, because a re-encoded JPEG is another image to a detector. The
labels become COCO JSON whatever they were, because only that form keeps boxes to the last digit and
marks crowds.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from edgekd_bench.bundle import EvaluationImages
from edgekd_bench.detection_data import DetectionSet, load_detection_set
from edgekd_bench.labelled_image import LabelledImage
from edgekd_bench.samples import spread

FOLDER = "evaluation"


def pack_evaluation(dataset: DetectionSet, count: int, bundle: Path) -> EvaluationImages:
    """Copy ``count`` images with objects on them, evenly spread over a set, into a bundle.

    Args:
        dataset: the labelled set.
        count: how many; fewer where fewer have labels.
        bundle: folder of the bundle; ``evaluation/`` is made in it.

    Raises:
        InputError: what was written cannot be read back.
        OSError: no space.
    """
    title = dataset.source.resolve().parent.name  # what a benchmark calls the set
    folder = bundle / FOLDER / title
    chosen = [dataset.images[index] for index in spread(dataset, count)]
    names = [f"{number:04d}_{image.path.name}" for number, image in enumerate(chosen)]
    (folder / "images").mkdir(parents=True)
    for image, name in zip(chosen, names, strict=True):
        shutil.copyfile(image.path, folder / "images" / name)
    (folder / "annotations.json").write_text(
        json.dumps(_coco(dataset.names, chosen, names), indent=1) + "\n", encoding="utf-8"
    )
    entry = {"images": "images", "annotations": "annotations.json"}
    data = folder / "data.yaml"
    data.write_text(yaml.safe_dump({"path": ".", dataset.split: entry}), encoding="utf-8")
    written = load_detection_set(data, dataset.split)
    return EvaluationImages(
        data=data.relative_to(bundle).as_posix(),
        num_images=len(written.images),
        num_boxes=written.num_boxes,
        of_images=len(dataset.images),
        source=f"{title} ({dataset.split})",
        content_hash=written.content_hash(),
    )


def _coco(
    classes: dict[int, str], images: list[LabelledImage], names: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Images, categories and annotations; class ids are category ids."""
    boxes = [
        (number, box, class_id, crowd)
        for number, image in enumerate(images)
        for box, class_id, crowd in zip(
            image.boxes.tolist(), image.class_ids.tolist(), image.crowd.tolist(), strict=True
        )
    ]
    return {
        "images": [
            {"id": number, "file_name": name, "width": image.width, "height": image.height}
            for number, (image, name) in enumerate(zip(images, names, strict=True))
        ],
        "categories": [{"id": index, "name": name} for index, name in sorted(classes.items())],
        "annotations": [
            {
                "id": position,
                "image_id": number,
                "category_id": class_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(crowd),
            }
            for position, (number, (x1, y1, x2, y2), class_id, crowd) in enumerate(boxes, 1)
        ],
    }
