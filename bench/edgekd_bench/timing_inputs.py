"""The real images that every clock is fed with, as encoded bytes and as finished batches.

Zeros would be unfair both ways: some kernels are faster on them, and no box ever reaches the NMS.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd_bench.images import decode_image, letterbox, to_batch
from edgekd_bench.runner import Float32Array


@dataclass(frozen=True)
class TimingInputs:
    """Batches of images; call r takes batch r of them, cyclically."""

    files: list[list[bytes]]  # encoded, as a camera or a disk gives them
    tensors: dict[int, list[Float32Array]]  # by side of the square: (B, 3, S, S) each
    batch: int


def prepare_inputs(paths: Sequence[Path], batch: int, image_sizes: Iterable[int]) -> TimingInputs:
    """Read images and build batches that together hold each of them once or twice.

    Args:
        paths: at least one image.
        batch: images in each.
        image_sizes: sides of the squares that are needed.

    Raises:
        InputError: an image that cannot be decoded.
    """
    contents = [path.read_bytes() for path in paths]
    chosen = _choose(len(contents), batch)
    tensors: dict[int, list[Float32Array]] = {}
    for size in sorted(set(image_sizes)):
        canvases = [
            letterbox(decode_image(data, str(path)), size)[0]
            for data, path in zip(contents, paths, strict=True)
        ]
        tensors[size] = [to_batch([canvases[i] for i in indices]) for indices in chosen]
    return TimingInputs([[contents[i] for i in indices] for indices in chosen], tensors, batch)


def _choose(num_images: int, batch: int) -> list[list[int]]:
    """Which images go into which batch: neighbours, starting evenly spread over all images."""
    count = num_images if batch == 1 else min(max(math.ceil(2 * num_images / batch), 2), num_images)
    starts = [index * num_images // count for index in range(count)]
    return [[(start + k) % num_images for k in range(batch)] for start in starts]
