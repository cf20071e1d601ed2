"""What the dice lie on: procedural materials, evaluated where each pixel's ray meets the tray.

A texture is a function of tray position, so it stays in true perspective and never tiles visibly.
Relief is the lit slope of the material's height:
the difference of the height here and a little way toward the lamp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekd.data.dice_scenes.camera import FloatArray
from edgekd.data.dice_scenes.light import Rgb, linear
from edgekd.data.dice_scenes.noise import TILE_SIZE, noise_tile, sample


@dataclass(frozen=True)
class Surface:
    """A patch of tray.

    Attributes:
        albedo: ``(3, ...)`` linear RGB.
        relief: ``(...)`` factor on the lamp's light, around 1.
        gloss: 0 matt to 1 polished.
    """

    albedo: FloatArray
    relief: FloatArray
    gloss: float


@dataclass(frozen=True)
class Tray:
    """Where to evaluate a texture: tray positions and the direction ``(2,)`` toward the lamp."""

    u: FloatArray
    v: FloatArray
    lamp: FloatArray
    rng: np.random.Generator


def _noise(tray: Tray, kind: str, scale: float) -> FloatArray:
    """Noise at ``scale`` texels a unit."""
    return sample(noise_tile(kind), *_texels(tray, scale))


def _relief(tray: Tray, kind: str, scale: float) -> tuple[FloatArray, FloatArray]:
    """Noise at ``scale`` texels a unit, and its slope toward the lamp."""
    u, v = _texels(tray, scale)
    tile, lamp = noise_tile(kind), tray.lamp.astype(np.float32) * np.float32(1.2)
    here = sample(tile, u, v)
    return here, here - sample(tile, u + lamp[0], v + lamp[1])


def _texels(tray: Tray, scale: float) -> tuple[FloatArray, FloatArray]:
    """The tray's positions in texels of a tile, from a random place in it on."""
    shift, factor = tray.rng.uniform(0, TILE_SIZE, 2).astype(np.float32), np.float32(scale)
    return tray.u * factor + shift[0], tray.v * factor + shift[1]


def _tinted(colour: Rgb, strength: FloatArray) -> FloatArray:
    """``(3, ...)``: ``colour`` times a brightness field."""
    return np.stack([np.float32(c) * strength for c in colour])


def _mix(a: Rgb, b: Rgb, share: FloatArray) -> FloatArray:
    return np.stack([np.float32(p) + np.float32(q - p) * share for p, q in zip(a, b, strict=True)])


def _pick(rng: np.random.Generator, *colours: tuple[int, int, int]) -> Rgb:
    """One of the colours in linear light, its brightness and hue moved a little."""
    chosen = np.array(linear(colours[int(rng.integers(len(colours)))]))
    r, g, b = np.clip(chosen * np.exp(rng.normal(0, 0.16) + rng.normal(0, 0.06, 3)), 0.005, 0.9)
    return float(r), float(g), float(b)


def _felt(tray: Tray) -> Surface:
    colour = _pick(tray.rng, (28, 92, 58), (122, 24, 34), (30, 48, 96), (70, 70, 74), (64, 34, 84))
    fine, slope = _relief(tray, "grain", 46)
    cloud = _noise(tray, "cloud", 22)
    return Surface(_tinted(colour, 1 + 0.12 * fine + 0.05 * cloud), 1 + 0.12 * slope, 0.0)


def _wood(tray: Tray) -> Surface:
    light = _pick(tray.rng, (196, 150, 98), (150, 98, 58), (104, 66, 42), (214, 182, 138))
    dark = tuple(float(c * tray.rng.uniform(0.35, 0.6)) for c in light)
    plank = np.float32(tray.rng.uniform(2.2, 5.0))
    index = np.floor(tray.v / plank)
    lean = np.sin(index * 12.9898) * 43.7
    shifted = Tray(tray.u + lean, tray.v + lean * 1.7, tray.lamp, tray.rng)
    streak, slope = _relief(shifted, "streak", 30)
    slow = _noise(shifted, "streak", 7)
    rings = 0.5 + 0.5 * np.sin(9 * slow + 3 * streak)
    seam = np.abs(tray.v / plank - index - 0.5) * plank
    joint = np.clip((seam - plank / 2 + 0.05) / 0.03, 0, 1)
    albedo = _mix(light, (dark[0], dark[1], dark[2]), 0.42 * rings + 0.1 * np.sin(lean * 3.1))
    albedo = albedo * (1 + 0.07 * streak) * (1 - 0.6 * joint)
    return Surface(albedo, 1 + 0.04 * slope, float(tray.rng.uniform(0.1, 0.7)))


def _leather(tray: Tray) -> Surface:
    colour = _pick(
        tray.rng, (96, 58, 36), (40, 34, 32), (130, 34, 30), (34, 52, 66), (158, 118, 82)
    )
    cells, slope = _relief(tray, "cells", float(tray.rng.uniform(70, 130)))
    cloud = _noise(tray, "cloud", 16)
    crease = np.clip(cells * 2.2, 0, 1)
    albedo = _tinted(colour, (0.55 + 0.45 * crease) * (1 + 0.07 * cloud))
    return Surface(albedo, 1 + 0.9 * np.clip(slope, -0.3, 0.3), float(tray.rng.uniform(0.2, 0.5)))


