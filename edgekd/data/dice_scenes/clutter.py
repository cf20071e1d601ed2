"""Things that lie about on the tray, so that a detector cannot take every object for a die.

Each is a thin object painted on the tray: a signed distance for its outline (from which come its
edge, its shadow and the test that no die stands in it) and a paint function for its face. They are
evaluated only at the pixels near them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekd.data.dice_scenes.camera import Camera, FloatArray, IntArray
from edgekd.data.dice_scenes.clutter_kinds import KINDS, Kind
from edgekd.data.dice_scenes.die import Die
from edgekd.data.dice_scenes.light import Light

_TRIES = 8


@dataclass(frozen=True)
class Clutter:
    """One thing on the tray: its kind, position, yaw in radians, scale and seed of its paint."""

    kind: str
    x: float
    y: float
    yaw: float
    scale: float
    seed: int

    def to_local(self, u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Tray positions in the thing's own frame and scale."""
        c, s = np.float32(np.cos(self.yaw) / self.scale), np.float32(np.sin(self.yaw) / self.scale)
        du, dv = u - np.float32(self.x), v - np.float32(self.y)
        return c * du + s * dv, c * dv - s * du


@dataclass(frozen=True)
class Ground:
    """The tray as the camera sees it, before light: arrays over the image, changed in place.

    Attributes:
        u, v: ``(H, W)`` tray position of each pixel.
        albedo: ``(3, H, W)`` linear RGB.
        relief: ``(H, W)`` factor on the lamp.
        occlusion: ``(H, W)`` factor on the ambient light.
    """

    u: FloatArray
    v: FloatArray
    albedo: FloatArray
    relief: FloatArray
    occlusion: FloatArray


def draw_clutter(
    rng: np.random.Generator, camera: Camera, dice: tuple[Die, ...]
) -> tuple[Clutter, ...]:
    """Draw 0 to 6 things that no die stands in, the flat ones first."""
    things: list[Clutter] = []
    for _ in range(int(rng.choice(7, p=[0.22, 0.18, 0.2, 0.16, 0.12, 0.07, 0.05]))):
        kind = sorted(KINDS)[int(rng.integers(len(KINDS)))]
        for _ in range(_TRIES):
            x, y = camera.to_plane(rng.uniform(-0.05, 1.05, (1, 2)), image_size=1)[0]
            thing = Clutter(
                kind,
                float(x),
                float(y),
                float(rng.uniform(0, 2 * np.pi)),
                float(rng.uniform(0.8, 1.2)),
                int(rng.integers(2**32)),
            )
            if _clear_of(thing, dice):
                things.append(thing)
                break
    return tuple(sorted(things, key=lambda thing: KINDS[thing.kind].thickness))


def _clear_of(thing: Clutter, dice: tuple[Die, ...]) -> bool:
    """Whether no die stands in ``thing``; dice may stand on cards and notes."""
    kind = KINDS[thing.kind]
    if kind.walkable or not dice:
        return True
    u, v = (np.array([die.centre[i] for die in dice], np.float32) for i in range(2))
    reach = np.array([1.5 * die.half for die in dice])
    return bool((kind.outline(*thing.to_local(u, v)) * thing.scale > reach).all())


def lay_clutter(ground: Ground, thing: Clutter, light: Light, texel: float) -> None:
    """Paint ``thing`` and its shadow onto ``ground``.

    Args:
        ground: changed in place.
        thing: what to paint.
        light: for the shadow and the relief.
        texel: size of a pixel on the tray, world units; width of the painted edge.
    """
    kind = KINDS[thing.kind]
    reach = (kind.radius + 3 * kind.thickness + 0.3) * thing.scale
    du, dv = ground.u - np.float32(thing.x), ground.v - np.float32(thing.y)
    near = np.flatnonzero(du * du + dv * dv < reach * reach)
    if near.size == 0:
        return
    u, v = ground.u.ravel()[near], ground.v.ravel()[near]
    a, b = thing.to_local(u, v)
    distance = kind.outline(a, b) * np.float32(thing.scale)
    _cast_shadow(ground, near, kind, thing, light, distance)
    cover = np.clip(0.5 - distance / np.float32(texel), 0, 1)
    painted = np.flatnonzero(cover > 0)
    near, cover = near[painted], cover[painted]
    c, s = np.cos(thing.yaw), np.sin(thing.yaw)
    lx, ly = light.direction[:2] / light.direction[2]
    lamp = np.array([c * lx + s * ly, c * ly - s * lx], np.float32)
    rng = np.random.default_rng(thing.seed)
    albedo, relief = kind.paint(a[painted], b[painted], lamp, rng)
    for channel, colour in zip(ground.albedo.reshape(3, -1), albedo, strict=True):
        channel[near] += (colour - channel[near]) * cover
    flat = ground.relief.reshape(-1)
    flat[near] += (np.clip(relief, 0.15, 2.5) - flat[near]) * cover


def _cast_shadow(
    ground: Ground,
    near: IntArray,
    kind: Kind,
    thing: Clutter,
    light: Light,
    distance: FloatArray,
) -> None:
    """Darken the tray around ``thing``; what lies under the thing itself is painted over later."""
    height = kind.thickness * thing.scale
    lx, ly = (light.direction[:2] / light.direction[2] * height).astype(np.float32)
    u, v = ground.u.ravel()[near], ground.v.ravel()[near]
    width = np.float32(0.015 + light.softness * height)
    shifted = kind.outline(*thing.to_local(u + lx, v + ly)) * np.float32(thing.scale)
    blocked = np.clip(0.5 - shifted / (2 * width), 0, 1)
    blocked = np.maximum(blocked, np.clip(0.5 - (distance - 0.01) / 0.03, 0, 1))
    ground.relief.reshape(-1)[near] *= 1 - 0.85 * blocked
    contact = np.exp(-np.maximum(distance, 0) / np.float32(0.03 + height))
    ground.occlusion.reshape(-1)[near] *= 1 - min(0.6, 3 * height) * contact
