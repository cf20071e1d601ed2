"""The prefetching loader yields exactly what the wrapped one would, and its errors too."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edgekd.train.prefetch import PrefetchLoader


class Loader:
    """Yields 0 … n−1 and notes the thread each batch was made in."""

    num_workers = 0

    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.count, self.fail_at = count, fail_at
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            self.threads.add(threading.get_ident())
            if number == self.fail_at:
                raise RuntimeError("broken batch")
            yield number


def test_same_batches_every_epoch_from_one_other_thread() -> None:
    inner = Loader(5)
    loader = PrefetchLoader(inner)
    for _ in range(2):
        inner.threads.clear()
        assert list(loader) == [0, 1, 2, 3, 4]
        assert len(inner.threads) == 1
        assert threading.get_ident() not in inner.threads
    assert (len(loader), loader.num_workers) == (5, 0)


def test_errors_arrive_where_the_batch_would_have() -> None:
    seen = []
    with pytest.raises(RuntimeError, match="broken batch"):
        for batch in PrefetchLoader(Loader(5, fail_at=2)):
            seen.append(batch)  # noqa: PERF402 - the point is what came before the error
    assert seen == [0, 1]


def test_leaving_early_leaves_no_thread() -> None:
    before = threading.active_count()
    for _ in PrefetchLoader(Loader(100)):
        break
    assert threading.active_count() <= before + 1
