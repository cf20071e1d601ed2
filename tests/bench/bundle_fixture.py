"""A device bundle written by hand: reading is tested without the wing that packs."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from bench.conftest import manifest
from bench.synthetic_sets import write_yolo_set

from edgekd_bench.manifest import sha256_of, write_manifest


def write_bundle(folder: Path, onnx: Path, num_images: int = 3) -> Path:
    """A candidate and a baseline, which are the same network, with a few labelled pictures."""
    for name, init in (("ours", "distilled"), ("theirs", "baseline")):
        target = folder / f"models/{name}.fp32.onnx"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(onnx, target)
        write_manifest(target, manifest(init=init, seed=0, parity="pass"))
        (folder / f"{name}.npz").write_bytes(name.encode())
    write_yolo_set(folder / "evaluation", num_images)
    describe(folder)
    return folder


def describe(folder: Path, **changes: Any) -> None:
    """Write ``bundle.json`` for the files that are there now."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    content = {
        "format_version": 1,
        "name": "ours",
        "edgekd": "0.1.0",
        "target": "jetson-orin-nano",
        "models": [
            {
                "name": name,
                "role": role,
                "precision": "fp32",
                "onnx": f"models/{name}.fp32.onnx",
                "expected": f"{name}.npz",
            }
            for name, role in (("ours", "candidate"), ("theirs", "baseline"))
        ],
        "evaluation": {
            "data": "evaluation/data.yaml",
            "num_images": 3,
            "num_boxes": 6,
            "of_images": 100,
            "source": "screws (val)",
            "content_hash": "ab",
        },
        "licences": {"models": "AGPL-3.0"},
        "files": [
            {
                "path": path.relative_to(folder).as_posix(),
                "sha256": sha256_of(path),
                "size": path.stat().st_size,
            }
            for path in files
            if path.name != "bundle.json"
        ],
        **changes,
    }
    (folder / "bundle.json").write_text(json.dumps(content))


def pack(folder: Path, archive: Path) -> Path:
    """The folder as a plain tar."""
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, folder.name)
    return archive
