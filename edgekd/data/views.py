"""Random views of unlabelled images, fast enough to keep a small student busy.

Decoding dominates the data cost of distillation, so each image is decoded once into a bounded
in-memory store at about the resolution the views need, and views are cut from there by threads
(Pillow releases the GIL). Every random choice is a function of (seed, epoch, image content), never
of timing, so a resumed run sees exactly the views the undisturbed one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgekd.data.batches import Batch, World, in_background, whole_batch
from edgekd.data.image_manifest import ImageEntry
from edgekd_bench.images import decode_image

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ViewRecipe:
    """How views are drawn: square side in pixels, area share of the crop, whether to mirror."""

    size: int
    crop_scale: tuple[float, float]
    flip: bool
    seed: int


class DecodedImages:
    """Decoded images by index, kept in memory up to a budget.

    Args:
        images: the manifest's entries.
        short_side: images are reduced so that their shorter side is at most this many pixels.
        budget_gb: memory for decoded pixels; beyond it images are decoded every time.
    """

    def __init__(self, images: Sequence[ImageEntry], short_side: int, budget_gb: float) -> None:
        self.images = tuple(images)
        self._short_side = short_side
        self._budget = int(budget_gb * 1e9)
        self._store: dict[int, Pixels] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Pixels:
        """Pixels ``(H, W, 3)`` uint8 RGB."""
        kept = self._store.get(index)
        if kept is not None:
            return kept
        pixels = self._reduced(decode_image(self.images[index].path, min_side=self._short_side))
        with self._lock:
            if index not in self._store and pixels.nbytes <= self._budget:
                self._budget -= pixels.nbytes
                self._store[index] = pixels
        return pixels

    def _reduced(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        scale = self._short_side / min(height, width)
        if scale >= 1:
            return pixels
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = Image.fromarray(pixels)
        return np.asarray(image.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0))


def random_view(pixels: Pixels, sha256: str, epoch: int, recipe: ViewRecipe) -> Pixels:
    """A resized crop, mirrored half the time: ``(S, S, 3)`` uint8.

    The crop covers a share of the image's area drawn from ``crop_scale`` with an aspect ratio
    between 3:4 and 4:3, as in Szegedy et al., "Going deeper with convolutions" (2014).
    """
    rng = np.random.default_rng([recipe.seed, epoch, int(sha256[:15], 16)])
    height, width = pixels.shape[:2]
    area = rng.uniform(*recipe.crop_scale) * height * width
    ratio = float(np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))))
    crop_w = min(width, max(1.0, float(np.sqrt(area * ratio))))
    crop_h = min(height, max(1.0, float(np.sqrt(area / ratio))))
    left, top = rng.uniform(0, width - crop_w), rng.uniform(0, height - crop_h)
    view = _resize(pixels, (left, top, left + crop_w, top + crop_h), recipe.size)
    mirrored = recipe.flip and rng.random() < 0.5
    return view[:, ::-1] if mirrored else view


def center_view(pixels: Pixels, size: int) -> Pixels:
    """The central square, resized: ``(S, S, 3)`` uint8. Used where nothing may be random."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return _resize(pixels, (left, top, left + side, top + side), size)


def _resize(pixels: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def stack_views(views: Sequence[Pixels]) -> torch.Tensor:
    """``(B, 3, S, S)`` uint8 tensor, channels-last in memory without a copy per channel."""
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)


class ViewLoader:
    """Batches of random views, prepared by threads ahead of the training loop.

    Args:
        decoded: the images.
        indices: which of them to use.
        batch_size: views a batch; the last, smaller batch of an epoch is dropped unless it is the
            only one, because BatchNorm needs batches of one size.
        recipe: how views are drawn.
        workers: threads.
        world: this process takes its share of every batch.
    """

    def __init__(
        self,
        decoded: DecodedImages,
        indices: Sequence[int],
        batch_size: int,
        recipe: ViewRecipe,
        workers: int,
        world: World = World(),  # noqa: B008 (frozen)
    ) -> None:
        self._decoded = decoded
        self._indices = np.asarray(indices)
        self._world = world
        self._whole = whole_batch(batch_size, len(indices), world)
        self._recipe = recipe
        self._workers = workers

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches every epoch yields."""
        return len(self._indices) // self._whole

    @property
    def batch_size(self) -> int:
        """Views of each batch that this process gets."""
        return self._whole // self._world.size

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Batches of one epoch, from ``start_batch`` on."""
        order = np.random.default_rng([self._recipe.seed, epoch]).permutation(self._indices)
        size, world = self._whole, self._world
        chunks = [
            [(int(i), epoch) for i in order[b * size + world.rank : (b + 1) * size : world.size]]
            for b in range(start_batch, self.batches_per_epoch)
        ]
        for views in in_background(self._view, chunks, self._workers):
            yield Batch(stack_views(views))

    def _view(self, wanted: tuple[int, int]) -> Pixels:
        index, epoch = wanted
        digest = self._decoded.images[index].sha256
        return random_view(self._decoded[index], digest, epoch, self._recipe)
