"""Which images the parity gate looks at: the user's own where there are any.

Real pixels matter: a wrong channel order or scale that a grey test picture hides shows on a photo.
Labels play no part here, so a folder of images will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.images import IMAGE_SUFFIXES, decode_image, letterbox, to_batch
from edgekd_export.synthetic_images import synthetic_image

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class ParityImages:
    """Letterboxed images and where they came from."""

    canvases: tuple[UInt8Array, ...]  # (S, S, 3) RGB each
    source: str
    broken: tuple[str, ...] = ()  # files that could not be decoded

    def __len__(self) -> int:
        return len(self.canvases)

    @property
    def image_size(self) -> int:
        """Side of the squares, pixels."""
        return int(self.canvases[0].shape[0])

    def batches(self, size: int) -> Iterator[tuple[Float32Array, int]]:
        """Network inputs (size, 3, S, S), each with how many of its images are not padding."""
        for start in range(0, len(self.canvases), size):
            chunk = list(self.canvases[start : start + size])
            padding = [chunk[-1]] * (size - len(chunk))
            yield to_batch(chunk + padding), len(chunk)


def load_parity_images(data: Path | None, *, count: int, image_size: int) -> ParityImages:
    """Decode and letterbox ``count`` images spread evenly over what ``data`` names.

    Args:
        data: data.yaml or coco.yaml (its val split), a folder of images, or None for
            pictures drawn in code.
        count: how many; fewer where there are fewer.
        image_size: side of the square.

    Raises:
        InputError: no such data, no images in it, or none that can be decoded.
    """
    if data is None:
        drawn = (letterbox(synthetic_image(index), image_size)[0] for index in range(count))
        return ParityImages(tuple(drawn), SYNTHETIC)
    paths, source = _find_images(data)
    canvases: list[UInt8Array] = []
    broken: list[str] = []
    for path in _spread(paths, count):
        if len(canvases) == count:
            break
        try:
            canvases.append(letterbox(decode_image(path), image_size)[0])
        except InputError as error:
            broken.append(str(error))
    if not canvases:
        raise InputError(f"{data}: none of its {len(paths)} images can be decoded; {broken[0]}")
    return ParityImages(tuple(canvases), source, tuple(broken))


def _find_images(data: Path) -> tuple[Sequence[Path], str]:
    if data.is_dir():
        found = sorted(p for p in data.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise InputError(f"{data}: no images in this folder; give another, or a data.yaml")
        return found, str(data)
    if not data.is_file():
        raise InputError(f"{data}: no such data; give a data.yaml, a coco.yaml or a folder")
    if data.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"{data}: neither YAML nor a folder; give a data.yaml or a folder")
    labelled = load_detection_set(data, "val")
    return [image.path for image in labelled.images], f"{data} (val)"


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """All paths, those first that lie evenly spread; the rest stand in for broken ones."""
    picked = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int))
    rest = np.setdiff1d(np.arange(len(paths)), picked)
    return [paths[index] for index in (*picked, *rest)]
