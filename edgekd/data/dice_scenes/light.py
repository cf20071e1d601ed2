"""Light in a dice scene: linear RGB, a lamp with a direction, and the light of the room.

Describes light only; what dice and tray make of it is in ``shading``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekd.data.dice_scenes.camera import FloatArray

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """One lamp or window and the ambient light of the room.

    Attributes:
        direction: unit vector ``(3,)`` toward the lamp.
        lamp: linear RGB radiance of the lamp on a surface that faces it.
        ambient: linear RGB radiance from the room above.
        softness: radius of the lamp as seen from the tray, in radians; sets the penumbra.
        hot_spot: ``(2,)`` where on the tray the lamp is nearest.
        reach: distance on the tray over which its light falls to half.
    """

    direction: FloatArray
    lamp: Rgb
    ambient: Rgb
    softness: float
    hot_spot: FloatArray
    reach: float

    def falloff(self, u: FloatArray, v: FloatArray) -> FloatArray:
        """Relative lamp strength at tray positions ``u``, ``v`` of any shape."""
        du, dv = u - np.float32(self.hot_spot[0]), v - np.float32(self.hot_spot[1])
        strength: FloatArray = 1 / (1 + (du * du + dv * dv) / np.float32(self.reach**2))
        return strength


def linear(rgb: tuple[int, int, int]) -> Rgb:
    """An 8-bit sRGB colour in linear light, 0 to 1."""
    r, g, b = (float((c / 255) ** 2.2) for c in rgb)
    return r, g, b


def temperature_tint(kelvin: float) -> Rgb:
    """Colour of a lamp as a camera balanced for 5,200 K renders it, green fixed to 1.

    A straight line in mired is within a few per cent of the black-body locus over the range of
    household light, which is all that a varied white balance needs.
    """
    shift = (1e6 / kelvin - 1e6 / 5200) / 200
    return float(np.exp(0.45 * shift)), 1.0, float(np.exp(-0.6 * shift))
