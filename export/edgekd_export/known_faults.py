"""Mistakes that deployments of detectors really make, so that an artefact can be asked about each.

A lower precision hides small faults in its noise, but noise has no direction and a fault has one:
the direction from what PyTorch answers to what it answers when the mistake is made on purpose.
`edgekd_export.fault_likeness` measures how far an artefact has gone that way. Faults of the input
are made on the batch, faults of decoding on the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from edgekd_bench.images import PAD_VALUE

Float32Array = npt.NDArray[np.float32]
InputFault = Callable[[Float32Array], Float32Array]  # (B, 3, S, S) in [0, 1] → the same shape
# (4 + nc, A), or (K, 6) where the flag says end-to-end → the same shape
OutputFault = Callable[[Float32Array, bool], Float32Array]

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)
_CAFFE_MEAN = np.array([0.4824, 0.4588, 0.4078], np.float32).reshape(1, 3, 1, 1)  # RGB
_PADDING = np.float32(PAD_VALUE) / np.float32(255)
_HALF_A_LEVEL = 0.5 / 255


def swap_red_and_blue(batch: Float32Array) -> Float32Array:
    """OpenCV's channel order."""
    return batch[:, ::-1]


def limited_range(batch: Float32Array) -> Float32Array:
    """Video levels, 16 to 235, taken for full range."""
    return (batch * np.float32(219) + np.float32(16)) / np.float32(255)


def linear_light(batch: Float32Array) -> Float32Array:
    """A camera's linear values, without the gamma of sRGB."""
    return np.power(batch, np.float32(2.2))


def normalise_like_imagenet(batch: Float32Array) -> Float32Array:
    """Mean and deviation of classification networks."""
    return np.asarray((batch - _IMAGENET_MEAN) / _IMAGENET_STD, np.float32)


def subtract_mean(batch: Float32Array) -> Float32Array:
    """Caffe's mean colour taken off."""
    return batch - _CAFFE_MEAN


def leave_unscaled(batch: Float32Array) -> Float32Array:
    """0 to 255: the division is missing."""
    return batch * np.float32(255)


def scale_twice(batch: Float32Array) -> Float32Array:
    """The division is made outside the network and in it."""
    return batch / np.float32(255)


def shift_one_pixel(batch: Float32Array) -> Float32Array:
    """Resized around corners instead of centres of pixels, or cropped off by one."""
    return np.roll(batch, (1, 1), axis=(2, 3))


def mirror(batch: Float32Array) -> Float32Array:
    """Left and right exchanged."""
    return batch[..., ::-1]


def transpose(batch: Float32Array) -> Float32Array:
    """Height and width exchanged."""
    return batch.transpose(0, 1, 3, 2)


def pad_with_black(batch: Float32Array) -> Float32Array:
    """Letterboxed with 0 instead of 114."""
    changed = batch.copy()
    for image, (top, bottom, left, right) in zip(changed, map(_content, batch), strict=True):
        image[:, :top] = image[:, bottom:] = image[:, :, :left] = image[:, :, right:] = 0
    return changed


def letterbox_in_the_corner(batch: Float32Array) -> Float32Array:
    """Padded on the right and below only, as DeepStream does by default."""
    changed = np.full_like(batch, _PADDING)
    for image, source in zip(changed, batch, strict=True):
        top, bottom, left, right = _content(source)
        image[:, : bottom - top, : right - left] = source[:, top:bottom, left:right]
    return changed


def stretch(batch: Float32Array) -> Float32Array:
    """Resized to the square without keeping the aspect ratio."""
    changed = np.empty_like(batch)
    side = np.arange(batch.shape[2])
    for image, source in zip(changed, batch, strict=True):
        top, bottom, left, right = _content(source)
        rows = top + side * (bottom - top) // len(side)
        columns = left + side * (right - left) // len(side)
        image[:] = source[:, rows[:, None], columns[None]]
    return changed


def shift_half_a_pixel(output: Float32Array, end_to_end: bool) -> Float32Array:
    """Boxes decoded around other points than pixel centres."""
    changed = output.copy()
    if end_to_end:
        changed[:, :4] += np.float32(0.5)
    else:
        changed[:2] += np.float32(0.5)
    return changed


def swap_sides(output: Float32Array, end_to_end: bool) -> Float32Array:
    """Width and height exchanged."""
    changed = output.copy()
    if not end_to_end:
        changed[[2, 3]] = output[[3, 2]]
        return changed
    centre = (output[:, :2] + output[:, 2:4]) / 2
    half = (output[:, 2:4] - output[:, :2])[:, ::-1] / 2
    changed[:, :4] = np.concatenate([centre - half, centre + half], axis=1)
    return changed


INPUT_FAULTS: Mapping[str, InputFault] = {
    "red and blue exchanged": swap_red_and_blue,
    "video range instead of full range": limited_range,
    "linear light instead of sRGB": linear_light,
    "normalised like ImageNet": normalise_like_imagenet,
    "mean colour subtracted": subtract_mean,
    "division by 255 missing": leave_unscaled,
    "divided by 255 twice": scale_twice,
    "image off by one pixel": shift_one_pixel,
    "image mirrored": mirror,
    "height and width exchanged": transpose,
    "padded with black": pad_with_black,
    "letterbox not centred": letterbox_in_the_corner,
    "stretched instead of letterboxed": stretch,
}
OUTPUT_FAULTS: Mapping[str, OutputFault] = {
    "boxes off by half a pixel": shift_half_a_pixel,
    "box sides exchanged": swap_sides,
}


def _content(image: Float32Array) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what lies between the padding of a (3, S, S) letterbox."""
    inside = np.any(abs(image - _PADDING) > _HALF_A_LEVEL, axis=0)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return 0, image.shape[1], 0, image.shape[2]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
