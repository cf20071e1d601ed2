"""Seamless noise that every procedural surface is made of.

A few tiles are made once a process from fixed seeds; scenes differ in where, how and how large they
look them up. That is what makes a textured picture cost milliseconds.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from edgekd.data.dice_scenes.camera import FloatArray

TILE_SIZE = 512


@cache
def noise_tile(kind: str) -> FloatArray:
    """A seamless ``(512, 512)`` noise of zero mean and unit deviation.

    Kinds: ``grain`` (fine), ``cloud`` (all scales), ``swell``
    (large and smooth), ``streak`` (drawn out along the second axis),
    ``cells`` (distance to the border of irregular cells, in 0 to 1).
    """
    rng = np.random.default_rng([7, *kind.encode()])
    if kind == "cells":
        return _cells(rng)
    spectrum = np.fft.rfft2(rng.standard_normal((TILE_SIZE, TILE_SIZE)))
    y = np.fft.fftfreq(TILE_SIZE)[:, None] * TILE_SIZE
    x = np.fft.rfftfreq(TILE_SIZE)[None] * TILE_SIZE
    if kind == "streak":
        x = x * 14
    radius = np.hypot(x, y)
    radius[0, 0] = np.inf
    shape = {"grain": radius**-0.25 * np.exp(-((radius / 200) ** 2)), "cloud": radius**-1.4}
    shape["swell"] = radius**-2.4
    filtered = spectrum * shape.get(kind, radius**-1.0)
    tile = np.fft.irfft2(filtered, s=(TILE_SIZE, TILE_SIZE))
    return np.ascontiguousarray(tile / tile.std(), dtype=np.float32)


def _cells(rng: np.random.Generator, count: int = 34) -> FloatArray:
    """Cellular noise: one jittered point in each cell of a grid, on a torus."""
    side = TILE_SIZE / count
    jitter = rng.uniform(0.1, 0.9, (count, count, 2))
    grid = (np.arange(TILE_SIZE) + 0.5) / side
    y, x = np.meshgrid(grid, grid, indexing="ij")
    nearest = np.full((2, TILE_SIZE, TILE_SIZE), np.inf)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cy, cx = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
            point = jitter[cy % count, cx % count]
            distance = np.hypot(cy + point[..., 0] - y, cx + point[..., 1] - x)
            first = np.minimum(nearest[0], distance)
            nearest[1] = np.minimum(nearest[1], np.maximum(nearest[0], distance))
            nearest[0] = first
    cells: FloatArray = np.clip((nearest[1] - nearest[0]) / 0.5, 0, 1).astype(np.float32)
    return cells


def sample(tile: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray:
    """Bilinear lookup in a seamless tile; ``u``, ``v`` in texels."""
    fu, fv = np.floor(u), np.floor(v)
    au, av = u - fu, v - fv
    mask = np.int32(TILE_SIZE - 1)
    i0, j0 = fu.astype(np.int32) & mask, (fv.astype(np.int32) & mask) * np.int32(TILE_SIZE)
    i1, j1 = (i0 + 1) & mask, (j0 + TILE_SIZE) & np.int32(TILE_SIZE * TILE_SIZE - 1)
    flat = tile.ravel()
    near = flat.take(j0 + i0)
    near += (flat.take(j0 + i1) - near) * au
    far = flat.take(j1 + i0)
    far += (flat.take(j1 + i1) - far) * au
    near += (far - near) * av
    found: FloatArray = near
    return found