def _paper(tray: Tray) -> Surface:
    colour = _pick(tray.rng, (226, 224, 218), (214, 206, 186), (206, 212, 218), (188, 164, 128))
    fine, slope = _relief(tray, "grain", 60)
    cloud = _noise(tray, "cloud", 12)
    albedo = _tinted(colour, 1 + 0.012 * fine + 0.02 * cloud)
    if tray.rng.random() < 0.55:
        pitch = np.float32(tray.rng.uniform(0.32, 0.6))
        ruled = [tray.v] if tray.rng.random() < 0.4 else [tray.u, tray.v]
        ink = _pick(tray.rng, (120, 150, 190), (150, 150, 150), (170, 120, 120))
        for axis in ruled:
            off = np.abs(axis / pitch - np.rint(axis / pitch)) * pitch
            line = 0.7 * np.clip((0.03 - off) / 0.02, 0, 1)
            albedo = albedo * (1 - line) + np.array(ink, np.float32)[:, None, None] * line
    return Surface(albedo, 1 + 0.05 * slope, 0.05)


def _plastic(tray: Tray) -> Surface:
    colour = _pick(
        tray.rng, (206, 204, 202), (90, 92, 96), (40, 42, 46), (176, 190, 196), (60, 84, 92)
    )
    fine, slope = _relief(tray, "grain", 36)
    cloud = _noise(tray, "cloud", 9)
    albedo = _tinted(colour, 1 + 0.015 * fine + 0.03 * cloud)
    return Surface(albedo, 1 + 0.03 * slope, float(tray.rng.uniform(0.2, 0.9)))


def _gingham(tray: Tray) -> Surface:
    """Checked fabric: two sets of stripes that darken each other where they cross, woven."""
    light = _pick(tray.rng, (224, 220, 212), (206, 198, 180))
    dark = _pick(tray.rng, (150, 28, 34), (32, 60, 118), (34, 92, 64), (60, 58, 62), (176, 120, 40))
    pitch = np.float32(tray.rng.uniform(0.55, 1.3))
    fine, slope = _relief(tray, "grain", 60)
    stripes = []
    for axis in (tray.u, tray.v):
        wave = np.sin(axis * (np.float32(np.pi) / pitch)) + 0.03 * fine
        stripes.append(np.clip(wave * 12 + 0.5, 0, 1))
    thread = np.float32(2 * np.pi * 11)
    weave = np.sin(tray.u * thread) * np.sin(tray.v * thread)
    share = 0.5 * (stripes[0] + stripes[1]) + 0.04 * weave
    albedo = _mix(light, dark, 0.92 * share) * (1 + 0.05 * fine)
    return Surface(albedo, 1 + 0.07 * slope + 0.06 * weave, 0.0)


def _linen(tray: Tray) -> Surface:
    colour = _pick(tray.rng, (168, 156, 134), (96, 104, 110), (52, 60, 80), (140, 96, 80))
    warp, slope_a = _relief(tray, "streak", 58)
    turned = Tray(tray.v, tray.u, tray.lamp[::-1], tray.rng)
    weft, slope_b = _relief(turned, "streak", 58)
    cloud = _noise(tray, "cloud", 14)
    albedo = _tinted(colour, 1 + 0.08 * warp + 0.08 * weft + 0.04 * cloud)
    return Surface(albedo, 1 + 0.07 * (slope_a + slope_b), 0.0)


def _stone(tray: Tray) -> Surface:
    base = _pick(tray.rng, (196, 194, 190), (88, 88, 92), (44, 46, 50), (162, 146, 128))
    vein = _pick(tray.rng, (232, 230, 226), (60, 58, 58), (120, 96, 74))
    swell = _noise(tray, "swell", float(tray.rng.uniform(24, 44)))
    other = _noise(tray, "cloud", 34)
    fine, slope = _relief(tray, "grain", 50)
    ridge = np.clip(1 - np.abs(swell + 0.06 * other) * 7, 0, 1) ** 2
    albedo = _mix(base, vein, 0.45 * ridge) * (1 + 0.09 * other + 0.05 * fine)
    return Surface(albedo, 1 + 0.02 * slope, float(tray.rng.uniform(0.3, 1.0)))


def _cork(tray: Tray) -> Surface:
    base = _pick(tray.rng, (188, 144, 96), (170, 120, 76))
    cells, slope = _relief(tray, "cells", 95)
    specks = _noise(tray, "grain", 15)
    fine = _noise(tray, "grain", 60)
    dark = np.clip(specks * 1.2 - 1.5, 0, 1)
    albedo = _tinted(base, (0.78 + 0.26 * np.clip(cells, 0, 0.9)) * (1 + 0.07 * fine))
    return Surface(albedo * (1 - 0.55 * dark), 1 + 0.35 * slope, 0.0)


TEXTURES: dict[str, Callable[[Tray], Surface]] = {
    "cork": _cork,
    "felt": _felt,
    "gingham": _gingham,
    "leather": _leather,
    "linen": _linen,
    "paper": _paper,
    "plastic": _plastic,
    "stone": _stone,
    "wood": _wood,
}
