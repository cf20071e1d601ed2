"""What a die is: its numbering, its pips, its rounded shape and how a ray meets it.

Everything here is in the die's own frame, where the cube is ``[-1, 1]³``. The numbering is that of
western dice: opposite faces add up to seven, and one, two, three run counter-clockwise around their
common corner ("right-handed"). With one, two and three on +x, +y and +z that is the frame's own
handedness, so any proper rotation keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekd.data.dice_scenes.camera import FloatArray, IntArray

FACE_NORMALS: dict[int, tuple[int, int, int]] = {
    1: (1, 0, 0),
    2: (0, 1, 0),
    3: (0, 0, 1),
    4: (0, 0, -1),
    5: (0, -1, 0),
    6: (-1, 0, 0),
}
# Value of the face by axis and sign: [axis][0 if negative else 1].
_FACE_VALUES = np.array([[6, 1], [5, 2], [4, 3]])
_CORNERS = [(-1, -1), (1, 1), (-1, 1), (1, -1)]
_PIPS: dict[int, list[tuple[int, int]]] = {
    1: [(0, 0)],
    2: _CORNERS[:2],
    3: [(0, 0), *_CORNERS[:2]],
    4: _CORNERS,
    5: [(0, 0), *_CORNERS],
    6: [*_CORNERS, (-1, 0), (1, 0)],
}
PIP_SPREAD = 0.5
# Whether a face has a pip in each place of a 3 × 3 grid: [value, 1 + first, 1 + second].
_PIP_PLACES = np.zeros((7, 3, 3), np.float32)
for _value, _places in _PIPS.items():
    for _a, _b in _places:
        _PIP_PLACES[_value, 1 + _a, 1 + _b] = 1
_MAX_STEPS = 10
_TOLERANCE = 3e-3


@dataclass(frozen=True)
class Material:
    """How a die's plastic looks; colours are linear RGB.

    Attributes:
        body: colour of the plastic.
        swirl: second colour that marbles the first; equal to ``body`` for plain dice.
        pip: paint of the pips.
        translucency: 0 opaque to 1 clear plastic.
        gloss: sharpness of highlights, 0 to 1.
    """

    body: tuple[float, float, float]
    swirl: tuple[float, float, float]
    pip: tuple[float, float, float]
    translucency: float
    gloss: float


@dataclass(frozen=True)
class Die:
    """One die in the world.

    Attributes:
        centre: ``(3,)`` world units.
        rotation: ``(3, 3)``, die frame to world.
        half: half the edge, world units.
        edge_radius: radius of the edges as a share of ``half``.
        ball_radius: the cube is cut by a ball of this many ``half``; 1.7 leaves its corners alone.
        pip_radius: as a share of ``half``.
        material: how it looks.
    """

    centre: FloatArray
    rotation: FloatArray
    half: float
    edge_radius: float
    ball_radius: float
    pip_radius: float
    material: Material

    @property
    def value(self) -> int:
        """Pip count of the face that points up from the tray."""
        rising = self.rotation[2]  # how far each axis of the die points up
        axis = int(np.abs(rising).argmax())
        return int(_FACE_VALUES[axis, int(rising[axis] > 0)])

    def face_normal(self, face: int) -> FloatArray:
        """World direction ``(3,)`` in which the face with ``face`` pips looks."""
        normal: FloatArray = self.rotation @ np.array(FACE_NORMALS[face], dtype=float)
        return normal

    def corners(self) -> FloatArray:
        """World positions ``(8, 3)`` of the corners of the cube before rounding."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        corners: FloatArray = self.centre + self.half * signs @ self.rotation.T
        return corners

    def to_local(self, points: FloatArray) -> FloatArray:
        """World points ``(3, N)`` in the die's frame."""
        offset = [points[i] - np.float32(self.centre[i]) for i in range(3)]
        local: FloatArray = rotate(self.rotation.T / self.half, np.stack(offset))
        return local


def rotate(matrix: FloatArray, vectors: FloatArray) -> FloatArray:
    """``matrix`` ``(3, 3)`` times ``vectors`` ``(3, ...)``.

    Written out because it is faster than a matrix product for three rows, and starts no threads.
    """
    m = matrix.astype(np.float32)
    x, y, z = vectors
    return np.stack([m[i, 0] * x + m[i, 1] * y + m[i, 2] * z for i in range(3)])


def turn_up(value: int) -> FloatArray:
    """A proper rotation ``(3, 3)`` that turns the face with ``value`` pips to +z."""
    normal = np.array(FACE_NORMALS[value], dtype=float)
    side = np.array(FACE_NORMALS[value % 3 + 1 if value <= 3 else (value - 3) % 3 + 4], dtype=float)
    return np.stack([side, np.cross(normal, side), normal])


