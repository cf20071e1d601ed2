"""What the distillation loop is fed, and how it is prepared ahead of the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import TypeVar

import torch

from edgekd_bench.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
_AHEAD = 2  # batches; more only holds memory


@dataclass(frozen=True)
class World:
    """This process among all processes of the job."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0


def whole_batch(batch_size: int, num_images: int, world: World) -> int:
    """Views of a batch over all processes: as configured, or all images where there are fewer.

    Raises:
        InputError: the processes cannot share it equally.
    """
    whole = min(batch_size, num_images)
    whole = whole - whole % world.size if whole < batch_size else whole
    if whole == 0 or whole % world.size:
        raise InputError(
            f"distill.batch_size {batch_size} cannot be shared equally by {world.size} processes"
        )
    return whole


@dataclass(frozen=True)
class Batch:
    """Views ``(B, 3, S, S)`` uint8 and, out of a cache, their features ``(B, bytes)`` uint8."""

    pixels: torch.Tensor
    features: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def pinned(self) -> Batch:
        """A copy in page-locked memory, from where a GPU fetches it without stopping anybody."""
        features = None if self.features is None else self.features.pin_memory()
        return Batch(self.pixels.pin_memory(), features)


def endless(epoch: Callable[[int], Iterator[Item]]) -> Generator[Item, None, None]:
    """The items of epoch 0, 1, 2, … without end."""
    for number in count():
        yield from epoch(number)


def in_background(
    work: Callable[[Item], Result], chunks: Sequence[Sequence[Item]], workers: int
) -> Iterator[list[Result]]:
    """Apply ``work`` to every item with threads, some chunks ahead of the consumer, in order."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[list[Future[Result]]] = deque()
        upcoming = iter(chunks)
        try:
            for chunk in islice(upcoming, _AHEAD):
                pending.append([pool.submit(work, item) for item in chunk])
            while pending:
                ready = pending.popleft()
                following = next(upcoming, None)
                if following is not None:
                    pending.append([pool.submit(work, item) for item in following])
                yield [future.result() for future in ready]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
