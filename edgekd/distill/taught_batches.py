"""Batches with their targets, on the device and ready for a student step.

On an NVIDIA GPU the next batch is copied and taught on a stream of its own while the student works
on the current one. On a CPU the two would only fight for the same cores, so there one follows the
other. The numbers are the same either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric

from edgekd.data.batches import Batch
from edgekd.distill.target_source import Loader, Targets, TargetSource

Item = TypeVar("Item")


@dataclass(frozen=True)
class TaughtBatch:
    """Images ``(B, 3, S, S)`` in ``[0, 1]`` and targets ``{stride: (B, K, H, W)}``."""

    images: torch.Tensor
    targets: Targets

    def __len__(self) -> int:
        return len(self.images)


class TaughtBatches:
    """The batches of a target source, taught ahead of the student where that helps.

    Args:
        source: of views and targets.
        fabric: the device, and the arithmetic of the teacher.
    """

    def __init__(self, source: TargetSource, fabric: Fabric) -> None:
        self._source, self._fabric = source, fabric
        on_gpu = fabric.device.type == "cuda"
        stream: Any = torch.cuda.Stream
        self._aside: torch.cuda.Stream | None = stream(fabric.device) if on_gpu else None

    @property
    def loader(self) -> Loader:
        """The same views without targets."""
        return self._source.loader

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[TaughtBatch]:
        """All batches of an epoch, from ``start_batch`` on."""
        batches = self._source.loader.epoch(epoch, start_batch)
        if self._aside is None:
            return map(self.teach, batches)
        return self._overlapped(batches, self._aside)

    def teach(self, batch: Batch) -> TaughtBatch:
        """One batch, now and on the current stream."""
        if self._fabric.device.type == "cuda":
            batch = batch.pinned()
        images = batch.pixels.to(self._fabric.device, non_blocking=True).float().div_(255)
        with self._fabric.autocast():
            return TaughtBatch(images, self._source.targets(batch, images))

    def _overlapped(
        self, batches: Iterable[Batch], aside: torch.cuda.Stream
    ) -> Iterator[TaughtBatch]:
        main = torch.cuda.current_stream(self._fabric.device)
        aside.wait_stream(main)  # the teacher's weights and statistics came on that one
        for taught, done in one_ahead(self._teach_aside(batch, aside) for batch in batches):
            main.wait_event(done)
            for tensor in (taught.images, *taught.targets.values()):
                tensor.record_stream(main)  # its memory is the side stream's until then
            yield taught

    def _teach_aside(
        self, batch: Batch, aside: torch.cuda.Stream
    ) -> tuple[TaughtBatch, torch.cuda.Event]:
        """Queue the copies and the teacher; returns at once, with the event that ends them."""
        with torch.cuda.stream(aside):
            return self.teach(batch), aside.record_event()


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; each is handed out after the one behind it has been drawn."""
    upcoming = iter(items)
    for current in upcoming:
        for following in upcoming:
            yield current
            current = following
        yield current
