"""Writes the built-in data set: rendered dice scenes in three splits, labelled in two forms.

A set is made in a hidden folder beside its place and moved there when it is complete, so a run that
is killed leaves no half set. A marker file holds the parameters that a set was made with: asked for
the same again, the finished set is used as it is.
"""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgekd.data.dice_scenes.annotations import (
    COCO_YAML,
    DATA_YAML,
    UNLABELED_YAML,
    LabelledImage,
    coco_text,
    write_descriptions,
    yolo_text,
)
from edgekd.data.dice_scenes.render import check_image_size, check_seed, render_scene
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_text_atomically

GENERATOR_VERSION = 1
"""Raised whenever the same seed would give other pictures or labels."""
MARKER = "dice_scenes.json"
SPLITS = ("unlabeled", "train", "val")
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class DiceScenes:
    """A finished set of dice scenes: where its descriptions are, and how much is in it.

    Attributes:
        root: folder of the set.
        data_yaml: Ultralytics description, YOLO labels.
        coco_yaml: the same labels as COCO JSON.
        unlabeled_yaml: roots of the unlabelled images: ``unlabeled`` and ``train``.
        num_unlabeled, num_train, num_val: images in each split.
        num_train_boxes, num_val_boxes: labelled dice in the labelled splits.
        reused: the set was there already, made with the same parameters.
    """

    root: Path
    data_yaml: Path
    coco_yaml: Path
    unlabeled_yaml: Path
    num_unlabeled: int
    num_train: int
    num_val: int
    num_train_boxes: int
    num_val_boxes: int
    reused: bool = False


@dataclass(frozen=True)
class _Request:
    """What decides the content of a set, and so what its marker must match."""

    num_unlabeled: int
    num_train: int
    num_val: int
    image_size: int
    seed: int
    generator_version: int = GENERATOR_VERSION

    def count(self, split: str) -> int:
        return int(
            {"unlabeled": self.num_unlabeled, "train": self.num_train}.get(split, self.num_val)
        )


def write_dice_scenes(
    out: Path,
    *,
    num_unlabeled: int,
    num_train: int,
    num_val: int,
    image_size: int = 320,
    seed: int = 0,
    workers: int | None = None,
) -> DiceScenes:
    """Render a data set of dice scenes, or reuse the one that is there.

    Every argument but ``out`` and ``workers`` decides the files, to the byte for the same machine
    and library versions.

    Args:
        out: folder of the set; must not exist, be empty, or hold a set of the same parameters.
        num_unlabeled: images without labels, 0 or more.
        num_train, num_val: labelled images to train on and to judge with, 1 or more.
        image_size: side of the square images, pixels.
        seed: 0 or more; another seed gives other scenes in every split.
        workers: rendering threads; None for one a CPU, at most 8.

    Raises:
        InputError: an argument out of range, or ``out`` holds something else.
    """
    request = _checked(num_unlabeled, num_train, num_val, image_size, seed)
    threads = _num_threads(workers)
    finished = _finished(out, request)
    if finished is not None:
        return finished
    try:
        _make_set(out, request, threads)
    except OSError as error:
        raise InputError(
            f"{out}: cannot write there ({error.strerror}); free space or choose another folder"
        ) from error
    made = _finished(out, request)
    assert made is not None  # it was moved there just now
    return replace(made, reused=False)


def _checked(
    num_unlabeled: int, num_train: int, num_val: int, image_size: int, seed: int
) -> _Request:
    least = {"num_unlabeled": 0, "num_train": 1, "num_val": 1}
    given = {"num_unlabeled": num_unlabeled, "num_train": num_train, "num_val": num_val}
    for name, count in given.items():
        whole = isinstance(count, int) and not isinstance(count, bool)
        if not whole or not least[name] <= count <= 1_000_000:
            raise InputError(
                f"{name}={count!r}: dice scenes need a whole number from {least[name]} to 1000000"
            )
    check_image_size(image_size)
    check_seed(seed)
    return _Request(num_unlabeled, num_train, num_val, image_size, seed)


def _num_threads(workers: int | None) -> int:
    if workers is None:
        return min(8, os.cpu_count() or 1)
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise InputError(f"workers={workers!r}: give a whole number of threads, 1 or more")
    return workers