def signed_distance(die: Die, local: FloatArray) -> FloatArray:
    """Lower bound ``(N,)`` of the distance from ``local`` ``(3, N)`` to the die, in ``half``."""
    inner = np.float32(1 - die.edge_radius)
    q = [np.abs(local[i]) - inner for i in range(3)]
    outside = [np.maximum(axis, 0) for axis in q]
    corner = np.sqrt(outside[0] ** 2 + outside[1] ** 2 + outside[2] ** 2)
    deepest = np.minimum(np.maximum(np.maximum(q[0], q[1]), q[2]), 0)
    box = corner + deepest - np.float32(die.edge_radius)
    ball = np.sqrt(local[0] ** 2 + local[1] ** 2 + local[2] ** 2) - np.float32(die.ball_radius)
    distance: FloatArray = np.maximum(box, ball)
    return distance


def surface_normal(die: Die, local: FloatArray) -> FloatArray:
    """Outward unit normals ``(3, N)`` in the die's frame at surface points ``local`` ``(3, N)``."""
    inner = np.float32(1 - die.edge_radius)
    box = np.sign(local) * np.maximum(np.abs(local) - inner, 0)
    box = box / np.maximum(np.sqrt((box * box).sum(0)), 1e-6)
    length = np.sqrt((local * local).sum(0))
    # A narrow blend where ball and face meet: real dice are polished, not cut.
    blend = np.clip((length - np.float32(die.ball_radius) + 0.05) / 0.05, 0, 1)
    mixed = box * (1 - blend) + local / length * blend
    normal: FloatArray = mixed / np.sqrt((mixed * mixed).sum(0))
    return normal


def intersect(die: Die, origin: FloatArray, rays: FloatArray) -> tuple[IntArray, FloatArray]:
    """Cast rays at a die.

    Args:
        die: the die.
        origin: ``(3,)`` world position the rays start from, outside the die.
        rays: unit directions ``(3, N)`` in the world.

    Returns:
        Indices ``(M,)`` of the rays that hit, and their distances ``(M,)`` in world units.
    """
    start = die.to_local(origin.astype(np.float32).reshape(3, 1))  # (3, 1)
    direction = rotate(die.rotation.T, rays)  # (3, N), unit length: distances are in `half`
    near, far = slab(start, direction)
    hits = np.flatnonzero((near < far) & (near > 0))
    direction, distance, far = direction[:, hits], near[hits], far[hits]
    gap = signed_distance(die, start + distance * direction)
    moving = np.flatnonzero(gap > _TOLERANCE)
    for _ in range(_MAX_STEPS):
        if moving.size == 0:
            break
        distance[moving] += gap[moving]
        step = signed_distance(die, start + distance[moving] * direction[:, moving])
        gap[moving] = step
        moving = moving[(step > _TOLERANCE) & (distance[moving] < far[moving])]
    met = gap <= 6 * _TOLERANCE
    return hits[met], distance[met] * np.float32(die.half)


def slab(start: FloatArray, direction: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Entry and exit distance of rays through the cube ``[-1, 1]³``; entry > exit where missed."""
    safe = np.where(np.abs(direction) < 1e-7, np.float32(1e-7), direction)
    a, b = (-1 - start) / safe, (1 - start) / safe
    return np.minimum(a, b).max(0), np.maximum(a, b).min(0)


def faces_of(normal: FloatArray) -> IntArray:
    """Which face ``(N,)`` of 1 to 6 each normal ``(3, N)`` of the die's frame belongs to."""
    axis = np.abs(normal).argmax(0)
    positive = np.take_along_axis(normal, axis[None], 0)[0] > 0
    faces: IntArray = _FACE_VALUES[axis, positive.astype(np.intp)]
    return faces


def pip_field(
    die: Die, local: FloatArray, normal: FloatArray, softness: float
) -> tuple[FloatArray, FloatArray]:
    """Pip coverage and the slope of the hollows.

    Args:
        die: the die.
        local: ``(3, N)`` surface points.
        normal: ``(3, N)`` surface normals there.
        softness: width of the painted edge, in ``half``.

    Returns:
        Coverage ``(N,)`` in 0 to 1, and the offset ``(3, N)`` from the centre of the pip in pip
        radii (zero outside the pips), along which the hollow leans.
    """
    faces = faces_of(normal)
    axis = np.abs(normal).argmax(0)
    first, last = axis == 0, axis == 2
    p, q = np.where(first, local[1], local[0]), np.where(last, local[1], local[2])
    pitch = np.float32(PIP_SPREAD)
    i, j = (np.clip(np.rint(c / pitch), -1, 1) for c in (p, q))  # the nearest place for a pip
    p, q = p - pitch * i, q - pitch * j
    radius = np.sqrt(p * p + q * q)
    there = _PIP_PLACES[faces, i.astype(np.intp) + 1, j.astype(np.intp) + 1]
    edge = (np.float32(die.pip_radius) - radius) / np.float32(max(softness, 1e-6)) + 0.5
    coverage = np.clip(edge, 0, 1) * there
    p, q = (c * (coverage > 0) / np.float32(die.pip_radius) for c in (p, q))
    slope = np.stack(
        [np.where(first, 0, p), np.where(first, p, np.where(last, q, 0)), np.where(last, 0, q)]
    )
    return coverage, slope
