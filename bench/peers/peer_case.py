"""What every tool is given: the same two files of one detector, and the same images.

Each run gets a folder of its own with ``detector.pt`` and ``detector.onnx``, because some tools
write beside the weights and because files are swapped there. The images are copied once: tools
leave caches beside labels, and a part of a large set keeps the comparison short.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from edgekd_bench.detection_data import DetectionSet, LabelledImage
from edgekd_bench.errors import InputError
from edgekd_bench.samples import spread

PEERS = Path(__file__).parent
OPSET = 17  # of all ONNX files here
WEIGHTS_NOISE = 0.01  # relative, of the detector that is swapped in


@dataclass(frozen=True)
class Files:
    """One detector as a checkpoint and as ONNX."""

    weights: Path
    onnx: Path

    def copy_into(self, folder: Path) -> Files:
        """Copy both under the usual names; each appears there at once, as from a build."""
        folder.mkdir(parents=True, exist_ok=True)
        placed = Files(folder / "detector.pt", folder / "detector.onnx")
        for source, target in ((self.weights, placed.weights), (self.onnx, placed.onnx)):
            arriving = target.with_name(f".{target.name}.arriving")
            shutil.copy(source, arriving)
            arriving.replace(target)
        return placed


@dataclass(frozen=True)
class Case:
    """One run's own files, and the set that all share."""

    files: Files
    data: Path
    image_size: int

    @property
    def folder(self) -> Path:
        return self.files.weights.parent


def prepare_files(weights: Path, folder: Path, image_size: int) -> tuple[Files, Files]:
    """The detector and another one of the same kind, each exported to ONNX by Ultralytics."""
    stranger = folder / "stranger" / "detector.pt"
    stranger.parent.mkdir()
    _run("perturbed_weights.py", weights, stranger, WEIGHTS_NOISE)
    given = folder / "given" / "detector.pt"
    given.parent.mkdir()
    shutil.copy(weights, given)
    for file in (given, stranger):
        _run("ultralytics_export.py", file, image_size, OPSET)
    pair = [Files(file, file.with_suffix(".onnx")) for file in (given, stranger)]
    return pair[0], pair[1]


def write_set(dataset: DetectionSet, folder: Path, num_images: int) -> Path:
    """Copy labelled images of a set, evenly spread over it, as an Ultralytics set.

    Returns:
        Its data.yaml; train and val are the same images, for nothing is trained.
    """
    for index in spread(dataset, num_images):
        image = dataset.images[index]
        name = f"{index:06d}{image.path.suffix}"
        target = folder / "images" / "val" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image.path, target)
        label = folder / "labels" / "val" / Path(name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(_label_lines(image), encoding="utf-8")
    return write_data_yaml(folder, dataset.names)


def write_data_yaml(
    folder: Path, names: dict[int, str], file_name: str = "data.yaml", images: str = "images/val"
) -> Path:
    """A data.yaml for the set in ``folder``."""
    content = {"path": str(folder.resolve()), "train": images, "val": images, "names": names}
    path = folder / file_name
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def _label_lines(image: LabelledImage) -> str:
    """``class x y w h`` per box, as shares of the image."""
    size = np.array([image.width, image.height], np.float64)
    boxes = image.boxes[~image.crowd]  # YOLO's form has no crowds
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / size  # (N, 2)
    sides = (boxes[:, 2:] - boxes[:, :2]) / size
    lines = [
        f"{class_id} {x:.6f} {y:.6f} {w:.6f} {h:.6f}"
        for class_id, (x, y), (w, h) in zip(
            image.class_ids[~image.crowd].tolist(), centres.tolist(), sides.tolist(), strict=True
        )
    ]
    return "\n".join(lines) + "\n"


def _run(script: str, *arguments: object) -> None:
    command = [sys.executable, str(PEERS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["without a word"]
        raise InputError(f"{script} failed: {words[-1][:300]}")
