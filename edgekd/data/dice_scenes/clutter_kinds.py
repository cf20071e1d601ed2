"""The kinds of clutter: outline and paint of each, in its own frame at its own scale.

One unit is the edge of a common die, 16 mm, so a coin has a radius of about 0.7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekd.data.dice_scenes.camera import FloatArray
from edgekd.data.dice_scenes.light import Rgb, linear
from edgekd.data.dice_scenes.noise import noise_tile, sample

Outline = Callable[[FloatArray, FloatArray], FloatArray]
Painted = tuple[FloatArray, FloatArray]
Paint = Callable[[FloatArray, FloatArray, FloatArray, np.random.Generator], Painted]


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Attributes:
        outline: signed distance ``(N,)`` of positions ``a``, ``b``; negative inside.
        paint: ``(a, b, lamp (2,), rng)`` to linear RGB ``(3, N)`` and the factor on the lamp's
            light ``(N,)``.
        radius: of a circle around it.
        thickness: its height above the tray.
        walkable: a die may stand on it.
    """

    outline: Outline
    paint: Paint
    radius: float
    thickness: float
    walkable: bool = False


def _disc(radius: float) -> Outline:
    return lambda a, b: np.sqrt(a * a + b * b) - np.float32(radius)


def _box(half_a: float, half_b: float, rounding: float) -> Outline:
    def outline(a: FloatArray, b: FloatArray) -> FloatArray:
        qa = np.abs(a) - np.float32(half_a - rounding)
        qb = np.abs(b) - np.float32(half_b - rounding)
        outside = np.sqrt(np.maximum(qa, 0) ** 2 + np.maximum(qb, 0) ** 2)
        distance: FloatArray = outside + np.minimum(np.maximum(qa, qb), 0) - np.float32(rounding)
        return distance

    return outline


def _one_of(rng: np.random.Generator, *colours: tuple[int, int, int]) -> Rgb:
    return linear(colours[int(rng.integers(len(colours)))])


def _flat(colour: Rgb, brightness: FloatArray) -> FloatArray:
    return np.stack([np.float32(c) * brightness for c in colour])


def _over(base: FloatArray, colour: Rgb, cover: FloatArray) -> FloatArray:
    return base + (np.array(colour, np.float32)[:, None] - base) * cover


def _step(x: FloatArray, width: float = 0.03) -> FloatArray:
    """0 below zero, 1 above it, with a soft edge."""
    soft: FloatArray = np.clip(x / np.float32(width) + 0.5, 0, 1)
    return soft