def _finished(out: Path, request: _Request) -> DiceScenes | None:
    """The complete set at ``out``; None where there is nothing yet.

    Raises:
        InputError: something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MARKER).is_file():
        raise InputError(f"{out}: exists and holds no dice scenes; choose another folder")
    marker = _read_marker(out / MARKER)
    if marker["request"] != asdict(request):
        wanted = asdict(request)
        differing = [k for k in wanted if marker["request"].get(k) != wanted[k]]
        raise InputError(
            f"{out}: holds dice scenes made with other {', '.join(differing) or 'parameters'}; "
            "delete the folder or choose another one"
        )
    for split in SPLITS:
        there = sum(1 for _ in (out / "images" / split).glob("*.jpg"))
        if there != request.count(split):
            raise InputError(
                f"{out}: images/{split} has {there} images and should have "
                f"{request.count(split)}; delete the folder to have it made again"
            )
    return DiceScenes(
        root=out,
        data_yaml=out / DATA_YAML,
        coco_yaml=out / COCO_YAML,
        unlabeled_yaml=out / UNLABELED_YAML,
        num_unlabeled=request.num_unlabeled,
        num_train=request.num_train,
        num_val=request.num_val,
        num_train_boxes=marker["num_boxes"]["train"],
        num_val_boxes=marker["num_boxes"]["val"],
        reused=True,
    )


def _read_marker(path: Path) -> dict[str, Any]:
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        counts = [int(marker["num_boxes"][split]) for split in ("train", "val")]
        request = dict(marker["request"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the marker of a set of dice scenes; delete the folder or choose another"
        ) from error
    return {"request": request, "num_boxes": dict(zip(("train", "val"), counts, strict=True))}


def _make_set(out: Path, request: _Request, threads: int) -> None:
    """Write the set in a folder beside ``out`` and move it there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix, suffix = f".{out.name}.", ".partial"
    with tempfile.TemporaryDirectory(suffix, prefix, out.parent) as partial:
        # One level down, because the temporary folder itself is closed to other users.
        root = Path(partial) / "set"
        root.mkdir()
        _write_set(root, request, threads)
        _move(root, out)


def _write_set(root: Path, request: _Request, threads: int) -> None:
    """Render and describe a whole set under ``root``; the marker comes last."""
    num_boxes = {}
    for split in SPLITS:
        images = _write_images(root, split, request, threads)
        if split == "unlabeled":
            continue
        for image in images:
            label = root / "labels" / split / f"{Path(image.file_name).stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(yolo_text(image.boxes, request.image_size), encoding="utf-8")
        write_text_atomically(
            root / "annotations" / f"instances_{split}.json",
            coco_text(images, request.image_size),
        )
        num_boxes[split] = sum(len(image.boxes) for image in images)
    write_descriptions(root)
    marker = {"request": asdict(request), "num_boxes": num_boxes}
    write_text_atomically(root / MARKER, json.dumps(marker, indent=2) + "\n")


def _write_images(root: Path, split: str, request: _Request, threads: int) -> list[LabelledImage]:
    """Render the images of one split, in parallel; the result is in the order of the files."""
    folder = root / "images" / split
    folder.mkdir(parents=True)

    def write_one(number: int) -> LabelledImage:
        picture, boxes = render_scene(_scene_seed(request.seed, split, number), request.image_size)
        file_name = f"dice_{split}_{number:06d}.jpg"
        Image.fromarray(picture).save(folder / file_name, quality=_JPEG_QUALITY)
        return LabelledImage(file_name, tuple(boxes))

    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(write_one, range(request.count(split))))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the whole split


def _scene_seed(seed: int, split: str, number: int) -> int:
    """A seed of 128 bits of its own for every image of every split of every set."""
    words = np.random.SeedSequence([seed, SPLITS.index(split), number]).generate_state(4)
    return int.from_bytes(words.astype("<u4").tobytes(), "little")


def _move(root: Path, out: Path) -> None:
    """Put the finished set in its place; an empty folder there is replaced."""
    try:
        if out.is_dir():
            out.rmdir()
        root.rename(out)
    except OSError as error:
        raise InputError(
            f"{out}: appeared while its dice scenes were rendered; run again to use what is there"
        ) from error
