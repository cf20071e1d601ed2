"""Prepare the next training batch while the network works on this one.

On a CPU Ultralytics loads data in the training thread, and mosaics cost about as much as the
network of a small student. One thread ahead overlaps the two. It draws every random number itself,
in the same order as before, so the batches are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class PrefetchLoader:
    """A data loader that is one batch ahead; everything else is the wrapped loader's."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        with ThreadPoolExecutor(1) as pool:
            batches = iter(self._loader)
            upcoming = pool.submit(next, batches, None)
            while (batch := upcoming.result()) is not None:
                upcoming = pool.submit(next, batches, None)
                yield batch

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
