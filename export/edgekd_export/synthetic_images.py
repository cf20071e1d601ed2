"""Pictures drawn from a seed, for a parity check where the user has given no images.

Noise or zeros would hardly excite a detector, so these have what photographs have: shading, edges,
occlusion, texture, and several aspect ratios so that the letterbox takes part. They say nothing
about accuracy, and a report based on them says that it is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

_SHAPES = ((480, 640), (640, 480), (512, 512), (360, 640))  # height, width


def synthetic_image(index: int) -> UInt8Array:
    """Picture ``index`` of an endless, always equal series: (H, W, 3) uint8 RGB."""
    random = np.random.default_rng([20_240_917, index])
    height, width = _SHAPES[index % len(_SHAPES)]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    canvas = _shading(random, rows / height, columns / width)
    for _ in range(random.integers(6, 16)):
        inside = _outline(random, rows, columns)
        canvas[inside] = _surface(random, rows[inside], columns[inside])
    canvas += random.normal(0, random.uniform(1, 6), canvas.shape).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _shading(random: np.random.Generator, y: Float32Array, x: Float32Array) -> Float32Array:
    """A smooth background between four corner colours: (H, W) twice → (H, W, 3)."""
    corners = random.uniform(20, 235, (4, 3)).astype(np.float32)
    weights = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], axis=-1)
    shaded: Float32Array = weights @ corners
    return shaded


def _outline(
    random: np.random.Generator, rows: Float32Array, columns: Float32Array
) -> npt.NDArray[np.bool_]:
    """Where a rotated rectangle or ellipse lies: (H, W) bool."""
    height, width = rows.shape
    y, x = rows - random.uniform(0, height), columns - random.uniform(0, width)
    angle = random.uniform(0, np.pi)
    u = (x * np.cos(angle) + y * np.sin(angle)) / random.uniform(0.03, 0.25) / width
    v = (y * np.cos(angle) - x * np.sin(angle)) / random.uniform(0.03, 0.25) / height
    round_one = random.random() < 0.5
    return np.asarray(u**2 + v**2 < 1 if round_one else np.maximum(abs(u), abs(v)) < 1)


def _surface(
    random: np.random.Generator, rows: Float32Array, columns: Float32Array
) -> Float32Array:
    """A colour with stripes on it: (N,) twice → (N, 3)."""
    colour, other = random.uniform(0, 255, (2, 3)).astype(np.float32)
    wave = np.sin(rows * random.uniform(0, 0.6) + columns * random.uniform(0, 0.6))
    mix = (0.5 + 0.5 * np.sign(wave) * random.choice([0.0, 1.0]))[:, None]
    striped: Float32Array = (mix * colour + (1 - mix) * other).astype(np.float32)
    return striped
