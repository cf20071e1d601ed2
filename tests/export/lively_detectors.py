"""Detectors that were really trained, for a few seconds, on shapes of three colours and outlines.

Random weights answer almost the same whatever they see, so that most corruptions of an export would
not even show. These have found their objects: their scores run from 0 to above one half, their
filters matter, and they can tell red from blue.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from edgekd_bench.images import letterbox, to_batch
from edgekd_export.parity_images import ParityImages

SIDE = 96
NAMES = {0: "red disc", 1: "blue square", 2: "yellow rhomb"}
_COLOURS = ((220, 50, 40), (40, 60, 220), (230, 210, 40))
_SHAPES = ((1.0, 1.0), (0.75, 1.0), (1.0, 0.75))  # of the picture: height, width
_BATCH, _BATCHES = 8, 6


@dataclass(frozen=True)
class Scene:
    """A letterboxed picture and what is in it."""

    canvas: np.ndarray  # (S, S, 3) uint8
    boxes: np.ndarray  # (N, 4) centre x, y, width, height, shares of the square
    classes: list[int]


def scenes(seed: int, count: int) -> list[Scene]:
    """Pictures of one to four shapes, some with padding."""
    random = np.random.default_rng(seed)
    return [_scene(random) for _ in range(count)]


def parity_scenes(seed: int, count: int) -> ParityImages:
    """The same as images for the parity gate."""
    return ParityImages(tuple(scene.canvas for scene in scenes(seed, count)), "drawn scenes")


def train_briefly(folder: Path, family: str, *, steps: int = 110, seed: int = 0) -> Path:
    """Train a detector from random weights and save it as Ultralytics does.

    On one thread: sums in another order would lead to another detector.

    Beside ``<family>.pt`` lies ``<family>-earlier.pt``, the same training four steps before its
    end: weights that are stale, and hardly different.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(folder, family, steps, seed)
    finally:
        torch.set_num_threads(threads)


def _train(folder: Path, family: str, steps: int, seed: int) -> Path:
    torch.manual_seed(seed)
    model = _fresh(family)
    batches = [_training_batch(scenes(1000 * seed + index, _BATCH)) for index in range(_BATCHES)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, steps, pct_start=0.15)
    for step in range(steps):
        if step == steps - 4:
            _save(model, folder / f"{family}-earlier.pt")
        loss, _ = model.train().loss(batches[step % _BATCHES])
        optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return _save(model, folder / f"{family}.pt")


def _save(model: Any, path: Path) -> Path:
    trained = copy.deepcopy(model).eval()
    trained.criterion, trained.args = None, {"imgsz": SIDE}
    torch.save({"model": None, "ema": trained, "train_args": trained.args, "epoch": -1}, path)
    return path


def _fresh(family: str) -> Any:
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel(f"{family}.yaml", nc=len(NAMES), verbose=False)
    model.names = dict(NAMES)
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, epochs=1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.2  # so few steps that slow statistics would stay behind
    with torch.no_grad():
        for name in ("cv3", "one2one_cv3"):
            for branch in getattr(model.model[-1], name, None) or ():
                branch[-1].bias.fill_(-3.0)  # less sure at first that there is nothing
    return model


def _training_batch(drawn: Sequence[Scene]) -> dict[str, torch.Tensor]:
    owners = [index for index, scene in enumerate(drawn) for _ in scene.classes]
    classes = [label for scene in drawn for label in scene.classes]
    boxes = np.concatenate([scene.boxes for scene in drawn])
    return {
        "img": torch.from_numpy(to_batch([scene.canvas for scene in drawn])),
        "bboxes": torch.from_numpy(boxes.astype(np.float32)),
        "cls": torch.tensor(classes, dtype=torch.float32).view(-1, 1),
        "batch_idx": torch.tensor(owners, dtype=torch.float32),
    }


def _scene(random: np.random.Generator) -> Scene:
    tall, wide = _SHAPES[random.integers(len(_SHAPES))]
    height, width = int(SIDE * tall), int(SIDE * wide)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    slopes = random.uniform(-60, 60, (2, 3))
    image = random.uniform(40, 200, 3) + x[..., None] / width * slopes[0]
    image = image + y[..., None] / height * slopes[1]
    boxes, classes = [], []
    for _ in range(random.integers(1, 5)):
        label = int(random.integers(len(NAMES)))
        radius, aspect = random.uniform(0.08, 0.22) * SIDE, random.uniform(0.7, 1.4)
        half_w, half_h = radius * aspect, radius / aspect
        centre_x = random.uniform(half_w, width - half_w)
        centre_y = random.uniform(half_h, height - half_h)
        u, v = abs(x - centre_x) / half_w, abs(y - centre_y) / half_h
        inside = (u**2 + v**2 < 1, np.maximum(u, v) < 1, u + v < 1)[label]
        image[inside] = np.array(_COLOURS[label]) + random.uniform(-30, 30, 3)
        boxes.append((centre_x, centre_y, 2 * half_w, 2 * half_h))
        classes.append(label)
    image += random.normal(0, 6, image.shape)
    canvas, fitted = letterbox(np.clip(image, 0, 255).astype(np.uint8), SIDE)
    scale = np.array([fitted.scale_x, fitted.scale_y] * 2)
    shifted = np.array(boxes) * scale + np.array([fitted.pad_x, fitted.pad_y, 0, 0])
    return Scene(canvas, shifted / SIDE, classes)
