"""Fill a cache: every view of every image that has no record yet goes through the teacher once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.data.batches import in_background
from edgekd.data.views import DecodedImages, ViewRecipe, center_view, random_view, stack_views
from edgekd.distill.feature_cache.codec import FeatureCodec
from edgekd.distill.feature_cache.store import (
    CENTRE,
    RECORDS_PER_SHARD,
    FeatureStore,
    record_key,
)
from edgekd.models.teacher import Teacher

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """One view of one image: a number, or the centre."""

    index: int  # of the image
    view: int | str


class CacheFiller:
    """Computes missing records of a store.

    Args:
        store: where they go.
        codec: fitted.
        teacher: frozen, on the device that computes.
        decoded: the images.
        recipe: how views are drawn.
        batch_size: views a forward pass.
        workers: decoding threads.
        rank: of this process; part of the shard names, so that ranks never collide.
    """

    def __init__(
        self,
        store: FeatureStore,
        codec: FeatureCodec,
        teacher: Teacher,
        decoded: DecodedImages,
        recipe: ViewRecipe,
        *,
        batch_size: int,
        workers: int,
        rank: int = 0,
    ) -> None:
        self._store, self._codec, self._teacher = store, codec, teacher
        self._decoded, self._recipe = decoded, recipe
        self._batch_size, self._workers, self._rank = batch_size, workers, rank

    def key(self, view: View) -> str:
        """The record's key."""
        return record_key(self._decoded.images[view.index].sha256, view.view)

    def missing(self, views: Sequence[View]) -> list[View]:
        """Those of ``views`` that have no record, each once."""
        return list({self.key(v): v for v in views if self.key(v) not in self._store}.values())

    @torch.no_grad()
    def fill(self, views: Sequence[View], on_views: Callable[[int], bool]) -> int:
        """Compute records for ``views``, shard by shard.

        Args:
            views: without records, see `missing`.
            on_views: called with the number of views after each batch; True stops the filling,
                with everything computed so far written.

        Returns:
            The number of records written.

        Raises:
            InputError: the disk is full; what was written before stays.
        """
        keys: list[str] = []
        records: list[Pixels] = []
        written = 0
        for batch, pixels in self._batches(views):
            rows = self._records(pixels)
            keys += [self.key(view) for view in batch]
            records += list(rows)
            stop = on_views(len(batch))
            while len(keys) >= RECORDS_PER_SHARD or (stop and keys):
                count = min(len(keys), RECORDS_PER_SHARD)
                self._write(keys[:count], records[:count])
                keys, records = keys[count:], records[count:]
                written += count
            if stop:
                return written
        if keys:
            self._write(keys, records)
        return written + len(keys)

    def _write(self, keys: list[str], records: list[Pixels]) -> None:
        self._store.append(self._store.free_shard_name(self._rank), keys, np.stack(records))

    def _records(self, pixels: torch.Tensor) -> Pixels:
        """``(B, record_bytes)``."""
        device = self._teacher.mean.device
        images = pixels.to(device, non_blocking=True).float().div_(255)
        features = self._codec.encode(self._teacher(images))
        if not self._store.description.pixels:
            return features
        flat = pixels.permute(0, 2, 3, 1).reshape(len(pixels), -1).numpy()
        return np.concatenate([features, flat], axis=1)

    def _batches(self, views: Sequence[View]) -> Iterator[tuple[Sequence[View], torch.Tensor]]:
        """Views drawn by threads, two batches ahead of the teacher."""
        chunks = [views[i : i + self._batch_size] for i in range(0, len(views), self._batch_size)]
        drawn = in_background(self._draw, chunks, self._workers)
        for chunk, pixels in zip(chunks, drawn, strict=True):
            yield chunk, stack_views(pixels)

    def _draw(self, view: View) -> Pixels:
        pixels = self._decoded[view.index]
        if view.view == CENTRE:
            return center_view(pixels, self._recipe.size)
        digest = self._decoded.images[view.index].sha256
        return random_view(pixels, digest, int(view.view), self._recipe)
