"""What the camera sees of each die: the id buffer, and from it the boxes.

The labels come from the same samples as the picture, not from a formula beside it: a box is the
extent of a die's visible samples, so occlusion, the frame and rounded corners are all in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekd.data.dice_scenes.camera import FloatArray, IntArray
from edgekd.data.dice_scenes.die import Die, faces_of, intersect, surface_normal
from edgekd.data.dice_scenes.scene import Scene

SUPERSAMPLING = 2
MIN_VISIBLE = 0.4
"""A die is labelled only where at least this share of its silhouette is visible …"""
MIN_UPPER_VISIBLE = 0.6
"""… and at least this share of its upper face, which is what its class is read from."""


@dataclass(frozen=True)
class DieBox:
    """A labelled die.

    Attributes:
        value: pip count of its upper face, 1 to 6.
        xyxy: box of its visible pixels, pixels of the image; whole samples, so halves occur.
        visibility: visible share of its silhouette, counting what the frame cuts off.
    """

    value: int
    xyxy: tuple[float, float, float, float]
    visibility: float

    @property
    def class_id(self) -> int:
        """Zero-based class: 0 for "one"."""
        return self.value - 1


@dataclass(frozen=True)
class Samples:
    """Surface points of one die at the samples that hit it.

    Attributes:
        index: ``(N,)`` flat index into the id buffer.
        distance: ``(N,)`` from the camera, world units.
        ray: ``(3, N)`` unit direction from the camera.
        local: ``(3, N)`` point in the die's frame.
        normal: ``(3, N)`` in the die's frame, before the hollows of the pips.
        face: ``(N,)`` face of each point, 1 to 6.
    """

    index: IntArray
    distance: FloatArray
    ray: FloatArray
    local: FloatArray
    normal: FloatArray
    face: IntArray

    def only(self, chosen: IntArray) -> Samples:
        """The samples at positions ``chosen``."""
        if chosen.size == self.index.size:
            return self
        return Samples(
            self.index[chosen],
            self.distance[chosen],
            self.ray[:, chosen],
            self.local[:, chosen],
            self.normal[:, chosen],
            self.face[chosen],
        )


@dataclass(frozen=True)
class IdBuffer:
    """Which die each sample shows.

    Attributes:
        ids: ``(S, S)`` index of the die, -1 for the tray; ``S`` is the supersampled image size.
        samples: visible samples of each die.
        visibility: visible share of each die's silhouette.
        upper_visibility: visible share of each die's upper face.
    """

    ids: IntArray
    samples: tuple[Samples, ...]
    visibility: tuple[float, ...]
    upper_visibility: tuple[float, ...]


def trace(scene: Scene, image_size: int) -> IdBuffer:
    """Cast ``SUPERSAMPLING``² rays a pixel at the dice of ``scene``."""
    side = image_size * SUPERSAMPLING
    ids = np.full(side * side, -1, np.int16)
    depth = np.full(side * side, np.inf, np.float32)
    cast = []
    for number, die in enumerate(scene.dice):
        samples, total, total_upper = _cast(scene, die, side)
        cast.append((samples, total, total_upper))
        nearer = np.flatnonzero(samples.distance < depth[samples.index])
        at = samples.index[nearer]
        depth[at] = samples.distance[nearer]
        ids[at] = number
    visible = tuple(
        samples.only(np.flatnonzero(ids[samples.index] == number))
        for number, (samples, _, _) in enumerate(cast)
    )
    shares, upper_shares = [], []
    for die, seen, (_, total, total_upper) in zip(scene.dice, visible, cast, strict=True):
        shares.append(seen.index.size / max(total, 1))
        upper_shares.append(int((seen.face == die.value).sum()) / max(total_upper, 1))
    return IdBuffer(ids.reshape(side, side), visible, tuple(shares), tuple(upper_shares))


def _cast(scene: Scene, die: Die, side: int) -> tuple[Samples, int, int]:
    """Samples of ``die`` in the frame, and the counts of all and of upper ones in and out of it."""
    corners = scene.camera.project(die.corners(), side)
    x0, y0 = np.floor(corners.min(0)).astype(int)
    x1, y1 = np.ceil(corners.max(0)).astype(int)
    y, x = (grid.ravel() for grid in np.mgrid[y0:y1, x0:x1])  # beyond the frame too
    rays = scene.camera.rays(
        x.astype(np.float32) + np.float32(0.5), y.astype(np.float32) + np.float32(0.5), side
    )
    hits, distance = intersect(die, scene.camera.position, rays)
    rays, x, y = rays[:, hits], x[hits], y[hits]
    origin = scene.camera.position.astype(np.float32)[:, None]
    local = die.to_local(origin + distance * rays)
    normal = surface_normal(die, local)
    face = faces_of(normal)
    samples = Samples(y * side + x, distance, rays, local, normal, face)
    inside = np.flatnonzero((x >= 0) & (x < side) & (y >= 0) & (y < side))
    return samples.only(inside), hits.size, int((face == die.value).sum())


def find_boxes(scene: Scene, buffer: IdBuffer) -> list[DieBox]:
    """Boxes of the dice that are visible enough to be labelled, in the order of the dice."""
    side = buffer.ids.shape[1]
    boxes = []
    shares = zip(buffer.visibility, buffer.upper_visibility, strict=True)
    for die, seen, (share, upper) in zip(scene.dice, buffer.samples, shares, strict=True):
        if share < MIN_VISIBLE or upper < MIN_UPPER_VISIBLE:
            continue
        y, x = np.divmod(seen.index, side)
        edges = (x.min(), y.min(), x.max() + 1, y.max() + 1)
        x0, y0, x1, y1 = (float(edge) / SUPERSAMPLING for edge in edges)
        boxes.append(DieBox(die.value, (x0, y0, x1, y1), round(share, 4)))
    return boxes
