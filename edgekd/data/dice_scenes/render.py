"""From a scene to a picture and its boxes: tray, dice, light and camera put together."""

from __future__ import annotations

import numpy as np

from edgekd.data.dice_scenes.camera import FloatArray
from edgekd.data.dice_scenes.clutter import Ground, lay_clutter
from edgekd.data.dice_scenes.die import Die
from edgekd.data.dice_scenes.light import Rgb
from edgekd.data.dice_scenes.optics import Picture, develop
from edgekd.data.dice_scenes.scene import Scene, draw_scene
from edgekd.data.dice_scenes.shading import shade_die, shade_ground
from edgekd.data.dice_scenes.shadows import tray_shadow
from edgekd.data.dice_scenes.textures import TEXTURES, Tray
from edgekd.data.dice_scenes.visibility import (
    SUPERSAMPLING,
    DieBox,
    IdBuffer,
    find_boxes,
    trace,
)
from edgekd_bench.errors import InputError

MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 64, 2048


def check_image_size(image_size: int) -> None:
    """Refuse sizes that cannot be rendered.

    Raises:
        InputError: not a whole number in ``MIN_IMAGE_SIZE`` to ``MAX_IMAGE_SIZE``.
    """
    whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if not whole or not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise InputError(
            f"image_size={image_size!r}: dice scenes need a whole number of pixels from "
            f"{MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}"
        )


def check_seed(seed: int) -> None:
    """Refuse seeds that NumPy would not take.

    Raises:
        InputError: not a non-negative whole number.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed={seed!r}: dice scenes need a whole number, 0 or more")


def render_scene(seed: int, image_size: int = 320) -> tuple[Picture, list[DieBox]]:
    """Draw and render the scene that belongs to ``seed``.

    Args:
        seed: non-negative; the same seed gives the same picture.
        image_size: side of the square picture, pixels.

    Returns:
        The picture ``(image_size, image_size, 3)``, RGB bytes, and a box for every die that is
        visible enough to be read.

    Raises:
        InputError: a seed or an image size out of range.
    """
    check_seed(seed)
    check_image_size(image_size)
    scene = draw_scene(seed)
    buffer = trace(scene, image_size)
    return render(scene, image_size, buffer), find_boxes(scene, buffer)


def render(scene: Scene, image_size: int, buffer: IdBuffer) -> Picture:
    """The picture ``(image_size, image_size, 3)`` of ``scene``, whose id buffer is ``buffer``."""
    rng = np.random.default_rng([scene.seed, 1])
    radiance, bounce = _tray(scene, image_size, rng)
    dice, cover = _dice(scene, image_size, buffer, bounce)
    radiance = radiance * (1 - cover) + dice
    return develop(radiance, scene.optics, rng)


def _tray(scene: Scene, image_size: int, rng: np.random.Generator) -> tuple[FloatArray, Rgb]:
    """Radiance ``(3, H, W)`` of the tray, and the mean colour that it throws back up."""
    centres = np.arange(image_size, dtype=np.float32) + np.float32(0.5)
    x, y = np.meshgrid(centres, centres)
    rays = scene.camera.rays(x, y, image_size)  # (3, H, W)
    distance = np.float32(-scene.camera.position[2]) / rays[2]
    u = np.float32(scene.camera.position[0]) + distance * rays[0]
    v = np.float32(scene.camera.position[1]) + distance * rays[1]
    turn = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(turn), np.sin(turn)
    lamp = scene.light.direction[:2] / scene.light.direction[2]
    turned = np.array([c * lamp[0] + s * lamp[1], c * lamp[1] - s * lamp[0]])
    c, s = np.float32(c), np.float32(s)
    surface = TEXTURES[scene.texture](Tray(c * u + s * v, c * v - s * u, turned, rng))
    albedo = np.clip(surface.albedo, 0.003, 0.92).astype(np.float32)
    relief = np.clip(surface.relief, 0.2, 1.8).astype(np.float32)
    ground = Ground(u, v, albedo, relief, np.ones_like(u))
    for thing in scene.clutter:
        lay_clutter(ground, thing, scene.light, _texel(scene, np.zeros(3), image_size))
    mean = albedo[:, ::4, ::4].mean((1, 2))
    falling = np.array(scene.light.lamp) * scene.light.direction[2] + np.array(scene.light.ambient)
    red, green, blue = (float(m) for m in mean * falling)
    shadow = None
    if scene.dice:
        shadow = tray_shadow(scene.dice, scene.light, scene.camera, image_size)
    return shade_ground(ground, rays, scene.light, shadow, surface.gloss), (red, green, blue)


def _texel(scene: Scene, point: FloatArray, num_pixels: int) -> float:
    """Size of one of ``num_pixels`` over the image side, seen at ``point``, world units."""
    distance = float(np.linalg.norm(point - scene.camera.position))
    return distance / (scene.camera.focal * num_pixels)


def _dice(
    scene: Scene, image_size: int, buffer: IdBuffer, bounce: Rgb
) -> tuple[FloatArray, FloatArray]:
    """Radiance ``(3, H, W)`` of the dice times their coverage ``(H, W)``, and that coverage."""
    side = image_size * SUPERSAMPLING
    radiance = np.zeros((3, side * side), np.float32)
    for die, samples in zip(scene.dice, buffer.samples, strict=True):
        if samples.index.size:
            others = [other for other in scene.dice if other is not die and _near(die, other)]
            texel = _texel(scene, die.centre, side)
            shade = shade_die(die, samples, scene.light, bounce, others, texel)
            radiance[:, samples.index] = shade
    cover = (buffer.ids >= 0).astype(np.float32)
    return _downsample(radiance.reshape(3, side, side)), _downsample(cover)


def _near(a: Die, b: Die) -> bool:
    return float(np.linalg.norm(a.centre - b.centre)) < 3.5 * (a.half + b.half)


def _downsample(samples: FloatArray) -> FloatArray:
    """Mean over blocks of ``SUPERSAMPLING``², from ``(..., S, S)`` to ``(..., H, W)``."""
    n = SUPERSAMPLING
    total: FloatArray = samples[..., ::n, ::n].copy()
    for i, j in list(np.ndindex(n, n))[1:]:
        total += samples[..., i::n, j::n]
    total *= np.float32(1 / n**2)
    return total
