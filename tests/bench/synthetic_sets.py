"""Small made-up detection sets and detections, so that tests need no data and no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from edgekd_bench.detection_data import DetectionSet, LabelledImage
from edgekd_bench.detections import Detections

NAMES = {0: "one", 1: "two", 2: "three"}


def random_set(num_images: int, rng: np.random.Generator, crowd: bool = False) -> DetectionSet:
    """Images that exist only as numbers: 0 to 5 boxes each, in 3 classes."""
    images = []
    for index in range(num_images):
        count = int(rng.integers(0, 6)) if index else 3
        boxes = random_boxes(count, rng)
        flags = rng.random(count) < 0.2 if crowd else np.zeros(count, bool)
        class_ids = rng.integers(0, len(NAMES), count)
        images.append(LabelledImage(Path(f"{index}.jpg"), 200, 150, boxes, class_ids, flags))
    return DetectionSet(NAMES, tuple(images), Path("data.yaml"), "val")


def random_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 4) xyxy inside 200 x 150."""
    low = rng.uniform(0, [120, 80], (count, 2))
    return np.concatenate([low, low + rng.uniform(10, 70, (count, 2))], axis=1).round(2)


def imperfect_detections(
    dataset: DetectionSet, rng: np.random.Generator, jitter: float = 6.0
) -> list[Detections]:
    """The truth, moved about, with misses, wrong classes and inventions."""
    found = []
    for image in dataset.images:
        keep = rng.random(len(image.boxes)) < 0.8
        moved = image.boxes[keep] + rng.normal(0, jitter, (int(keep.sum()), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        invented = random_boxes(int(rng.integers(0, 4)), rng)
        class_ids = np.concatenate([image.class_ids[keep], rng.integers(0, 3, len(invented))])
        wrong = rng.random(len(class_ids)) < 0.1
        class_ids[wrong] = rng.integers(0, 3, int(wrong.sum()))
        boxes = np.concatenate([moved, invented]).astype(np.float32)
        # Few distinct scores, so that ties occur.
        scores = rng.integers(1, 60, len(boxes)).astype(np.float32) / 60
        found.append(Detections(boxes, scores, class_ids.astype(np.int64)))
    return found


def perfect_detections(dataset: DetectionSet) -> list[Detections]:
    """Exactly the truth."""
    return [
        Detections(
            image.boxes.astype(np.float32),
            np.full(len(image.boxes), 0.9, np.float32),
            image.class_ids,
        )
        for image in dataset.images
    ]


def write_yolo_set(root: Path, num_images: int = 3, names: dict[int, str] | None = None) -> Path:
    """A real set on disk in the YOLO form; returns its data.yaml."""
    rng = np.random.default_rng(5)
    names = NAMES if names is None else names
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for index in range(num_images):
            pixels = rng.integers(0, 255, (60, 80, 3), np.uint8)
            Image.fromarray(pixels).save(root / "images" / split / f"{split}{index}.png")
            (root / "labels" / split / f"{split}{index}.txt").write_text(
                f"{index % len(names)} 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.2 0.2\n"
            )
    lines = ["path: .", "train: images/train", "val: images/val", "names:"]
    lines += [f"  {index}: {name}" for index, name in names.items()]
    (root / "data.yaml").write_text("\n".join(lines) + "\n")
    return root / "data.yaml"
