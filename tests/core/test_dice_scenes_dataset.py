"""The written set of dice scenes: same seed, same bytes; two equal label forms; no half sets."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from edgekd.data.dice_scenes import NAMES, DiceScenes, dataset, render_scene, write_dice_scenes
from edgekd_bench.errors import InputError

SMALL = {"num_unlabeled": 3, "num_train": 3, "num_val": 2, "image_size": 96}


def tree(root: Path) -> dict[str, str]:
    """Hash of every file under ``root`` by its relative path."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> DiceScenes:
    return write_dice_scenes(tmp_path_factory.mktemp("dice") / "set", **SMALL, seed=3, workers=1)


def test_bytes_do_not_depend_on_workers_or_the_clock(
    small: DiceScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 4e9)
    again = write_dice_scenes(tmp_path / "again", **SMALL, seed=3, workers=3)
    assert tree(again.root) == tree(small.root)
    other = write_dice_scenes(tmp_path / "other", **SMALL, seed=4, workers=3)
    pictures = {name for name in tree(small.root) if name.endswith(".jpg")}
    assert all(tree(other.root)[name] != tree(small.root)[name] for name in pictures)


def test_counts_and_splits(small: DiceScenes) -> None:
    pictures = {k: v for k, v in tree(small.root).items() if k.endswith(".jpg")}
    assert len(pictures) == 8 == len(set(pictures.values()))
    for split, count in (("unlabeled", 3), ("train", 3), ("val", 2)):
        files = sorted((small.root / "images" / split).iterdir())
        assert len(files) == count
        with Image.open(files[0]) as image:
            assert image.size == (96, 96) and image.mode == "RGB"
    assert not (small.root / "labels" / "unlabeled").exists()
    assert not small.reused


@pytest.mark.parametrize("split", ["train", "val"])
def test_yolo_and_coco_say_the_same(small: DiceScenes, split: str) -> None:
    coco = json.loads((small.root / f"annotations/instances_{split}.json").read_text())
    assert [c["id"] for c in coco["categories"]] == [1, 2, 3, 4, 5, 6]
    total = 0
    for image in coco["images"]:
        label = small.root / "labels" / split / f"{Path(image['file_name']).stem}.txt"
        rows = [[float(v) for v in line.split()] for line in label.read_text().splitlines()]
        boxes = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        assert len(rows) == len(boxes)
        total += len(rows)
        for (class_id, cx, cy, w, h), box in zip(rows, boxes, strict=True):
            assert class_id == box["category_id"] - 1
            from_yolo = 96 * np.array([cx - w / 2, cy - h / 2, w, h])
            np.testing.assert_allclose(from_yolo, box["bbox"], atol=1e-3)
            assert box["area"] == pytest.approx(box["bbox"][2] * box["bbox"][3])
    assert total == len(coco["annotations"]) == getattr(small, f"num_{split}_boxes") > 0
    assert len({a["id"] for a in coco["annotations"]}) == total


def test_descriptions_point_at_what_is_there(small: DiceScenes) -> None:
    data = yaml.safe_load(small.data_yaml.read_text())
    assert data["names"] == dict(enumerate(NAMES)) and data["path"] == "."
    coco = yaml.safe_load(small.coco_yaml.read_text())
    for split in ("train", "val"):
        assert (small.root / data[split]).is_dir()
        assert (small.root / coco[split]["images"]).is_dir()
        assert (small.root / coco[split]["annotations"]).is_file()
    roots = yaml.safe_load(small.unlabeled_yaml.read_text())["roots"]
    assert [root["path"] for root in roots] == ["images/unlabeled", "images/train"]
    assert str(small.root) not in small.data_yaml.read_text()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_train": 0}, "num_train"),
        ({"num_val": 0}, "num_val"),
        ({"num_unlabeled": -1}, "num_unlabeled"),
        ({"num_train": 2.5}, "num_train"),
        ({"num_val": True}, "num_val"),
        ({"image_size": 16}, "image_size"),
        ({"image_size": 100_000}, "image_size"),
        ({"seed": -1}, "seed"),
        ({"workers": 0}, "workers"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    arguments: dict[str, object] = {**SMALL, **change}
    with pytest.raises(InputError, match=named):
        write_dice_scenes(tmp_path / "set", **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_finished_set_is_reused_and_another_one_is_refused(
    small: DiceScenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "render_scene", lambda *_: pytest.fail("rendered again"))
    before = tree(small.root)
    again = write_dice_scenes(small.root, **SMALL, seed=3)
    assert again == replace(small, reused=True)
    with pytest.raises(InputError, match="other seed"):
        write_dice_scenes(small.root, **SMALL, seed=4)
    assert tree(small.root) == before


def test_a_damaged_or_foreign_folder_is_refused(tmp_path: Path) -> None:
    made = write_dice_scenes(tmp_path / "set", **SMALL)
    next((made.root / "images/val").iterdir()).unlink()
    with pytest.raises(InputError, match="images/val has 1 images and should have 2"):
        write_dice_scenes(made.root, **SMALL)
    (made.root / dataset.MARKER).write_text("{}")
    with pytest.raises(InputError, match="not the marker"):
        write_dice_scenes(made.root, **SMALL)
    (made.root / dataset.MARKER).unlink()
    with pytest.raises(InputError, match="holds no dice scenes"):
        write_dice_scenes(made.root, **SMALL)
    occupied = tmp_path / "file"
    occupied.write_text("mine")
    with pytest.raises(InputError):
        write_dice_scenes(occupied, **SMALL)
    with pytest.raises(InputError):
        write_dice_scenes(occupied / "below", **SMALL)
    assert occupied.read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    made = write_dice_scenes(tmp_path / "set", **SMALL)
    assert made.data_yaml.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(5))

    def stop_midway(seed: int, image_size: int) -> object:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return render_scene(seed, image_size)

    monkeypatch.setattr(dataset, "render_scene", stop_midway)
    with pytest.raises(KeyboardInterrupt):
        write_dice_scenes(tmp_path / "set", **SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_no_set_and_does_not_block_the_next(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from edgekd.data.dice_scenes import write_dice_scenes; "
        f"write_dice_scenes(Path({str(tmp_path / 'set')!r}), num_unlabeled=5000, num_train=3, "
        "num_val=2, image_size=96, workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 30
        while not any(tmp_path.rglob("*.jpg")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "set").exists()
    made = write_dice_scenes(tmp_path / "set", **SMALL)
    assert made.num_train_boxes > 0
