"""Small real inputs for the tests of the core: photographs of noise shapes, sets, configs."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import edgekd
from edgekd.config import Config, load_config

BENCH = Path(__file__).parents[2] / "bench"


def draw_image(seed: int, width: int = 96, height: int = 80) -> Image.Image:
    """A smooth random picture with one bright rectangle at x 20–60, y 16–48."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((250, 240, 20), (20, 16, 60, 48))
    return image


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Twelve JPEGs."""
    folder = tmp_path / "unlabeled"
    folder.mkdir()
    for seed in range(12):
        draw_image(seed).save(folder / f"{seed:02d}.jpg", quality=95)
    return folder


@pytest.fixture
def labelled_set(tmp_path: Path) -> Path:
    """A YOLO set of 6 train and 4 val images with one box each; returns data.yaml."""
    root = tmp_path / "labelled"
    for split, seeds in (("train", range(100, 106)), ("val", range(200, 204))):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for seed in seeds:
            draw_image(seed).save(root / "images" / split / f"{seed}.jpg", quality=95)
            label = f"{seed % 2} {40 / 96:.6f} {32 / 80:.6f} {40 / 96:.6f} {32 / 80:.6f}\n"
            (root / "labels" / split / f"{seed}.txt").write_text(label)
    content = {
        "path": ".",
        "train": "images/train",
        "val": "images/val",
        "names": {0: "even", 1: "odd"},
    }
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root / "data.yaml"


@pytest.fixture
def coco_set(labelled_set: Path) -> Path:
    """The same set in COCO form; returns coco.yaml."""
    root = labelled_set.parent
    splits = {}
    for split in ("train", "val"):
        images, annotations = [], []
        for number, file in enumerate(sorted((root / "images" / split).iterdir()), start=1):
            images.append({"id": number, "file_name": file.name, "width": 96, "height": 80})
            annotations.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 1 + int(file.stem) % 2,
                    "bbox": [20, 16, 40, 32],
                    "area": 1280,
                    "iscrowd": 0,
                }
            )
        categories = [{"id": 1, "name": "even"}, {"id": 2, "name": "odd"}]
        (root / f"{split}.json").write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )
        splits[split] = {"images": f"images/{split}", "annotations": f"{split}.json"}
    (root / "coco.yaml").write_text(yaml.safe_dump({"path": ".", **splits}))
    return root / "coco.yaml"


MakeConfig = Callable[..., Config]


@pytest.fixture
def make_config(tmp_path: Path, image_folder: Path) -> MakeConfig:
    """A config that distils a tiny random teacher into yolo11n at 64 px in a second."""
    base = {
        "name": "t",
        "runs_dir": str(tmp_path / "runs"),
        "image_size": 64,
        "device": "cpu",
        "teacher": {"name": "test_efficientnet", "random_weights": True},
        "unlabeled": {"roots": [str(image_folder)]},
        "distill": {"epochs": 2, "batch_size": 4, "precision": "fp32", "workers": 2},
        "train": {"epochs": 1, "batch_size": 4, "val_every": 1, "precision": "fp32"},
    }

    def make(*overrides: str) -> Config:
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(base))
        return load_config(file, overrides)

    return make


def load_script(name: str) -> ModuleType:
    """A program of ``bench/``, which is no package, as a module."""
    specification = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def run_until(config: Config, steps: int) -> None:
    """Distil, and send SIGTERM to this process once ``steps`` optimiser steps are done."""
    from edgekd.distill import trainer

    original, count = trainer.DistillLoop.step, 0

    def counted(self: trainer.DistillLoop, batch: trainer.TaughtBatch) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch)

    trainer.DistillLoop.step = counted  # type: ignore[method-assign]
    try:
        edgekd.distill.run(config, resume=True)
    finally:
        trainer.DistillLoop.step = original  # type: ignore[method-assign]


@pytest.fixture
def trainer_starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Gets the tensors of each detector training, right before its first step."""
    from edgekd.train.detector_trainer import HandoverTrainer

    starts: list[dict[str, torch.Tensor]] = []
    original = HandoverTrainer.prove

    def spy(self: HandoverTrainer) -> None:
        starts.append({k: v.clone() for k, v in self.model.state_dict().items()})
        original(self)

    monkeypatch.setattr(HandoverTrainer, "prove", spy)
    return starts
