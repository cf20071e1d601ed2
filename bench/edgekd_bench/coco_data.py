"""Read labels in the COCO form: one JSON with images, categories and annotations.

Category ids may be any numbers; sorted, they become classes 0, 1, 2 … as in the YOLO form of the
same data. Segmentations are ignored; ``iscrowd`` is kept, because COCO's mAP treats it apart.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd_bench.dataset_yaml import DatasetDescription
from edgekd_bench.errors import InputError
from edgekd_bench.images import image_size
from edgekd_bench.labelled_image import PIXEL_TOLERANCE, LabelledImage, clip_boxes


@dataclass
class _Labels:
    """The annotations of one image, collected before they become arrays."""

    path: Path
    width: int
    height: int
    boxes: list[list[float]]
    class_ids: list[int]
    crowd: list[bool]
    area: list[float]

    def finish(self) -> LabelledImage:
        boxes = np.array(self.boxes, np.float64).reshape(-1, 4)
        return LabelledImage(
            path=self.path,
            width=self.width,
            height=self.height,
            boxes=clip_boxes(boxes, self.width, self.height),
            class_ids=np.array(self.class_ids, np.int64),
            crowd=np.array(self.crowd, bool),
            area=np.array(self.area, np.float64),
        )


def read_coco_split(
    description: DatasetDescription,
) -> tuple[dict[int, str], list[LabelledImage]]:
    """Names and labelled images of a split in the COCO form.

    Raises:
        InputError: a missing folder, file or field, an unknown image or category, a faulty box.
    """
    assert isinstance(description.entry, dict), "the YOLO form is read elsewhere"
    folder = description.resolve(description.entry["images"])
    json_path = description.resolve(description.entry["annotations"])
    if not folder.is_dir():
        raise InputError(f"{description.yaml_path}: images → {folder} is not a folder")
    raw = _parse(json_path)
    categories = _read_categories(raw, json_path)
    labels = _read_images(raw, json_path, folder)
    classes = {identity: index for index, identity in enumerate(categories)}
    for position, annotation in enumerate(raw["annotations"]):
        _add(annotation, f"{json_path}: annotations[{position}]", labels, classes)
    names = dict(enumerate(categories.values()))
    return names, [found.finish() for found in labels.values()]


def _parse(json_path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(json_path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{json_path}: no such annotation file") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{json_path}:{error.lineno}: not JSON ({error.msg})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{json_path}: cannot be read ({error})") from error
    tables: dict[str, Any] = raw if isinstance(raw, dict) else {}
    for key in ("images", "annotations", "categories"):
        if not isinstance(tables.get(key), list):
            raise InputError(f"{json_path}: not a COCO detection file; no list '{key}'")
    return tables


def _read_categories(raw: dict[str, Any], json_path: Path) -> dict[int, str]:
    """Category id → name, by ascending id."""
    found: dict[int, str] = {}
    for position, category in enumerate(raw["categories"]):
        where = f"{json_path}: categories[{position}]"
        identity = _integer(category, "id", where)
        if identity in found:
            raise InputError(f"{where}: category id {identity} is used twice")
        found[identity] = str(category.get("name", identity))
    if not found:
        raise InputError(f"{json_path}: no categories")
    return dict(sorted(found.items()))


def _read_images(raw: dict[str, Any], json_path: Path, folder: Path) -> dict[int, _Labels]:
    found: dict[int, _Labels] = {}
    for position, image in enumerate(raw["images"]):
        where = f"{json_path}: images[{position}]"
        identity = _integer(image, "id", where)
        if identity in found:
            raise InputError(f"{where}: image id {identity} is used twice")
        if not isinstance(image.get("file_name"), str):
            raise InputError(f"{where}: no file_name")
        path = folder / image["file_name"]
        width, height = image_size(path)
        stated = (_integer(image, "width", where), _integer(image, "height", where))
        if stated != (width, height):
            raise InputError(
                f"{where}: says {stated[0]}x{stated[1]}, but {path.name} is {width}x{height} as "
                "displayed; the boxes would be off, so write the annotations again"
            )
        found[identity] = _Labels(path, width, height, [], [], [], [])
    if not found:
        raise InputError(f"{json_path}: no images")
    return found


def _add(annotation: Any, where: str, labels: dict[int, _Labels], classes: dict[int, int]) -> None:
    image_id = _integer(annotation, "image_id", where)
    category_id = _integer(annotation, "category_id", where)
    if image_id not in labels:
        raise InputError(f"{where}: image_id {image_id} is not among the images")
    if category_id not in classes:
        raise InputError(f"{where}: category_id {category_id} is not among the categories")
    image = labels[image_id]
    image.boxes.append(_read_box(annotation.get("bbox"), where, image))
    image.class_ids.append(classes[category_id])
    image.crowd.append(bool(annotation.get("iscrowd", 0)))
    image.area.append(_read_area(annotation.get("area"), where))


def _read_box(box: Any, where: str, image: _Labels) -> list[float]:
    """x1, y1, x2, y2 from COCO's x, y, w, h."""
    numbers = isinstance(box, list) and len(box) == 4
    if not numbers or not all(isinstance(value, int | float) for value in box):
        raise InputError(f"{where}: bbox must be four numbers x, y, width, height")
    if not all(math.isfinite(value) for value in box):
        raise InputError(f"{where}: bbox has NaN or infinity")
    x, y, width, height = (float(value) for value in box)
    right, bottom = x + width, y + height
    slack = PIXEL_TOLERANCE
    if min(x, y) < -slack or right > image.width + slack or bottom > image.height + slack:
        raise InputError(
            f"{where}: bbox {box} leaves the image of {image.width}x{image.height} pixels"
        )
    inside = (min(right, image.width) - max(x, 0), min(bottom, image.height) - max(y, 0))
    if min(width, height, *inside) <= 0:
        raise InputError(f"{where}: bbox {box} has no area inside the image; delete it")
    return [x, y, right, bottom]


def _read_area(area: Any, where: str) -> float:
    """The stated area of an object's outline; NaN where none is stated."""
    if area is None or area == 0:  # tools that know only boxes leave it out or write 0
        return math.nan
    if isinstance(area, bool) or not isinstance(area, int | float) or not 0 < area < math.inf:
        raise InputError(f"{where}: area {area!r} is not a positive number; delete or correct it")
    return float(area)


def _integer(entry: Any, key: str, where: str) -> int:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{where}: no whole number '{key}'")
    return value
