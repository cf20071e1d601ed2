"""Pictures of dice with their truth and what six detectors saw, for the report's sample section."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd_bench.record import SampleBox, SampleImage, SamplePredictions, write_record

CLASSES = {0: "one", 1: "two", 2: "three", 3: "four", 4: "five", 5: "six"}
_PIPS = {
    0: [4],
    1: [0, 8],
    2: [0, 4, 8],
    3: [0, 2, 6, 8],
    4: [0, 2, 4, 6, 8],
    5: [0, 2, 3, 5, 6, 8],
}
_WIDTH, _HEIGHT = 960, 640


def write_predictions(
    folder: Path, num_images: int = 3, names: dict[int, str] = CLASSES, num_worst: int = 0
) -> None:
    """``predictions.json`` and its pictures, with hits, misses and wrong boxes.

    The last ``num_worst`` images are kept as the worst; confusions are counted if there are any.
    """
    generator = np.random.default_rng(3)
    images = []
    for index in range(num_images + num_worst):
        pixels, truth = draw_dice(generator)
        path = folder / "samples" / f"dice_{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)
        predictions = {
            f"{init}-seed{seed}.onnx|onnxruntime": _detect(generator, truth, init == "distilled")
            for seed in range(3)
            for init in ("baseline", "distilled")
        }
        images.append(
            SampleImage(
                path=f"samples/{path.name}",
                width=_WIDTH,
                height=_HEIGHT,
                truth=truth,
                reason="worst" if index >= num_images else "sample",
                predictions=predictions,
            )
        )
    confusion = {key: _confusion(generator) for key in predictions} if num_worst else {}
    saved = SamplePredictions(names=names, images=images, confusion=confusion)
    write_record(folder / "predictions.json", saved)


def _confusion(generator: np.random.Generator) -> list[list[int]]:
    size = len(CLASSES) + 1
    matrix = generator.integers(0, 6, (size, size)) + np.diag(generator.integers(20, 60, size))
    matrix[-1, -1] = 0
    return [[int(count) for count in row] for row in matrix]


def draw_dice(generator: np.random.Generator) -> tuple[NDArray[np.uint8], list[SampleBox]]:
    """Dice on a grainy table: RGB pixels ``(H, W, 3)`` and the box of each die."""
    ramp = np.linspace(0.75, 1.1, _WIDTH)[None, :, None]
    table = generator.uniform(90, 130, 3) * ramp * np.ones((_HEIGHT, 1, 1))
    pixels = table + generator.normal(0, 5, (_HEIGHT, _WIDTH, 1))
    boxes = []
    cells = generator.permutation(8)[: int(generator.integers(4, 7))]
    for cell in cells:
        side = int(generator.integers(90, 150))
        x = int(cell % 4) * 235 + int(generator.integers(10, 80))
        y = int(cell // 4) * 310 + int(generator.integers(30, 140))
        face = int(generator.integers(6))
        pixels[y : y + side, x : x + side] = generator.uniform(150, 250, 3)
        _draw_pips(pixels, x, y, side, face)
        boxes.append(SampleBox(xyxy=(x, y, x + side, y + side), class_id=face))
    return np.clip(pixels, 0, 255).astype(np.uint8), boxes


def _draw_pips(pixels: NDArray[np.float64], x: int, y: int, side: int, face: int) -> None:
    rows, columns = np.mgrid[0:side, 0:side]
    for place in _PIPS[face]:
        centre = ((place // 3 + 0.5) * side / 3, (place % 3 + 0.5) * side / 3)
        inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (side / 11) ** 2
        pixels[y : y + side, x : x + side][inside] = 30


def _detect(
    generator: np.random.Generator, truth: list[SampleBox], strong: bool
) -> list[SampleBox]:
    found = []
    for box in truth:
        if generator.random() < (0.06 if strong else 0.2):
            continue
        wrong = generator.random() < (0.08 if strong else 0.18)
        moved = np.array(box.xyxy) + generator.normal(0, 4, 4)
        class_id = (box.class_id + 1) % len(CLASSES) if wrong else box.class_id
        score = float(generator.uniform(0.3, 0.6) if wrong else generator.uniform(0.55, 0.97))
        found.append(SampleBox(xyxy=tuple(moved.tolist()), class_id=class_id, score=score))
    found.append(SampleBox(xyxy=(5, 5, 60, 60), class_id=0, score=0.04))
    return found
