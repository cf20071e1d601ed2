"""Lay out a labelled set for Ultralytics inside the run folder.

Ultralytics wants ``images/`` beside ``labels/`` and writes cache files next to the labels. Linking
the images and writing the labels under the run folder serves YOLO and COCO data alike, leaves the
user's folders untouched, and makes a subset of N labelled images an ordinary data set.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from edgekd_bench.detection_data import DetectionSet, LabelledImage, load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of, write_text_atomically


@dataclass(frozen=True)
class LabelledSet:
    """An Ultralytics data set in the run folder."""

    data_yaml: Path
    names: dict[int, str]
    num_train: int
    num_val: int
    digest: str


def lay_out(data: Path, folder: Path, num_labeled: int | None) -> LabelledSet:
    """Write ``data.yaml``, links and labels under ``folder``, replacing what was there.

    Args:
        data: the user's data.yaml or coco.yaml.
        folder: where the set goes.
        num_labeled: use only so many training images, the first in the order of their content
            hashes, so that a smaller subset is always contained in a larger one.

    Raises:
        InputError: broken labels (see `load_detection_set`), or fewer images than asked for.
    """
    train, val = load_detection_set(data, "train"), load_detection_set(data, "val")
    chosen = _choose(train, num_labeled, data)
    digest = hashlib.sha256()
    for part in (chosen, val.images):
        for image in part:
            digest.update(sha256_of(image.path).encode())
            digest.update(_label_text(image).encode())
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write_split(partial, "train", chosen)
    _write_split(partial, "val", val.images)
    content = {
        "path": str(folder.resolve()),
        "train": "images/train",
        "val": "images/val",
        "names": train.names,
    }
    write_text_atomically(partial / "data.yaml", yaml.safe_dump(content, sort_keys=False))
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return LabelledSet(
        folder / "data.yaml", train.names, len(chosen), len(val.images), digest.hexdigest()
    )


def _choose(train: DetectionSet, num_labeled: int | None, data: Path) -> Sequence[LabelledImage]:
    if num_labeled is None:
        return train.images
    if num_labeled > len(train.images):
        raise InputError(
            f"train.num_labeled: {num_labeled} asked for, {data} has {len(train.images)}"
        )
    return sorted(train.images, key=lambda image: sha256_of(image.path))[:num_labeled]


def _write_split(root: Path, split: str, images: Sequence[LabelledImage]) -> None:
    pictures, labels = root / "images" / split, root / "labels" / split
    pictures.mkdir(parents=True)
    labels.mkdir(parents=True)
    for index, image in enumerate(images):
        # Numbered, because two source folders may hold the same file name.
        stem = f"{index:06d}-{image.path.stem}"
        (pictures / f"{stem}{image.path.suffix}").symlink_to(image.path.resolve())
        (labels / f"{stem}.txt").write_text(_label_text(image), encoding="utf-8")


def _label_text(image: LabelledImage) -> str:
    lines = []
    kept = ~image.crowd  # a crowd box marks a region to ignore, not an object to learn
    boxes, class_ids = image.boxes[kept], image.class_ids[kept]
    for (left, top, right, bottom), class_id in zip(boxes, class_ids, strict=True):
        center_x, center_y = (left + right) / 2 / image.width, (top + bottom) / 2 / image.height
        width, height = (right - left) / image.width, (bottom - top) / image.height
        lines.append(f"{int(class_id)} {center_x:.6f} {center_y:.6f} {width:.6f} {height:.6f}\n")
    return "".join(lines)
