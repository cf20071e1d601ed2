"""Where the dice lie: scattered or huddled, touching but never inside one another.

Dice lie flat at any yaw; now and then one leans cocked against its neighbour. A position is drawn
in the image and taken to the tray, so that scenes fill the frame whatever the camera does. It is
refused where the die would run into another, or where the camera would see too little of its upper
face for a person to read it.
"""

from __future__ import annotations

import numpy as np

from edgekd.data.dice_scenes.camera import Camera, FloatArray
from edgekd.data.dice_scenes.die import Die, Material, turn_up
from edgekd.data.dice_scenes.palette import draw_material

MAX_DICE = 8
_TRIES = 25
_GAP = 0.03
# Sine of the lowest angle at which an upper face is looked at: 28 degrees.
_MIN_FACING = 0.47
_LEAN_CHANCE = 0.12


def place_dice(rng: np.random.Generator, camera: Camera) -> tuple[Die, ...]:
    """Draw up to ``MAX_DICE`` dice that the camera can read."""
    wanted = int(rng.integers(1, MAX_DICE + 1))
    alike = draw_material(rng) if rng.random() < 0.25 else None
    spread = float(rng.uniform(0.12, 0.2)) if rng.random() < 0.4 else None
    centre = rng.uniform(0.32, 0.68, 2)
    common_size = rng.random() < 0.4
    placed: list[Die] = []
    for _ in range(wanted):
        material = alike or draw_material(rng)
        half = 0.5 * (1.0 if common_size else float(rng.uniform(0.78, 1.22)))
        for _ in range(_TRIES):
            if placed and rng.random() < _LEAN_CHANCE:
                die = _leaning(rng, half, material, placed[-1])
            else:
                die = _lying(rng, half, material, _spot(rng, camera, centre, spread))
            if _readable(die, camera) and not any(_collide(die, other) for other in placed):
                placed.append(die)
                break
    return tuple(placed)


def _spot(
    rng: np.random.Generator, camera: Camera, centre: FloatArray, spread: float | None
) -> FloatArray:
    """A position ``(2,)`` on the tray whose image lies in the frame, at times near its edge."""
    pixel = rng.uniform(0.04, 0.96, 2) if spread is None else rng.normal(centre, spread)
    pixel = np.clip(pixel, 0.02, 0.98)
    spot: FloatArray = camera.to_plane(pixel[None], image_size=1, height=0.5)[0]
    return spot


def _spin(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _shape(rng: np.random.Generator) -> tuple[float, float, float]:
    """Edge radius, ball radius and pip radius of one make of dice."""
    rounded = rng.random() < 0.6
    ball = float(rng.uniform(1.36, 1.5)) if rounded else 1.75
    edge = float(rng.uniform(0.06, 0.16) if rounded else rng.uniform(0.12, 0.3))
    return edge, ball, float(rng.uniform(0.16, 0.215))


def _lying(rng: np.random.Generator, half: float, material: Material, spot: FloatArray) -> Die:
    rotation = _spin(rng.uniform(0, 2 * np.pi)) @ turn_up(int(rng.integers(1, 7)))
    return Die(np.array([*spot, half]), rotation, half, *_shape(rng), material)


def _leaning(rng: np.random.Generator, half: float, material: Material, support: Die) -> Die:
    """A die cocked against one side of ``support``, its near lower edge on the tray."""
    edges = [support.face_normal(face) for face in (1, 2, 3, 4, 5, 6)]
    sides = [normal for normal in edges if abs(normal[2]) < 1e-6]
    if len(sides) < 4:  # the support leans itself
        return _lying(rng, half, material, support.centre[:2])
    outward = sides[int(rng.integers(4))]
    tilt = rng.uniform(np.radians(8), np.radians(24))
    touch = min(2 * support.half, 2 * half * np.cos(tilt))
    # The lower edge nearest the support is the pivot: `touch * tan` away from its side.
    reach = support.half + touch * np.tan(tilt)
    pivot = np.append(support.centre[:2] + outward[:2] * reach, 0.0)
    along = np.cross([0, 0, 1.0], outward)
    aligned = np.stack([outward, along, [0, 0, 1.0]], axis=1)  # local x leaves the support
    c, s = np.cos(tilt), np.sin(tilt)
    lean = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    frame = aligned @ lean
    centre = pivot + frame @ np.array([half, 0, half]) + along * rng.uniform(-0.4, 0.4) * half
    upright = _spin(np.pi / 2 * int(rng.integers(4))) @ turn_up(int(rng.integers(1, 7)))
    return Die(centre, frame @ upright, half, *_shape(rng), material)


def _readable(die: Die, camera: Camera) -> bool:
    """Whether the camera sees the upper face steeply enough, its middle in the frame."""
    up = die.face_normal(die.value)
    toward = camera.position - (die.centre + die.half * up)
    x, y = camera.project((die.centre + die.half * up)[None], image_size=1)[0]
    facing = float(up @ toward) / float(np.linalg.norm(toward))
    return facing >= _MIN_FACING and 0.03 <= x <= 0.97 and 0.03 <= y <= 0.97


def _collide(a: Die, b: Die) -> bool:
    """Separating-axis test of the two cubes; cubes that only touch do not collide."""
    offset = b.centre - a.centre
    if np.linalg.norm(offset) > np.sqrt(3) * (a.half + b.half):
        return False
    both = np.hstack([a.rotation, b.rotation])  # (3, 6): face normals as columns
    slack = _GAP
    if not (_flat(a) and _flat(b)):
        # A leaning die touches its support, and edge against edge can part them too.
        crossed = np.cross(a.rotation.T[:, None], b.rotation.T[None]).reshape(9, 3)
        lengths = np.linalg.norm(crossed, axis=1)
        edges = crossed[lengths > 1e-6] / lengths[lengths > 1e-6, None]
        both = np.hstack([both, edges.T])
        slack = -_GAP
    reach = a.half * np.abs(a.rotation.T @ both).sum(0) + b.half * np.abs(b.rotation.T @ both).sum(
        0
    )
    return bool((np.abs(offset @ both) <= reach + slack).all())


def _flat(die: Die) -> bool:
    return bool(die.face_normal(die.value)[2] > 0.9999)
