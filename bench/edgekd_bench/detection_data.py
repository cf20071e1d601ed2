"""A labelled detection set, read strictly and without torch.

Training and measuring must agree on what the truth is, and a device has no Ultralytics; so both
read their sets here, from an Ultralytics ``data.yaml`` or from a ``coco.yaml``. A set with a fault
is refused, with the file and the line: a silently dropped label moves mAP more than most methods.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekd_bench.coco_data import read_coco_split
from edgekd_bench.dataset_yaml import read_dataset_yaml
from edgekd_bench.errors import InputError
from edgekd_bench.labelled_image import LabelledImage
from edgekd_bench.manifest import sha256_of
from edgekd_bench.yolo_data import read_yolo_split

__all__ = ["DetectionSet", "LabelledImage", "load_detection_set"]


@dataclass(frozen=True)
class DetectionSet:
    """One split of a labelled set."""

    names: dict[int, str]  # class id → name, ids 0 … nc - 1
    images: tuple[LabelledImage, ...]
    source: Path
    split: str

    @property
    def num_boxes(self) -> int:
        """True boxes over all images, crowds included."""
        return sum(len(image.class_ids) for image in self.images)

    def content_hash(self) -> str:
        """SHA-256 of pixels, boxes and names: the same wherever the set lies, in any file order."""
        digests = sorted(_image_digest(image) for image in self.images)
        names = "\n".join(f"{index} {name}" for index, name in sorted(self.names.items()))
        return hashlib.sha256("\n".join([names, *digests]).encode()).hexdigest()


def load_detection_set(yaml_path: Path, split: str) -> DetectionSet:
    """Read and check one split of a detection set.

    Args:
        yaml_path: ``data.yaml`` in the Ultralytics form (``path``, ``train``, ``val``, ``names``)
            or ``coco.yaml`` (``val: {images: folder, annotations: file.json}``). A relative
            ``path`` is relative to the YAML file's folder.
        split: ``train``, ``val`` or ``test``.

    Raises:
        InputError: anything missing, malformed or out of range; names the file and line.
    """
    description = read_dataset_yaml(yaml_path, split)
    if isinstance(description.entry, dict):
        names, images = read_coco_split(description)
    else:
        names, images = read_yolo_split(description)
    if not any(len(image.class_ids) for image in images):
        raise InputError(
            f"{yaml_path}: split '{split}' has {len(images)} images and not one label; "
            "check that labels/ mirrors images/"
        )
    return DetectionSet(names=names, images=tuple(images), source=yaml_path, split=split)


def _image_digest(image: LabelledImage) -> str:
    digest = hashlib.sha256(sha256_of(image.path).encode())
    rows = np.column_stack([image.class_ids, image.boxes.round(3), image.crowd])
    for row in sorted(map(tuple, rows.tolist())):
        digest.update(repr(row).encode())
    return digest.hexdigest()
