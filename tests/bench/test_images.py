"""Pixels must reach the network as they did in training, from whatever file they come."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd_bench.errors import InputError
from edgekd_bench.images import (
    decode_image,
    image_size,
    letterbox,
    open_picture,
    to_batch,
)


def _smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (max(height // 9, 2), max(width // 9, 2), 3), np.uint8)
    resized = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_give_their_pixels(tmp_path: Path, suffix: str) -> None:
    pixels = _smooth(20, 30)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(decode_image(path), pixels)
    assert np.array_equal(decode_image(path.read_bytes()), pixels)
    assert image_size(path) == (30, 20)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    flat = Image.new("RGB", (8, 6), (200, 200, 200)).convert(mode)
    flat.save(tmp_path / "a.tiff")
    decoded = decode_image(tmp_path / "a.tiff")
    assert decoded.shape == (6, 8, 3) and decoded.dtype == np.uint8
    assert abs(int(decoded.mean()) - (255 if mode == "1" else 200)) < 60


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert (decode_image(tmp_path / "a.png") == [10, 20, 30]).all()


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for suffix in ("png", "tiff"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(ramp).save(path)
        assert np.array_equal(decode_image(path)[..., 0], (ramp >> 8).astype(np.uint8))


def test_exif_orientation_turns_pixels_and_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_smooth(40, 80)).save(tmp_path / "a.jpg", exif=exif)
    assert decode_image(tmp_path / "a.jpg").shape == (80, 40, 3)
    assert image_size(tmp_path / "a.jpg") == (40, 80)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
def test_broken_files_are_named(tmp_path: Path, suffix: str) -> None:
    buffer = BytesIO()
    kind = {"jpg": "JPEG"}.get(suffix, suffix.upper())
    Image.fromarray(_smooth(64, 64)).save(buffer, kind)
    whole = buffer.getvalue()
    for cut in (0, 10, len(whole) // 2):
        path = tmp_path / f"broken.{suffix}"
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=f"broken.{suffix}") as caught:
            decode_image(path)
        assert "\n" not in str(caught.value)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not an image")
    for call in (decode_image, image_size):
        with pytest.raises(InputError, match=r"a\.jpg"):
            call(tmp_path / "a.jpg")
        with pytest.raises(InputError, match="no such image"):
            call(tmp_path / "b.jpg")


@pytest.mark.parametrize(
    ("height", "width"), [(480, 640), (333, 517), (64, 64), (40, 31), (128, 128), (1, 900)]
)
def test_letterbox_equals_ultralytics(height: int, width: int) -> None:
    from edgekd_bench.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.augment import LetterBox

    pixels = _smooth(height, width)
    canvas, way_back = letterbox(pixels, 128)
    reference = LetterBox(new_shape=(128, 128))(image=pixels)
    assert canvas.shape == (128, 128, 3)
    assert np.abs(canvas.astype(int) - reference.astype(int)).max() <= 1
    assert (way_back.width, way_back.height) == (width, height)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 6])
@pytest.mark.parametrize(("height", "width"), [(96, 96), (54, 96), (96, 33)])
def test_letterbox_by_a_whole_number_equals_ultralytics_to_the_bit(
    factor: int, height: int, width: int
) -> None:
    from edgekd_bench.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.augment import LetterBox

    pixels = _smooth(height * factor, width * factor, seed=factor)
    canvas, _ = letterbox(pixels, 96)
    assert canvas.flags.c_contiguous
    assert np.array_equal(canvas, LetterBox(new_shape=(96, 96))(image=pixels))


@pytest.mark.parametrize(
    ("height", "width"), [(192, 192), (288, 480), (384, 384), (70, 91), (9, 9)]
)
def test_letterbox_of_a_picture_is_that_of_its_pixels(
    tmp_path: Path, height: int, width: int
) -> None:
    Image.fromarray(_smooth(height, width)).save(tmp_path / "a.jpg")
    from_array = letterbox(decode_image(tmp_path / "a.jpg"), 96)
    from_picture = letterbox(open_picture((tmp_path / "a.jpg").read_bytes()), 96)
    assert np.array_equal(from_array[0], from_picture[0])
    assert from_array[1] == from_picture[1]


def test_batch_is_scaled_channels_first() -> None:
    canvas = np.zeros((32, 32, 3), np.uint8)
    canvas[..., 1] = 255
    batch = to_batch([canvas, canvas])
    assert batch.shape == (2, 3, 32, 32) and batch.dtype == np.float32
    assert batch.flags.c_contiguous
    assert batch[:, 1].min() == 1.0 and batch[:, [0, 2]].max() == 0.0
