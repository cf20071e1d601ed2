"""Turn an image file into the pixels a detector sees, with Pillow and NumPy alone.

A Jetson has neither torch nor OpenCV for free, yet a model trained through OpenCV must see the same
pixels here or its mAP silently drops. So downscaling is plain (not anti-aliased) bilinear with
half-pixel centres, as OpenCV's ``INTER_LINEAR`` does it; tests hold the two within one grey level.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from edgekd_bench.errors import InputError

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
PAD_VALUE = 114
_EXIF_ORIENTATION = 0x0112
_SWAPS_SIDES = frozenset({5, 6, 7, 8})
# What Pillow's decoders raise on damaged bytes; they do not agree on one exception. ImportError is
# Ultralytics', whose replacement of ``Image.open`` wants a HEIC plug-in for every unknown file.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    ImportError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    UnidentifiedImageError,
    Image.DecompressionBombError,
    # Once Ultralytics is imported, Pillow's `open` tries a HEIF plugin that may not be installed.
    ImportError,
)


@dataclass(frozen=True)
class Letterbox:
    """How an image was fitted into a square: what it takes to map boxes back.

    ``scale_x`` and ``scale_y`` differ from each other only by the rounding of the resized sides;
    pads are pixels of the square, on the left and on top.
    """

    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int
    width: int
    height: int


def decode_image(
    source: Path | bytes, name: str = "image", *, min_side: int | None = None
) -> UInt8Array:
    """Decode any image Pillow reads to RGB.

    Grey is repeated, CMYK converted, alpha dropped (as OpenCV drops it), 16-bit reduced to 8 bit,
    the EXIF orientation applied, and of an animation the first frame taken.

    Args:
        source: a file, or its bytes.
        name: how to call the image in an error where ``source`` is bytes.
        min_side: let a JPEG decoder skip resolution as long as the shorter side keeps this many
            pixels: several times faster, but not the pixels a measurement should see.

    Returns:
        (H, W, 3) uint8, RGB, contiguous.

    Raises:
        InputError: missing, truncated, or not an image.
    """
    return _to_array(open_picture(source, name, min_side=min_side))


def open_picture(
    source: Path | bytes, name: str = "image", *, min_side: int | None = None
) -> Image.Image:
    """The same as `decode_image`, as a picture of mode RGB: `letterbox` is faster on those."""
    where = str(source) if isinstance(source, Path) else name
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            if min_side is not None:
                _draft(image, min_side)
            image.load()
            if _orientation(image) != 1:
                ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image, where)
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such image; check the path") from error
    except InputError:
        raise
    except _DECODE_ERRORS as error:
        raise InputError(f"{where}: cannot be decoded ({_one_line(error)}); replace it") from error


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as displayed (EXIF orientation applied), from the header alone.

    Raises:
        InputError: missing, or no image header Pillow knows.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            swapped = _orientation(image) in _SWAPS_SIDES
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such image; check the path") from error
    except _DECODE_ERRORS as error:
        raise InputError(f"{path}: not an image ({_one_line(error)}); replace it") from error
    return (height, width) if swapped else (width, height)


def letterbox(image: UInt8Array | Image.Image, size: int) -> tuple[UInt8Array, Letterbox]:
    """Fit an image into the centre of a square without changing its aspect ratio.

    Args:
        image: (H, W, 3) uint8, or a picture of mode RGB.
        size: side of the square in pixels.

    Returns:
        The (size, size, 3) uint8 canvas, padded with 114, and the way back.
    """
    width, height = _sides(image)
    gain = min(size / height, size / width)
    new_width, new_height = max(round(width * gain), 1), max(round(height * gain), 1)
    # The -0.1 decides where an odd pixel of padding goes: right and bottom, as in training.
    left = round((size - new_width) / 2 - 0.1)
    top = round((size - new_height) / 2 - 0.1)
    resized = _resize(image, new_width, new_height)
    if resized.shape[:2] == (size, size):
        canvas = resized
    else:
        canvas = np.full((size, size, 3), PAD_VALUE, np.uint8)
        canvas[top : top + new_height, left : left + new_width] = resized
    way_back = Letterbox(
        scale_x=new_width / width,
        scale_y=new_height / height,
        pad_x=left,
        pad_y=top,
        width=width,
        height=height,
    )
    return canvas, way_back


def to_batch(canvases: Sequence[UInt8Array]) -> Float32Array:
    """Stack letterboxed images into the network's input.

    Args:
        canvases: B arrays of (S, S, 3) uint8 RGB.

    Returns:
        (B, 3, S, S) float32 in [0, 1], contiguous.
    """
    size = canvases[0].shape[0]
    batch = np.empty((len(canvases), 3, size, size), np.float32)
    for target, canvas in zip(batch, canvases, strict=True):
        np.divide(canvas.transpose(2, 0, 1), np.float32(255), out=target)
    return batch


def _draft(image: Image.Image, min_side: int) -> None:
    """Ask a JPEG decoder for its smallest scale that keeps ``min_side``; others ignore it."""
    scale = min_side / min(image.size)
    if scale < 1:
        image.draft(image.mode, (round(image.width * scale), round(image.height * scale)))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or its value is nonsense."""
    value = image.getexif().get(_EXIF_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    """Mode RGB from any other but floating point."""
    if image.mode == "F":
        raise InputError(f"{where}: floating-point pixels have no agreed range; save it as 8 bit")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey at 255; keep the high byte instead.
        values = np.asarray(image).astype(np.int64)
        grey = (np.clip(values, 0, 65535) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _sides(image: UInt8Array | Image.Image) -> tuple[int, int]:
    """Width and height."""
    return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])


def _to_array(image: UInt8Array | Image.Image) -> UInt8Array:
    return np.ascontiguousarray(np.asarray(image))


def _to_picture(image: UInt8Array | Image.Image) -> Image.Image:
    return image if isinstance(image, Image.Image) else Image.fromarray(image)


def _resize(image: UInt8Array | Image.Image, width: int, height: int) -> UInt8Array:
    """Bilinear without anti-aliasing, to (height, width, 3)."""
    old_width, old_height = _sides(image)
    if (old_width, old_height) == (width, height):
        return _to_array(image)
    factor = old_width // width
    if (old_width, old_height) == (factor * width, factor * height):
        return _shrink(image, factor)
    source = _to_picture(image)
    if width >= old_width and height >= old_height:
        # Enlarging needs no anti-aliasing filter, so the faster call gives the same pixels.
        return np.asarray(source.resize((width, height), Image.Resampling.BILINEAR))
    matrix = (old_width / width, 0.0, 0.0, 0.0, old_height / height, 0.0)
    method, filter_ = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return np.asarray(source.transform((width, height), method, matrix, filter_))


def _shrink(image: UInt8Array | Image.Image, factor: int) -> UInt8Array:
    """The same by a whole number, as cameras and networks often are apart: five times faster."""
    middle = factor // 2
    if factor % 2:  # the centre of each block is a pixel
        return np.ascontiguousarray(_to_array(image)[middle::factor, middle::factor])
    # It lies between four pixels, each of which counts a quarter.
    if factor > 2:
        pixels = _to_array(image)
        height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
        blocks = pixels.reshape(height, factor, width, factor, 3)
        four = blocks[:, middle - 1 : middle + 1, :, middle - 1 : middle + 1]
        image = four.reshape(2 * height, 2 * width, 3)
    return np.asarray(_to_picture(image).reduce(2))


def _one_line(error: BaseException) -> str:
    if isinstance(error, ImportError) and error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__
