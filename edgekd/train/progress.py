"""Progress of a detector training in one line an epoch, instead of Ultralytics' own output."""

from __future__ import annotations

import math
import time

from rich.console import Console


class TrainProgress:
    """Prints epoch, mAP where it was measured, images/s and time left.

    Args:
        console: where to print.
        label: ``baseline seed 0``.
        epochs: in all.
        num_images: training images an epoch.
        every: print each so many epochs, and the last.
    """

    def __init__(
        self, console: Console, label: str, epochs: int, num_images: int, every: int
    ) -> None:
        self._console, self._label = console, label
        self._epochs, self._num_images, self._every = epochs, num_images, every
        self._started = time.perf_counter()
        self._done_before: int | None = None

    def __call__(self, done: int, metrics: dict[str, float]) -> None:
        """Called after each epoch with the number of epochs done."""
        if self._done_before is None:
            self._done_before = done - 1  # more than 0 after a resume
        if done % self._every and done != self._epochs:
            return
        elapsed = time.perf_counter() - self._started
        own = done - self._done_before
        left = elapsed / own * (self._epochs - done)
        value = metrics.get("metrics/mAP50-95(B)", math.nan)
        shown = f"val mAP50-95 {value:.3f}  " if not math.isnan(value) else ""
        self._console.print(
            f"train {self._label}  epoch {done}/{self._epochs}  {shown}"
            f"{own * self._num_images / elapsed:.0f} images/s  {left:.0f} s left"
        )
