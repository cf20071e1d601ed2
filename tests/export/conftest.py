"""Small detectors that look trained: normalised activations, scores from near 0 to near 1."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export.lively_detectors import parity_scenes, train_briefly
from export.typed_exports import Exports, TypedExports
from filelock import FileLock

from edgekd_bench.images import letterbox, to_batch
from edgekd_bench.ultralytics_setup import prepare_ultralytics
from edgekd_export.parity_images import ParityImages
from edgekd_export.synthetic_images import synthetic_image
from export import lively_detectors

SIDE = 64
NAMES = {0: "bolt", 1: "nut", 2: "washer"}


@pytest.fixture(scope="session", autouse=True)
def _ultralytics(tmp_path_factory: pytest.TempPathFactory) -> None:
    prepare_ultralytics(tmp_path_factory.mktemp("ultralytics"))


def trained_looking_detector(family: str, seed: int = 0) -> Any:
    """A detector with 3 classes whose batch norm statistics and scores fit real pictures."""
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(seed)
    model = DetectionModel(f"{family}.yaml", nc=len(NAMES), verbose=False)
    model.names = dict(NAMES)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    pictures = [letterbox(synthetic_image(100 + index), SIDE)[0] for index in range(8)]
    for norm in norms:
        norm.momentum = 0.996
    with torch.no_grad():
        model.train()(torch.from_numpy(to_batch(pictures)))
        for name in ("cv3", "one2one_cv3"):
            for branch in getattr(model.model[-1], name, ()):
                branch[-1].weight.mul_(1.5)
                branch[-1].bias.fill_(-2.0)
    for norm in norms:
        norm.momentum = 0.03
    return model.eval()


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints by family and seed, written once a test run."""

    folder: Path

    def __call__(self, family: str, seed: int = 0) -> Path:
        path = self.folder / f"{family}-{seed}.pt"
        if not path.exists():
            model = trained_looking_detector(family, seed)
            content = {"model": None, "ema": model, "train_args": {"imgsz": SIDE}, "epoch": -1}
            torch.save(content, path)
        return path

    @cached_property
    def yolo11n(self) -> Path:
        return self("yolo11n")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def pictures() -> ParityImages:
    """Eight drawn pictures at the test size."""
    drawn = tuple(letterbox(synthetic_image(index), SIDE)[0] for index in range(8))
    return ParityImages(tuple(np.ascontiguousarray(canvas) for canvas in drawn), "drawn")


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Honest exports of briefly trained detectors, by name.

    Each is trained once a test run, for all of its processes: that is the dear part.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "lively"
    folder.mkdir(exist_ok=True)
    judged_on, calibrated_on = parity_scenes(11, 8), parity_scenes(12, 16)
    made: dict[str, TypedExports] = {}

    def get(name: str) -> TypedExports:
        path, family = folder / f"{name}.pt", name.removesuffix("-earlier")
        with FileLock(folder / f"{family}.lock"):
            if not path.exists():
                train_briefly(folder, family)
        if name not in made:
            made[name] = TypedExports(path, lively_detectors.SIDE, judged_on, calibrated_on)
        return made[name]

    return get
