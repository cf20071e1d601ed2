"""The drawn scenes of `lively_detectors` as a labelled set on disk."""

from __future__ import annotations

from pathlib import Path

from export.lively_detectors import NAMES, scenes
from PIL import Image


def write_scene_set(folder: Path, *, train: int, val: int) -> Path:
    """Write a set in the Ultralytics form; its ``data.yaml``."""
    for seed, (split, count) in enumerate({"train": train, "val": val}.items()):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index, scene in enumerate(scenes(100 + seed, count)):
            Image.fromarray(scene.canvas).save(folder / "images" / split / f"{index:03d}.png")
            rows = [
                " ".join([str(label), *(f"{value:.6f}" for value in box)])
                for label, box in zip(scene.classes, scene.boxes, strict=True)
            ]
            (folder / "labels" / split / f"{index:03d}.txt").write_text("\n".join(rows) + "\n")
    names = "\n".join(f"  {index}: {name}" for index, name in NAMES.items())
    data = folder / "data.yaml"
    data.write_text(f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}\n")
    return data
