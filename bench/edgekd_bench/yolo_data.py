"""Read labels in the YOLO form: ``images/a.jpg`` beside ``labels/a.txt``.

A line is ``class cx cy w h`` in fractions of the image, or a polygon ``class x y x y x y …``, whose
bounding box is taken. No label file, or an empty one, means an image with nothing on it; a line
written twice counts once.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from edgekd_bench.dataset_yaml import DatasetDescription
from edgekd_bench.errors import InputError
from edgekd_bench.images import IMAGE_SUFFIXES, image_size
from edgekd_bench.labelled_image import (
    NORMALISED_TOLERANCE,
    Float64Array,
    IntArray,
    LabelledImage,
    clip_boxes,
)


def read_yolo_split(
    description: DatasetDescription,
) -> tuple[dict[int, str], list[LabelledImage]]:
    """Names and labelled images of a split in the Ultralytics form.

    Raises:
        InputError: a missing folder or image, an empty folder, a faulty label line.
    """
    assert description.names is not None, "the YOLO form always has names"
    paths: list[Path] = []
    entries = description.entry if isinstance(description.entry, list) else [description.entry]
    for entry in entries:
        assert isinstance(entry, str), "COCO entries are read elsewhere"
        paths += _list_images(description, description.resolve(entry))
    _refuse_duplicates(paths, description)
    num_classes = len(description.names)
    return description.names, [_read_image(path, num_classes) for path in paths]


def label_path(image: Path) -> Path:
    """Where the labels of ``image`` are: the last ``images`` folder becomes ``labels``."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_labels(path: Path, num_classes: int) -> tuple[IntArray, Float64Array]:
    """Class ids (N,) and boxes (N, 4) xyxy in fractions of the image, not yet clipped.

    Raises:
        InputError: names the file and line of the first fault.
    """
    if not path.exists():
        return np.empty(0, np.int64), np.empty((0, 4))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
    rows: dict[tuple[float, ...], None] = {}  # keeps the order, drops repeated lines
    for number, line in enumerate(lines, 1):
        if line.strip():
            rows[_parse_line(line, f"{path}:{number}", num_classes)] = None
    if not rows:
        return np.empty(0, np.int64), np.empty((0, 4))
    table = np.array(list(rows), np.float64)
    return table[:, 0].astype(np.int64), table[:, 1:]


def _parse_line(line: str, where: str, num_classes: int) -> tuple[float, ...]:
    """Class id and x1, y1, x2, y2."""
    try:
        values = [float(field) for field in line.split()]
    except ValueError as error:
        raise InputError(f"{where}: '{line.strip()}' is not a row of numbers") from error
    polygon = len(values) >= 7 and len(values) % 2 == 1
    if len(values) != 5 and not polygon:
        raise InputError(
            f"{where}: {len(values)} numbers; a label is `class cx cy w h` (or a polygon)"
        )
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{where}: NaN or infinity; label the box again or delete the line")
    class_id, coordinates = values[0], values[1:]
    if class_id != int(class_id) or not 0 <= class_id < num_classes:
        raise InputError(
            f"{where}: class {values[0]:g} is not one of 0 to {num_classes - 1}; "
            "check `names` in the data.yaml"
        )
    low, high = -NORMALISED_TOLERANCE, 1 + NORMALISED_TOLERANCE
    outside = [value for value in coordinates if not low <= value <= high]
    if outside:
        raise InputError(
            f"{where}: {outside[0]:g} is outside [0, 1]; coordinates are fractions of the image"
        )
    return class_id, *_corners(coordinates, where)


def _corners(coordinates: list[float], where: str) -> tuple[float, float, float, float]:
    if len(coordinates) == 4:
        x, y, width, height = coordinates
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    else:
        xs, ys = coordinates[::2], coordinates[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
    inside = [min(max(edge, 0.0), 1.0) for edge in box]
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise InputError(f"{where}: the box has no area inside the image; delete the line")
    return box


def _list_images(description: DatasetDescription, path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise InputError(f"{path}: no images in this folder ({description.yaml_path})")
        return found
    if path.suffix == ".txt" and path.is_file():
        return _read_list(description, path)
    raise InputError(
        f"{description.yaml_path}: {description.split} → {path} is neither a folder nor a .txt "
        "list of images; relative paths start at `path`"
    )


def _read_list(description: DatasetDescription, list_path: Path) -> list[Path]:
    """Images of a ``.txt`` list; relative lines start at the list's folder or else at the root."""
    found = []
    for number, line in enumerate(list_path.read_text(encoding="utf-8").splitlines(), 1):
        name = line.strip()
        if not name:
            continue
        candidates = [list_path.parent / name, description.resolve(name)]
        image = next((path for path in candidates if path.is_file()), None)
        if image is None:
            raise InputError(f"{list_path}:{number}: no image {name}; correct or delete the line")
        found.append(image)
    if not found:
        raise InputError(f"{list_path}: the list is empty")
    return found


def _refuse_duplicates(paths: list[Path], description: DatasetDescription) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise InputError(
                f"{description.yaml_path}: {path} is listed twice in '{description.split}'"
            )
        seen.add(path)


def _read_image(path: Path, num_classes: int) -> LabelledImage:
    width, height = image_size(path)
    class_ids, fractions = read_labels(label_path(path), num_classes)
    boxes = fractions * np.array([width, height, width, height], np.float64)
    return LabelledImage(
        path=path,
        width=width,
        height=height,
        boxes=clip_boxes(boxes, width, height),
        class_ids=class_ids,
        crowd=np.zeros(len(class_ids), bool),
    )
