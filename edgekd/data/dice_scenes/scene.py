"""One scene, drawn from a seed: everything that the renderer needs and nothing that it decides.

Drawing is kept apart from rendering so that a test can ask about a scene without looking at pixels,
and so that the same scene can be rendered at any size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgekd.data.dice_scenes.camera import Camera, orbit_camera
from edgekd.data.dice_scenes.clutter import Clutter, draw_clutter
from edgekd.data.dice_scenes.die import Die
from edgekd.data.dice_scenes.layout import place_dice
from edgekd.data.dice_scenes.light import Light
from edgekd.data.dice_scenes.palette import draw_light
from edgekd.data.dice_scenes.textures import TEXTURES

MIN_ELEVATION, MAX_ELEVATION = 35.0, 85.0


@dataclass(frozen=True)
class Optics:
    """What lens, sensor and shutter do to the picture; lengths are shares of the image side.

    Attributes:
        exposure: gain in stops.
        contrast: steepness of the tone curve, 1 is neutral.
        saturation: 1 is neutral.
        blur: standard deviation of the blur where the picture is sharpest.
        defocus: further blur at the near and far edge.
        motion: length of the motion trail.
        motion_angle: its direction, radians.
        vignette: darkening of the corners, 0 to 1.
        noise: standard deviation of the sensor noise at mid grey, 0 to 1.
    """

    exposure: float
    contrast: float
    saturation: float
    blur: float
    defocus: float
    motion: float
    motion_angle: float
    vignette: float
    noise: float


@dataclass(frozen=True)
class Scene:
    """A complete scene; ``seed`` also drives textures and noise."""

    seed: int
    camera: Camera
    dice: tuple[Die, ...]
    light: Light
    texture: str
    clutter: tuple[Clutter, ...]
    optics: Optics


def draw_scene(seed: int) -> Scene:
    """The scene that belongs to ``seed``, a non-negative integer."""
    rng = np.random.default_rng(seed)
    camera, width = _draw_camera(rng)
    dice = place_dice(rng, camera)
    light = draw_light(rng, width)
    texture = sorted(TEXTURES)[int(rng.integers(len(TEXTURES)))]
    clutter = draw_clutter(rng, camera, dice)
    return Scene(seed, camera, dice, light, texture, clutter, _draw_optics(rng))


def without_optics(scene: Scene) -> Scene:
    """The same scene through a perfect lens and sensor: no blur, noise or vignette."""
    clean = replace(scene.optics, blur=0, defocus=0, motion=0, vignette=0, noise=0)
    return replace(scene, optics=clean)


def _draw_camera(rng: np.random.Generator) -> tuple[Camera, float]:
    """A camera, and the width of the tray that it sees at the origin."""
    elevation = rng.uniform(MIN_ELEVATION, MAX_ELEVATION)
    # The farthest ray still falls steeply enough that the tray has no horizon.
    widest = min(62.0, 2 * (elevation - 12))
    fov = np.radians(rng.uniform(28.0, widest))
    # Lower cameras come closer, or the foreshortened pips could not be read.
    largest = 0.2
    smallest = 0.105 / np.sqrt(np.sin(np.radians(elevation)))
    die_share = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    width = 1 / die_share
    camera = orbit_camera(
        elevation=float(np.radians(elevation)),
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        roll=float(np.radians(np.clip(rng.normal(0, 9), -25, 25))),
        distance=float(width / (2 * np.tan(fov / 2))),
        fov=float(fov),
    )
    return camera, width


def _draw_optics(rng: np.random.Generator) -> Optics:
    return Optics(
        exposure=float(np.clip(rng.normal(0.0, 0.35), -0.9, 0.7)),
        contrast=float(rng.uniform(1.0, 1.28)),
        saturation=float(rng.uniform(0.85, 1.12)),
        blur=float(rng.uniform(0.0006, 0.0024)),
        defocus=float(rng.uniform(0, 0.006)) if rng.random() < 0.5 else 0.0,
        motion=float(rng.uniform(0.004, 0.014)) if rng.random() < 0.15 else 0.0,
        motion_angle=float(rng.uniform(0, np.pi)),
        vignette=float(rng.uniform(0, 0.45)),
        noise=float(rng.uniform(0.004, 0.02)),
    )
