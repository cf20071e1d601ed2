"""Which images the gate sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd_bench.errors import InputError
from edgekd_export.parity_images import load_parity_images
from edgekd_export.synthetic_images import synthetic_image


def write_images(folder: Path, count: int) -> None:
    """PNGs whose grey level is their number."""
    folder.mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", (32, 32), (index, index, index)).save(folder / f"{index:03d}.png")


def levels(folder: Path, count: int) -> list[int]:
    loaded = load_parity_images(folder, count=count, image_size=32)
    return sorted(int(canvas[16, 16, 0]) for canvas in loaded.canvases)


def test_spread_evenly_over_the_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 10)
    assert levels(tmp_path / "images", 4) == [0, 3, 6, 9]
    assert levels(tmp_path / "images", 100) == list(range(10))


def test_broken_images_are_named_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_images(folder, 6)
    (folder / "000.png").write_bytes(b"no png")
    loaded = load_parity_images(folder, count=4, image_size=32)
    assert len(loaded) == 4
    assert len(loaded.broken) == 1
    assert "000.png" in loaded.broken[0]


def test_val_split_of_a_data_yaml(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("val", 3)):
        write_images(tmp_path / "images" / split, count)
        labels = tmp_path / "labels" / split
        labels.mkdir(parents=True)
        (labels / "000.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    yaml = tmp_path / "data.yaml"
    yaml.write_text("path: .\ntrain: images/train\nval: images/val\nnames: [thing]\n")
    loaded = load_parity_images(yaml, count=32, image_size=32)
    assert len(loaded) == 3
    assert loaded.source == f"{yaml} (val)"


def test_unusable_data_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"no jpeg")
    (tmp_path / "list.txt").write_text("a.jpg")
    for name, reason in {
        "empty": "no images",
        "bad": "can be decoded",
        "list.txt": "neither YAML nor a folder",
        "missing": "no such data",
    }.items():
        with pytest.raises(InputError, match=reason) as caught:
            load_parity_images(tmp_path / name, count=4, image_size=32)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_synthetic_pictures_are_the_same_everywhere_and_differ_from_each_other() -> None:
    first, again = synthetic_image(5), synthetic_image(5)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8
    others = load_parity_images(None, count=8, image_size=64).canvases
    assert len({canvas.tobytes() for canvas in others}) == 8
    for canvas in others:
        inner = canvas[24:40, 24:40].astype(float)
        assert inner.std() > 1  # not flat
        assert abs(inner[..., 0] - inner[..., 2]).mean() > 1  # not grey: channel order matters


def test_batches_are_padded_but_count_each_image_once() -> None:
    images = load_parity_images(None, count=5, image_size=32)
    batches = list(images.batches(2))
    assert [inputs.shape for inputs, _ in batches] == [(2, 3, 32, 32)] * 3
    assert [real for _, real in batches] == [2, 2, 1]
    assert batches[0][0].max() <= 1
