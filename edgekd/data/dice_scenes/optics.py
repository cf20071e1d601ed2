"""From light to picture: exposure, tone curve, lens, shutter and sensor.

The order is that of a camera: vignette and exposure act on light, blur on the image that the lens
forms, noise on what the sensor reads. Only the tone curve is moved before the blur, so that the
blur can run on bytes, where it is fast.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from edgekd.data.dice_scenes.camera import FloatArray
from edgekd.data.dice_scenes.scene import Optics

Picture = npt.NDArray[np.uint8]
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
_MID_GREY = 0.23
# Adaptation of the meter: a camera brings dark and bright scenes together, not to the same grey.
_ADAPTATION = 0.65
_CURVE_SIZE = 4096
_CURVE_END = 8.0
_BANK_SIZE = 1 << 19


def develop(radiance: FloatArray, optics: Optics, rng: np.random.Generator) -> Picture:
    """Turn linear radiance ``(3, H, W)`` into an sRGB picture ``(H, W, 3)`` of bytes."""
    size = radiance.shape[-1]
    luma = _LUMA[0] * radiance[0] + _LUMA[1] * radiance[1] + _LUMA[2] * radiance[2]
    # The geometric mean, so that a highlight or a black die does not fool the meter.
    metered = float(np.exp(np.log(luma[::4, ::4] + 1e-3).mean()))
    gain = (_MID_GREY / metered) ** _ADAPTATION * 2**optics.exposure
    light = radiance * (np.float32(gain) * _vignette(size, optics.vignette))
    if optics.saturation != 1:
        grey = luma * light[1] / np.maximum(radiance[1], 1e-6)
        light = np.maximum(grey + (light - grey) * np.float32(optics.saturation), 0)
    picture = np.ascontiguousarray(np.moveaxis(_tone(light, optics.contrast), 0, 2))
    return _sensor_noise(_shutter(_lens(picture, optics), optics), optics, rng)


def _vignette(size: int, strength: float) -> FloatArray:
    """``(H, W)`` fall-off toward the corners."""
    axis = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    squared = (axis[:, None] + axis[None]) / 2
    falloff: FloatArray = 1 - np.float32(strength) * squared * (0.4 + 0.6 * squared)
    return falloff


def _tone(light: FloatArray, contrast: float) -> Picture:
    """A filmic curve with a soft shoulder, then sRGB gamma, through a table."""
    x = np.linspace(0, _CURVE_END**0.5, _CURVE_SIZE) ** 2  # denser in the shadows
    mapped = x * (1 + x / 6.0) / (1 + 0.75 * x)
    bent = np.clip(mapped, 0, 1) ** (1 / 2.2)
    bent = 0.5 + (bent - 0.5) * contrast
    table = np.clip(np.rint(255 * bent), 0, 255).astype(np.uint8)
    scale = np.float32((_CURVE_SIZE - 1) / _CURVE_END**0.5)
    index = (np.sqrt(np.minimum(light, _CURVE_END)) * scale).astype(np.int32)
    picture: Picture = table[index]
    return picture


def _lens(picture: Picture, optics: Optics) -> Picture:
    """Blur of the lens, stronger toward the near and far edge where the scene is out of focus."""
    size = picture.shape[0]
    image = Image.fromarray(picture)
    # Boxes of the same deviation: under a pixel they are as good as a Gaussian and much faster,
    # and far out of focus a lens gives a spot with an edge anyway.
    if optics.blur > 0:
        image = image.filter(ImageFilter.BoxBlur(_box_radius(optics.blur * size)))
    if optics.defocus > 0:
        soft = image.filter(ImageFilter.BoxBlur(_box_radius(optics.defocus * size)))
        rows = np.abs(np.linspace(-1, 1, size, dtype=np.float32)) ** 1.5
        share = np.broadcast_to((255 * rows).astype(np.uint8)[:, None], (size, size))
        image = Image.composite(soft, image, Image.fromarray(np.ascontiguousarray(share)))
    return np.asarray(image)


def _box_radius(deviation: float) -> float:
    """Radius of the box, ``2 r + 1`` pixels wide, whose standard deviation is ``deviation``."""
    return (math.sqrt(12 * deviation**2 + 1) - 1) / 2


def _shutter(picture: Picture, optics: Optics) -> Picture:
    """Trail of a moving camera: the mean of copies shifted along a line."""
    reach = optics.motion * picture.shape[0] / 2
    if reach < 0.5:
        return picture
    steps = np.linspace(-reach, reach, 2 * int(np.ceil(reach)) + 1)
    shifts = {
        (round(s * np.sin(optics.motion_angle)), round(s * np.cos(optics.motion_angle)))
        for s in steps
    }
    pad = int(np.ceil(reach)) + 1
    wide = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    height, width = picture.shape[:2]
    total = np.zeros(picture.shape, np.float32)
    for dy, dx in sorted(shifts):
        total += wide[pad + dy : pad + dy + height, pad + dx : pad + dx + width]
    return (total / len(shifts) + 0.5).astype(np.uint8)


@cache
def _grain_bank() -> FloatArray:
    """``(N, 3)`` normal deviates, mostly shared by the channels, drawn once a process.

    Pictures take their grain from different places in it: fresh deviates would cost a third of a
    picture's time.
    """
    rng = np.random.default_rng(11)
    shared = rng.standard_normal((_BANK_SIZE, 1), dtype=np.float32)
    own = rng.standard_normal((_BANK_SIZE, 3), dtype=np.float32)
    bank: FloatArray = 0.8 * shared + 0.6 * own
    return bank


def _sensor_noise(picture: Picture, optics: Optics, rng: np.random.Generator) -> Picture:
    """Grain that is strongest in the mid-tones."""
    if optics.noise <= 0:
        return picture
    start = int(rng.integers(_BANK_SIZE // 2))
    grain = np.resize(_grain_bank()[start:], picture.shape)
    levels = np.arange(256, dtype=np.float32) / 255
    table = (255 * optics.noise * (0.45 + 0.8 * np.sqrt(levels * (1 - levels)))).astype(np.float32)
    noisy = picture + table[picture] * grain
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