def _coin(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    metal = _one_of(rng, (176, 172, 166), (186, 146, 78), (166, 96, 60))
    radius = np.sqrt(a * a + b * b)
    shift = rng.uniform(0, 512, 2)
    tile = noise_tile("cloud")
    here = sample(tile, a * 36 + shift[0], b * 36 + shift[1])
    step = 1.5 * lamp / (np.hypot(*lamp) + 1e-3)
    toward = sample(tile, a * 36 + shift[0] + step[0], b * 36 + shift[1] + step[1])
    relief = (here - toward) * _step(0.52 - radius)
    rim = (radius - 0.62) * _step(radius - 0.56) * 9
    tilt = (a * lamp[0] + b * lamp[1]) / np.maximum(radius, 1e-3)
    # Brushed metal shines in two opposite wedges around the lamp's direction.
    sheen = 0.75 + 0.5 * np.abs(tilt) ** 3
    return _flat(metal, sheen), 1 + 2.4 * relief + rim * tilt


def _button(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    colour = _one_of(rng, (40, 60, 110), (120, 30, 36), (226, 220, 208), (36, 34, 34), (96, 70, 48))
    radius = np.sqrt(a * a + b * b)
    holes = np.hypot(np.abs(a) - np.float32(0.12), np.abs(b) - np.float32(0.12))
    hole = _step(0.07 - holes)
    tilt = (a * lamp[0] + b * lamp[1]) / np.maximum(radius, 1e-3)
    rim = np.where(radius > 0.4, 1.0, 0.0) * (radius - 0.46) * 7
    dish = -0.5 * radius * (radius < 0.4)
    return _flat(colour, 1 - 0.9 * hole), 1 + (rim + dish) * tilt


def _chip(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    colour = _one_of(rng, (160, 26, 32), (26, 60, 140), (22, 96, 58), (34, 34, 38), (196, 120, 30))
    radius, angle = np.sqrt(a * a + b * b), np.arctan2(b, a)
    blocks = _step(np.sin(angle * 8) - 0.25, 0.2) * _step(radius - 0.92)
    ring = _step(0.05 - np.abs(radius - 0.8))
    albedo = _over(_flat(colour, np.ones_like(a)), linear((232, 228, 218)), blocks)
    albedo = _over(albedo, linear((232, 228, 218)), 0.85 * ring)
    tilt = (a * lamp[0] + b * lamp[1]) / np.maximum(radius, 1e-3)
    return albedo, 1 + tilt * np.clip((radius - 1.12) * 6, 0, 0.6)


def _card(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    white = _flat(linear((232, 230, 224)), np.ones_like(a))
    if rng.random() < 0.5:
        ink = _one_of(rng, (150, 24, 34), (28, 52, 120), (30, 90, 70))
        lattice = np.sin((a + b) * 9) * np.sin((a - b) * 9)
        back = _step(-_box(1.7, 2.5, 0.12)(a, b))
        return _over(white, ink, back * (0.62 + 0.38 * _step(lattice, 0.5))), np.ones_like(a)
    ink = _one_of(rng, (178, 22, 28), (26, 26, 30))
    rows = int(rng.integers(1, 4))
    spots = np.zeros_like(a)
    for row in range(rows):
        for column in (-1, 1) if rng.random() < 0.6 else (0,):
            da = a - np.float32(0.8 * column)
            db = b - np.float32(1.5 * (row - (rows - 1) / 2))
            spots = np.maximum(spots, _step(0.36 - np.abs(da) * 1.25 - np.abs(db) * 0.95))
    index = _step(0.15 - np.hypot(np.abs(a + b * 0.0) - 1.65, np.abs(b) - 2.4))
    return _over(white, ink, np.maximum(spots, index)), np.ones_like(a) + 0 * lamp[0]


def _note(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    paper = _one_of(rng, (244, 226, 110), (240, 160, 180), (150, 214, 190), (236, 234, 228))
    albedo = _flat(paper, 0.97 + 0.03 * b)
    ink = _one_of(rng, (36, 44, 90), (40, 40, 44))
    for line in range(int(rng.integers(2, 6))):
        wave = 0.05 * np.sin(a * rng.uniform(20, 28)) + 0.03 * np.sin(a * 13 + rng.uniform(0, 6))
        wave = wave * np.clip(1.5 * np.sin(a * rng.uniform(4, 6) + line) + 0.5, 0, 1)
        end = rng.uniform(0.1, 1.3)
        stroke = _step(0.03 - np.abs(b - 1.1 + 0.48 * line - wave)) * _step(1.3 - np.abs(a))
        albedo = _over(albedo, ink, 0.8 * stroke * _step(end - a))
    return albedo, 1 + 0.1 * b * lamp[1]


def _pencil(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    paint = _one_of(rng, (226, 172, 32), (170, 26, 30), (30, 66, 140), (30, 100, 66), (36, 36, 40))
    facet = np.clip(np.rint(b / 0.13), -1, 1)
    albedo = _flat(paint, np.ones_like(a))
    wood = _step(a - 3.6 + 0.12 * np.cos(b * 22))
    albedo = _over(albedo, linear((214, 172, 122)), wood)
    albedo = _over(albedo, linear((48, 46, 48)), _step(a - 4.35))
    albedo = _over(albedo, linear((190, 188, 182)), _step(-a - 3.9))
    albedo = _over(albedo, linear((206, 110, 110)), _step(-a - 4.25))
    round_end = np.where((a > 3.6) | (a < -3.9), b / 0.2, facet)
    return albedo, 1 + 0.75 * round_end * lamp[1]


def _pencil_outline(a: FloatArray, b: FloatArray) -> FloatArray:
    taper = np.clip((a - 3.6) / 1.1, 0, 1)
    half = np.float32(0.22) * (1 - 0.95 * taper)
    distance: FloatArray = np.maximum(np.abs(b) - half, np.abs(a) - np.float32(4.6))
    return distance


def _cable_outline(a: FloatArray, b: FloatArray) -> FloatArray:
    curve = 0.9 * np.sin(a * 0.55) + 0.25 * np.sin(a * 1.3 + 1)
    slope = 0.5 * np.cos(a * 0.55) + 0.33 * np.cos(a * 1.3 + 1)
    distance: FloatArray = np.abs(b - curve) / np.sqrt(1 + slope * slope) - np.float32(0.15)
    return distance


def _cable(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    colour = _one_of(rng, (30, 30, 33), (222, 220, 214), (150, 28, 30), (60, 64, 72))
    curve = 0.9 * np.sin(a * 0.55) + 0.25 * np.sin(a * 1.3 + 1)
    across = np.clip((b - curve) / 0.15, -1, 1)
    shine = np.clip(1 - np.abs(across - 0.35 * np.sign(lamp[1])) * 4, 0, 1)
    return _flat(colour, 1 + 0.9 * shine), 1 + 0.8 * across * lamp[1] - 0.25 * across**2


def _clip_outline(a: FloatArray, b: FloatArray) -> FloatArray:
    outer = np.abs(_box(1.0, 0.32, 0.31)(a, b))
    inner = np.abs(_box(0.72, 0.2, 0.19)(a - np.float32(0.12), b))
    distance: FloatArray = np.minimum(outer, inner) - np.float32(0.05)
    return distance


def _clip(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    colour = _one_of(rng, (186, 186, 190), (190, 40, 44), (44, 90, 170), (206, 160, 60))
    across = np.clip(_clip_outline(a, b) / 0.05 + 1, 0, 1)
    return _flat(colour, 1.25 - 0.7 * across), 1 + 0.2 * lamp[0] * np.sign(a) * across


def _match(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    albedo = _flat(linear((222, 190, 140)), 1 + 0.1 * np.sin(b * 70 + rng.uniform(0, 6)))
    head = _one_of(rng, (150, 26, 26), (70, 36, 30), (40, 90, 60))
    return _over(albedo, head, _step(a - 1.15)), 1 + 0.6 * np.clip(b / 0.1, -1, 1) * lamp[1]


def _eraser(a: FloatArray, b: FloatArray, lamp: FloatArray, rng: np.random.Generator) -> Painted:
    sleeve = _one_of(rng, (34, 70, 150), (30, 110, 80), (150, 36, 44), (40, 42, 48))
    albedo = _flat(linear((230, 228, 224)), np.ones_like(a))
    albedo = _over(albedo, sleeve, _step(0.5 - a))
    albedo = _over(albedo, linear((226, 224, 216)), _step(0.12 - np.abs(b)) * _step(0.2 - a))
    edge = np.clip((np.abs(b) - 0.52) * 9, 0, 1) * np.sign(b)
    return albedo, 1 + 0.6 * edge * lamp[1]


KINDS: dict[str, Kind] = {
    "button": Kind(_disc(0.52), _button, 0.55, 0.12),
    "cable": Kind(_cable_outline, _cable, 7.0, 0.26),
    "card": Kind(_box(1.95, 2.75, 0.2), _card, 3.4, 0.02, walkable=True),
    "chip": Kind(_disc(1.2), _chip, 1.25, 0.16),
    "coin": Kind(_disc(0.7), _coin, 0.75, 0.1),
    "eraser": Kind(_box(1.3, 0.62, 0.1), _eraser, 1.5, 0.4),
    "match": Kind(_box(1.4, 0.1, 0.05), _match, 1.45, 0.12),
    "note": Kind(_box(1.6, 1.6, 0.02), _note, 2.3, 0.03, walkable=True),
    "paper clip": Kind(_clip_outline, _clip, 1.1, 0.06),
    "pencil": Kind(_pencil_outline, _pencil, 4.8, 0.35),
}
