"""Soft shadows of the dice on the tray.

The tray is drawn once from above as a small map: each die is cut into slices, every slice's shadow
is shifted away from the lamp and blurred in proportion to its height, and their union is the
shadow. So it is hard where the die touches the tray and soft at its far end, as a real one is. The
map is then warped into the image by the camera's exact homography.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from edgekd.data.dice_scenes.camera import Camera, FloatArray
from edgekd.data.dice_scenes.die import Die
from edgekd.data.dice_scenes.light import Light

_MAP_SIZE = 176
_NUM_SLICES = 5
_MARGIN = 2.4
_EDGES = [(a, b) for a in range(8) for b in range(a) if (a ^ b) in (1, 2, 4)]


@dataclass(frozen=True)
class TrayShadow:
    """Shadow of the dice as the camera sees it.

    Attributes:
        blocked: ``(H, W)`` share of the lamp's light that is blocked.
        occluded: ``(H, W)`` share of the ambient light that is blocked.
        glow: ``(3, H, W)`` lamp light that clear dice let through, tinted; None without any.
    """

    blocked: FloatArray
    occluded: FloatArray
    glow: FloatArray | None


@dataclass(frozen=True)
class _Map:
    """A square window of the tray and its scale."""

    low: FloatArray
    scale: float

    def polygon(self, points: FloatArray) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in (points - self.low) * self.scale]


def tray_shadow(dice: tuple[Die, ...], light: Light, camera: Camera, image_size: int) -> TrayShadow:
    """Shadows of ``dice`` on the tray, seen by ``camera`` at ``image_size`` pixels."""
    centres = np.array([die.centre[:2] for die in dice])  # (N, 2)
    low = centres.min(0) - _MARGIN
    window = _Map(low, _MAP_SIZE / float((centres.max(0) + _MARGIN - low).max()))
    footprint = _slices(dice, window, 0.04, np.zeros(2), weighted=False)
    contact = _blur(footprint, 0.09 * window.scale)
    around = _blur(footprint, 0.42 * window.scale)
    shadow = Image.new("L", (_MAP_SIZE, _MAP_SIZE))
    slope = -light.direction[:2] / light.direction[2]
    for k in range(_NUM_SLICES):
        share = (k + 0.5) / _NUM_SLICES
        layer = _slices(dice, window, share, slope, weighted=True)
        height = share * 2 * float(np.mean([die.half for die in dice]))
        # A box is the penumbra of a square lamp, and a third of a Gaussian's work.
        width = (0.05 + 1.7 * light.softness * height) * window.scale
        shadow = ImageChops.lighter(shadow, layer.filter(ImageFilter.BoxBlur(width)))
    to_map = _homography(window, camera, image_size)
    layers = Image.merge("RGB", (shadow, contact, around))
    blocked, near, far = _warp(layers, to_map, image_size)
    occluded = 1 - (1 - 0.6 * near) * (1 - 0.5 * far)
    return TrayShadow(blocked, occluded, _glow(dice, window, slope, to_map, image_size))


def _section(die: Die, share: float) -> tuple[FloatArray, float] | None:
    """Convex outline ``(N, 2)`` of the die at ``share`` of its height, and that height."""
    corners = die.corners()
    low, high = corners[:, 2].min(), corners[:, 2].max()
    height = float(low + share * (high - low))
    points = []
    for a, b in _EDGES:
        za, zb = corners[a, 2] - height, corners[b, 2] - height
        if za * zb < 0:
            points.append(corners[a] + (corners[b] - corners[a]) * za / (za - zb))
    if len(points) < 3:
        return None
    outline = np.array(points)[:, :2]
    middle = outline.mean(0)
    angle = np.arctan2(*(outline - middle).T[::-1])
    # Rounded edges draw in the first and the last slice.
    shrink = 1 - 0.12 * abs(2 * share - 1) ** 4
    return middle + shrink * (outline - middle)[np.argsort(angle)], height


def _slices(
    dice: tuple[Die, ...], window: _Map, share: float, slope: FloatArray, *, weighted: bool
) -> Image.Image:
    """One slice of every die, moved along ``slope`` times its height."""
    layer = Image.new("L", (_MAP_SIZE, _MAP_SIZE))
    draw = ImageDraw.Draw(layer)
    for die in sorted(dice, key=lambda die: -die.material.translucency):
        section = _section(die, share)
        if section is not None:
            strength = 1 - 0.35 * die.material.translucency if weighted else 1.0
            outline = section[0] + slope * section[1]
            draw.polygon(window.polygon(outline), fill=round(255 * strength))
    return layer


def _glow(
    dice: tuple[Die, ...], window: _Map, slope: FloatArray, to_map: FloatArray, image_size: int
) -> FloatArray | None:
    """Coloured light in the shadow of clear dice, brightest in its middle."""
    clear = [die for die in dice if die.material.translucency > 0]
    if not clear:
        return None
    layer = Image.new("RGB", (_MAP_SIZE, _MAP_SIZE))
    draw = ImageDraw.Draw(layer)
    for die in clear:
        section = _section(die, 0.5)
        if section is not None:
            outline, height = section
            middle = outline.mean(0)
            spot = middle + 0.7 * (outline - middle) + slope * height
            colour = np.array(die.material.body) * die.material.translucency
            red, green, blue = (round(255 * float(min(1.0, 0.8 * c))) for c in colour)
            draw.polygon(window.polygon(spot), fill=(red, green, blue))
    return _warp(_blur(layer, 0.16 * window.scale), to_map, image_size)


def _blur(layer: Image.Image, radius: float) -> Image.Image:
    return layer.filter(ImageFilter.GaussianBlur(radius))


def _homography(window: _Map, camera: Camera, image_size: int) -> FloatArray:
    """Image pixel to map pixel, ``(3, 3)``, last entry 1."""
    scale = window.scale
    to_map = np.array(
        [[scale, 0, -scale * window.low[0]], [0, scale, -scale * window.low[1]], [0, 0, 1]]
    )
    homography = to_map @ camera.plane_homography(image_size)
    scaled: FloatArray = homography / homography[2, 2]
    return scaled


def _warp(layers: Image.Image, to_map: FloatArray, image_size: int) -> FloatArray:
    """Three layers of the map as the camera sees them: ``(3, H, W)`` in 0 to 1."""
    seen = layers.transform(
        (image_size, image_size),
        Image.Transform.PERSPECTIVE,
        [float(c) for c in to_map.ravel()[:8]],
        Image.Resampling.BILINEAR,
    )
    planes = np.ascontiguousarray(np.moveaxis(np.asarray(seen), 2, 0))
    scaled: FloatArray = planes * np.float32(1 / 255)
    return scaled
