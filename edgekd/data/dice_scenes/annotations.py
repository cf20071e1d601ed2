"""The two label forms of a dice set, and the YAML files that describe it.

YOLO text and COCO JSON are written from the same boxes, so that either can be used for training and
for judging. All paths are relative to the folder that the YAML file lies in: a set can be moved.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.data.dice_scenes.visibility import DieBox
from edgekd_bench.manifest import write_text_atomically

NAMES = ("one", "two", "three", "four", "five", "six")
DATA_YAML, COCO_YAML, UNLABELED_YAML = "data.yaml", "coco.yaml", "unlabeled_images.yaml"


@dataclass(frozen=True)
class LabelledImage:
    """One image file of the set and its boxes, pixels of the image."""

    file_name: str
    boxes: tuple[DieBox, ...]


def yolo_text(boxes: Sequence[DieBox], image_size: int) -> str:
    """One ``class cx cy w h`` a line, zero-based class, coordinates as shares of the image."""
    lines = []
    for box in boxes:
        x0, y0, x1, y1 = (edge / image_size for edge in box.xyxy)
        values = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
        lines.append(f"{box.class_id} " + " ".join(f"{value:.6f}" for value in values) + "\n")
    return "".join(lines)


def coco_text(images: Sequence[LabelledImage], image_size: int) -> str:
    """A COCO detection document; category ids are the pip counts 1 to 6."""
    annotations: list[dict[str, object]] = []
    for image_id, image in enumerate(images, start=1):
        for box in image.boxes:
            x0, y0, x1, y1 = box.xyxy
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": box.value,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    document = {
        "info": {"description": "Rendered dice scenes"},
        "images": [
            {"id": i, "file_name": image.file_name, "width": image_size, "height": image_size}
            for i, image in enumerate(images, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)],
    }
    return json.dumps(document) + "\n"


def write_descriptions(root: Path) -> None:
    """Write the three YAML files of the set at ``root``."""
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(NAMES))
    write_text_atomically(
        root / DATA_YAML,
        "# Ultralytics dataset description; `path` is relative to this file's folder.\n"
        f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}",
    )
    splits = "".join(
        f"{split}: {{images: images/{split}, annotations: annotations/instances_{split}.json}}\n"
        for split in ("train", "val")
    )
    write_text_atomically(
        root / COCO_YAML,
        "# COCO-JSON form of the same data; paths are relative to this file's folder.\n"
        f"path: .\n{splits}",
    )
    write_text_atomically(
        root / UNLABELED_YAML,
        "# Roots of unlabelled images, relative to this file's folder; val is not among them.\n"
        "roots:\n  - path: images/unlabeled\n  - path: images/train\n",
    )
