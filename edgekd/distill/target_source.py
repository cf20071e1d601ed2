"""Where the loop's targets come from while the teacher is live.

The loop asks for batches, for the targets of a batch, and for held-out batches; a feature cache
answers the same three questions from disk (``feature_cache.cached_targets``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from lightning_fabric import Fabric

from edgekd.config import Config
from edgekd.data.batches import Batch
from edgekd.data.views import DecodedImages, center_view, stack_views
from edgekd.distill.compilation import compiled
from edgekd.distill.setup import DistillData, Models

Targets = dict[int, torch.Tensor]


class Loader(Protocol):
    """Batches of views, the same for the same epoch and batch number."""

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches every epoch yields."""

    @property
    def batch_size(self) -> int:
        """Views in each batch."""

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Batches of one epoch, from ``start_batch`` on."""


class TargetSource(Protocol):
    """What the loop needs to know about its targets."""

    @property
    def loader(self) -> Loader:
        """The training views."""

    def prepare(self, *, resumed: bool) -> None:
        """Make targets available; ``resumed``: the target space came with the checkpoint."""

    def targets(self, batch: Batch, images: torch.Tensor) -> Targets:
        """``{stride: (B, K, H, W)}`` of a batch whose ``images`` are on the device already."""

    def heldout(self) -> Iterator[tuple[torch.Tensor, Targets]]:
        """Pixels ``(B, 3, S, S)`` uint8 and targets of the held-out images."""


class LiveTargets:
    """The teacher computes the targets of every view anew.

    Args:
        config: the resolved options.
        data: images and loader.
        models: teacher and target space, on the device of ``fabric``.
        fabric: where the teacher runs, and how processes talk.
    """

    def __init__(self, config: Config, data: DistillData, models: Models, fabric: Fabric) -> None:
        self._config, self._data, self._models, self._fabric = config, data, models, fabric
        self._device = fabric.device
        # Training batches only: they all have one shape, held-out ones would compile it anew.
        self._teacher = compiled(models.teacher) if config.distill.compile else models.teacher

    @property
    def loader(self) -> Loader:
        return self._data.loader

    def prepare(self, *, resumed: bool) -> None:
        if resumed:
            return
        if self._data.world.leads:
            self._models.space.measure(self._models.teacher, self._statistics_batches())
        if self._data.world.size > 1:
            self._models.space.load_state_dict(
                self._fabric.broadcast(self._models.space.state_dict())
            )

    @torch.no_grad()
    def targets(self, batch: Batch, images: torch.Tensor) -> Targets:
        del batch
        targets: Targets = self._models.space(self._teacher(images))
        return targets

    def heldout(self) -> Iterator[tuple[torch.Tensor, Targets]]:
        for pixels in self._centres(self._data.heldout):
            images = pixels.to(self._device).float().div_(255)
            yield pixels.to(self._device), self._models.space(self._models.teacher(images))

    def _statistics_batches(self) -> Iterator[torch.Tensor]:
        for pixels in self._centres(statistics_images(self._config, self._data)):
            yield pixels.to(self._device).float().div_(255)

    def _centres(self, indices: list[int]) -> Iterator[torch.Tensor]:
        options = self._config.distill
        return centre_batches(
            self._data.decoded, indices, self._config.image_size, options.batch_size
        )


def statistics_images(config: Config, data: DistillData) -> list[int]:
    """Images the target space is measured on: none of the held-out ones."""
    first = len(data.heldout)
    count = min(config.distill.standardize_images, len(data.decoded))
    return list(range(first, min(first + count, len(data.decoded))))


def centre_batches(
    decoded: DecodedImages, indices: list[int], size: int, batch_size: int
) -> Iterator[torch.Tensor]:
    """Central squares of the given images: ``(B, 3, S, S)`` uint8."""
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        yield stack_views([center_view(decoded[i], size) for i in chosen])
