"""The dice, lamps and finishes that scenes draw from: data and the draws from it, no rendering.

Colours are given as 8-bit sRGB, as one would pick them from a photograph, and leave as linear RGB.
"""

from __future__ import annotations

import numpy as np

from edgekd.data.dice_scenes.die import Material
from edgekd.data.dice_scenes.light import Light, Rgb, linear, temperature_tint

Byte3 = tuple[int, int, int]
_WHITE: Byte3 = (238, 236, 228)
_BLACK: Byte3 = (18, 18, 20)
_GOLD: Byte3 = (222, 178, 72)
# Body, pips, drawn with equal chance; every pair is readable in grey as well as in colour.
_PLAIN: list[tuple[Byte3, Byte3]] = [
    ((236, 235, 230), _BLACK),
    ((228, 218, 190), (40, 28, 22)),
    ((232, 226, 210), (150, 20, 24)),
    ((240, 240, 238), (24, 44, 120)),
    ((178, 22, 30), _WHITE),
    ((22, 62, 150), _WHITE),
    ((16, 112, 62), _WHITE),
    ((28, 28, 31), _WHITE),
    ((30, 28, 32), (214, 60, 52)),
    ((226, 182, 30), _BLACK),
    ((216, 98, 26), (26, 20, 18)),
    ((92, 34, 122), _WHITE),
    ((34, 132, 150), _WHITE),
    ((222, 120, 150), (60, 18, 40)),
    ((92, 62, 42), _GOLD),
    ((128, 132, 136), _BLACK),
]
_CLEAR: list[tuple[Byte3, Byte3]] = [
    ((214, 22, 34), _WHITE),
    ((24, 74, 196), _WHITE),
    ((22, 146, 66), _WHITE),
    ((122, 40, 160), _WHITE),
    ((232, 150, 24), (30, 18, 12)),
    ((196, 222, 226), _BLACK),
    ((70, 72, 78), _WHITE),
]
_MARBLED: list[tuple[Byte3, Byte3, Byte3]] = [
    ((24, 70, 142), (22, 140, 96), _GOLD),
    ((128, 16, 26), (36, 16, 20), _WHITE),
    ((70, 28, 108), (150, 70, 160), _GOLD),
    ((206, 204, 196), (150, 150, 156), _BLACK),
    ((20, 78, 70), (14, 34, 52), _GOLD),
    ((150, 112, 62), (92, 60, 32), _BLACK),
    ((40, 40, 46), (90, 92, 100), _WHITE),
]


def _vary(colour: Byte3, rng: np.random.Generator, amount: float = 0.12) -> Rgb:
    """``colour`` in linear light, with its brightness and hue moved a little."""
    shift = np.exp(rng.normal(0, amount) + rng.normal(0, amount / 2, 3))
    r, g, b = np.clip(np.array(linear(colour)) * shift, 0.004, 0.92)
    return float(r), float(g), float(b)


def draw_material(rng: np.random.Generator) -> Material:
    """A plastic: plain (about 60 %), clear or marbled."""
    kind = rng.choice(3, p=[0.58, 0.22, 0.2])
    gloss = float(rng.uniform(0.25, 1.0))
    if kind == 0:
        body, pip = _PLAIN[rng.integers(len(_PLAIN))]
        plain = _vary(body, rng)
        return Material(plain, plain, linear(pip), 0.0, gloss)
    if kind == 1:
        body, pip = _CLEAR[rng.integers(len(_CLEAR))]
        clear = _vary(body, rng)
        return Material(clear, clear, linear(pip), float(rng.uniform(0.45, 0.95)), gloss)
    body, swirl, pip = _MARBLED[rng.integers(len(_MARBLED))]
    return Material(_vary(body, rng), _vary(swirl, rng), linear(pip), 0.0, gloss)


def draw_light(rng: np.random.Generator, view_width: float) -> Light:
    """A lamp between low evening sun and a bright ceiling, warm to cool, hard to soft.

    Args:
        rng: source of the draw.
        view_width: width of the visible tray, world units; scales how the lamp falls off.
    """
    elevation = np.radians(rng.uniform(34, 78))
    azimuth = rng.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    direction = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    tint = temperature_tint(float(np.exp(rng.uniform(np.log(3200), np.log(7500)))))
    sky = temperature_tint(float(np.exp(rng.uniform(np.log(4200), np.log(8000)))))
    share = rng.uniform(0.35, 0.8)  # of the light on the tray that comes from the lamp
    strength = share / np.sin(elevation)
    hot_spot = direction[:2] * view_width * rng.uniform(0, 0.9)
    return Light(
        direction=direction,
        lamp=_scaled(tint, strength),
        ambient=_scaled(sky, 1 - share),
        softness=float(rng.uniform(0.04, 0.35)),
        hot_spot=hot_spot,
        reach=float(view_width * rng.uniform(0.9, 3.0)),
    )


def _scaled(colour: Rgb, factor: float) -> Rgb:
    r, g, b = (float(c * factor) for c in colour)
    return r, g, b
