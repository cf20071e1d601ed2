"""Which images are calibrated on: the train split, never val, and never all that are labelled."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from bench.synthetic_sets import write_yolo_set
from PIL import Image

from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.images import decode_image, letterbox, to_batch
from edgekd_bench.manifest import sha256_of
from edgekd_export import ExportSettings
from edgekd_export.quantization.calibration_images import (
    CalibrationImages,
    find_calibration_images,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_yolo_set(tmp_path / "set", num_images=8)


def find(data: Path | None, **settings: object) -> CalibrationImages:
    return find_calibration_images(data, ExportSettings(**settings))


def contents(paths: object) -> set[str]:
    return {sha256_of(path) for path in paths}  # type: ignore[attr-defined]


def test_train_images_and_others_to_compare_on(data: Path) -> None:
    images = find(data)
    train = {image.path for image in load_detection_set(data, "train").images}
    assert set(images.paths) < train
    assert images.held_out is not None
    apart = {image.path for image in images.held_out.images}
    assert len(images.paths) == len(apart) == 4  # at most half is held out
    assert not apart & set(images.paths)
    assert images.source.endswith("(train)")


def test_the_draw_depends_on_the_seed_alone(data: Path, tmp_path: Path) -> None:
    first = find(data, calibration_images=3)
    assert len(first.paths) == 3
    assert find(data, calibration_images=3).sha256 == first.sha256
    assert find(data, calibration_images=3, calibration_seed=1).sha256 != first.sha256
    moved = shutil.copytree(data.parent, tmp_path / "elsewhere")
    assert find(moved / "data.yaml", calibration_images=3).sha256 == first.sha256


def test_val_images_are_left_out_even_under_another_name(data: Path) -> None:
    images = data.parent / "images"
    val = sorted((images / "val").iterdir())
    for index, path in enumerate(val):
        shutil.copy(path, images / "train" / f"copy{index}.png")
    found = find(data)
    assert not contents(found.paths) & contents(val)
    from_folder = find(data, calibration_data=images)
    assert contents(from_folder.paths).isdisjoint(contents(val))
    assert from_folder.paths


def test_nothing_but_val_images_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match="no images to calibrate on"):
        find(data, calibration_data=data.parent / "images" / "val")


def test_a_folder_is_compared_on_labelled_images_of_the_data(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    train = sorted((data.parent / "images" / "train").iterdir())
    for path in train[:3]:
        shutil.copy(path, folder)
    found = find(data, calibration_data=folder)
    assert found.held_out is not None
    held_out = [image.path for image in found.held_out.images]
    assert contents(held_out) == contents(train[3:])
    assert find(folder).held_out is None  # no labels anywhere


def test_pixels_are_prepared_as_everywhere_else(data: Path) -> None:
    images = find(data, calibration_images=3)
    batches = list(images.batches(64, 2))
    assert [num_real for _, num_real in batches] == [2, 1]
    expected = to_batch([letterbox(decode_image(path), 64)[0] for path in images.paths])
    np.testing.assert_array_equal(batches[0][0], expected[:2])
    np.testing.assert_array_equal(batches[1][0], expected[[2, 2]])  # filled up by repetition


def test_broken_images_are_named_and_the_others_used(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(folder / "good.png")
    whole = (data.parent / "images" / "train" / "train0.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "not an image.png").write_text("text")
    images = find(folder)
    assert sum(num_real for _, num_real in images.batches(64, 2)) == 1
    assert images.num_images == 1
    named = " ".join(images.broken)
    assert "truncated.png" in named
    assert "not an image.png" in named


@pytest.mark.parametrize("kind", ["float", "truncated"])
def test_images_of_the_wrong_kind_alone_are_refused(kind: str, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "depth"
    folder.mkdir()
    if kind == "float":
        Image.fromarray(np.zeros((40, 60), np.float32)).save(folder / "depth.tiff")
    else:
        whole = (data.parent / "images" / "train" / "train0.png").read_bytes()
        (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="none of its 1 images can be decoded") as caught:
        list(find(folder).batches(64, 1))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_calibrated_on_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--calibration-data or --calibration-cache"):
        find(None)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no images to calibrate on"):
        find(empty)
    with pytest.raises(InputError, match="no such calibration data"):
        find(tmp_path / "missing")
    text = data.read_text().replace("train: images/train\n", "")
    data.write_text(text)
    with pytest.raises(InputError, match=r"no split 'train' \(it has: val\).*--calibration-data"):
        find(data)
