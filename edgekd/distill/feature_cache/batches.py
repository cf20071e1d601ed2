"""Batches out of a cache: views and targets read from disk, no teacher in sight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.data.batches import Batch, World, in_background, whole_batch
from edgekd.data.views import DecodedImages, ViewRecipe, center_view, random_view, stack_views
from edgekd.distill.feature_cache.store import CENTRE, FeatureStore, record_key

Pixels = NDArray[np.uint8]


class CachedViewLoader:
    """Batches of the cached views of an image set; takes the place of ``ViewLoader``.

    Every image goes through its views in turn, each from a start of its own, so that an epoch holds
    all view numbers and ``views`` epochs hold all views.

    Args:
        store: complete for these images.
        decoded: the images, for views whose pixels are not stored.
        indices: which of them to use.
        batch_size: views a batch; a smaller last one is dropped unless it is the only one.
        recipe: how views are drawn.
        num_views: views of each image.
        workers: reading threads.
        world: this process takes its share of every batch.
    """

    def __init__(
        self,
        store: FeatureStore,
        decoded: DecodedImages,
        indices: Sequence[int],
        batch_size: int,
        recipe: ViewRecipe,
        num_views: int,
        workers: int,
        world: World = World(),  # noqa: B008 (frozen)
    ) -> None:
        self._store, self._decoded, self._recipe = store, decoded, recipe
        self._indices = np.asarray(indices)
        self._world = world
        self._whole = whole_batch(batch_size, len(indices), world)
        self._num_views, self._workers = num_views, workers

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
        shares = [
            order[b * size + world.rank : (b + 1) * size : world.size]
            for b in range(start_batch, self.batches_per_epoch)
        ]
        chunks = [[(int(i), self._view_of(int(i), epoch)) for i in share] for share in shares]
        for rows in in_background(self._row, chunks, self._workers):
            yield _join(rows)

    def centres(self, indices: Sequence[int], batch_size: int) -> Iterator[Batch]:
        """Central views of held-out images."""
        chunks = [
            [(i, CENTRE) for i in indices[start : start + batch_size]]
            for start in range(0, len(indices), batch_size)
        ]
        for rows in in_background(self._row, chunks, self._workers):
            yield _join(rows)

    def _view_of(self, index: int, epoch: int) -> int:
        start = int(self._decoded.images[index].sha256[15:23], 16)
        return (start + epoch) % self._num_views

    def _row(self, wanted: tuple[int, int | str]) -> tuple[Pixels, Pixels]:
        """Pixels ``(S, S, 3)`` and feature bytes of one view."""
        index, view = wanted
        sha256 = self._decoded.images[index].sha256
        description = self._store.description
        record = self._store.read(record_key(sha256, view))
        features = record[: description.feature_bytes]
        if description.pixels:
            side = description.image_size
            return record[description.feature_bytes :].reshape(side, side, 3), features
        pixels = self._decoded[index]
        if view == CENTRE:
            return center_view(pixels, self._recipe.size), features
        return random_view(pixels, sha256, int(view), self._recipe), features


def _join(rows: Sequence[tuple[Pixels, Pixels]]) -> Batch:
    features = np.stack([features for _, features in rows])
    return Batch(stack_views([pixels for pixels, _ in rows]), torch.from_numpy(features))
