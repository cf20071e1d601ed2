"""The families of detectors one can choose a student from, and what their makers publish.

The mAP is that of weights trained on COCO at 640 px, on COCO's val set, as published: not ours, and
nothing here scales it to other image sizes, precisions or data. It ranks students of one image
size; what a student is worth on your data only training tells.
"""

from __future__ import annotations

from dataclasses import dataclass

PUBLISHED_SIZE = 640  # pixels, of all figures below


@dataclass(frozen=True)
class Published:
    """One row of a family's table."""

    map50_95: float  # on COCO val2017
    params_m: float  # millions
    gflops: float  # as the makers count, at 640 px


@dataclass(frozen=True)
class Family:
    """One family and where its figures are published."""

    source: str
    scales: dict[str, Published]
    note: str = ""


_DOCS = "https://docs.ultralytics.com/models"

FAMILIES: dict[str, Family] = {
    "yolov8": Family(
        f"{_DOCS}/yolov8/",
        {
            "n": Published(37.3, 3.2, 8.7),
            "s": Published(44.9, 11.2, 28.6),
            "m": Published(50.2, 25.9, 78.9),
            "l": Published(52.9, 43.7, 165.2),
            "x": Published(53.9, 68.2, 257.8),
        },
    ),
    "yolo11": Family(
        f"{_DOCS}/yolo11/",
        {
            "n": Published(39.5, 2.6, 6.5),
            "s": Published(47.0, 9.4, 21.5),
            "m": Published(51.5, 20.1, 68.0),
            "l": Published(53.4, 25.3, 86.9),
            "x": Published(54.7, 56.9, 194.9),
        },
    ),
    "yolo12": Family(
        f"{_DOCS}/yolo12/",
        {
            "n": Published(40.6, 2.6, 6.5),
            "s": Published(48.0, 9.3, 21.4),
            "m": Published(52.5, 20.2, 67.5),
            "l": Published(53.7, 26.4, 88.9),
            "x": Published(55.2, 59.1, 199.0),
        },
    ),
    "yolo26": Family(
        f"{_DOCS}/yolo26/",
        {
            "n": Published(40.1, 2.4, 5.4),
            "s": Published(47.8, 9.5, 20.7),
            "m": Published(52.5, 20.4, 68.2),
            "l": Published(54.4, 24.8, 86.4),
            "x": Published(56.9, 55.7, 193.9),
        },
        note="mAP of the NMS-free head, which is the one edgekd exports; the other has 0.6 to 0.8 "
        "more",
    ),
}
SCALES = ("n", "s", "m", "l", "x")  # smallest first
