"""The pinhole camera that every dice scene is seen through.

World frame: the tray is the plane ``z = 0``, ``z`` points up, one unit is the edge of a common die.
Camera frame: ``x`` right, ``y`` down, ``z`` forward. Pixel ``(0, 0)`` is the outer corner of the
first pixel, so pixel centres lie at ``.5``, and boxes can be read off edges without an offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Camera:
    """A square pinhole camera.

    Attributes:
        position: ``(3,)`` world units.
        axes: ``(3, 3)``; rows are the camera's right, down and forward directions in the world.
        focal: focal length in units of the image side, so a camera fits every image size.
    """

    position: FloatArray
    axes: FloatArray
    focal: float

    def project(self, points: FloatArray, image_size: int) -> FloatArray:
        """World points ``(N, 3)`` to pixels ``(N, 2)``; the points must lie before the camera."""
        local = (points - self.position) @ self.axes.T  # (N, 3)
        pixels: FloatArray = image_size * (self.focal * local[:, :2] / local[:, 2:] + 0.5)
        return pixels

    def rays(self, x: FloatArray, y: FloatArray, image_size: int) -> FloatArray:
        """Unit directions ``(3, ...)`` through the pixel positions ``x`` and ``y``."""
        a = (x / image_size - 0.5) / self.focal
        b = (y / image_size - 0.5) / self.focal
        right, down, forward = self.axes.astype(np.float32)
        scale = 1 / np.sqrt(a * a + b * b + 1)
        return np.stack([(right[i] * a + down[i] * b + forward[i]) * scale for i in range(3)])

    def to_plane(self, pixels: FloatArray, image_size: int, height: float = 0.0) -> FloatArray:
        """Positions ``(N, 2)`` on the plane ``z = height`` seen at ``pixels`` ``(N, 2)``."""
        rays = self.rays(pixels[:, 0], pixels[:, 1], image_size)  # (3, N)
        distance = (height - self.position[2]) / rays[2]
        return np.stack([self.position[i] + distance * rays[i] for i in range(2)], axis=1)

    def plane_homography(self, image_size: int) -> FloatArray:
        """``(3, 3)``: homogeneous pixel to homogeneous position on the tray."""
        scale = 1 / (image_size * self.focal)
        offset = -0.5 / self.focal
        lens = np.array([[scale, 0, offset], [0, scale, offset], [0, 0, 1]])
        direction = self.axes.T @ lens  # pixel → world direction
        height = self.position[2]
        to_tray = np.array(
            [[-height, 0, self.position[0]], [0, -height, self.position[1]], [0, 0, 1.0]]
        )
        homography: FloatArray = to_tray @ direction
        return homography


def orbit_camera(
    *, elevation: float, azimuth: float, roll: float, distance: float, fov: float
) -> Camera:
    """A camera that looks at the origin.

    Args:
        elevation: angle of the line of sight above the tray, radians.
        azimuth: where around the tray it stands, radians.
        roll: turn around the line of sight, radians.
        distance: from the origin, world units.
        fov: angle of view over the image side, radians.
    """
    toward = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    down = np.cross(-toward, right)
    c, s = np.cos(roll), np.sin(roll)
    axes = np.stack([c * right + s * down, c * down - s * right, -toward])
    return Camera(distance * toward, axes, 0.5 / float(np.tan(fov / 2)))
