"""How a distillation can end: with a result, or stopped and saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekd.distill.efficiency import Efficiency


@dataclass(frozen=True)
class DistillResult:
    """What a finished distillation leaves behind; ``efficiency`` is None after very short runs."""

    backbone: Path
    metrics: Path
    heldout_cosine: float
    best_epoch: int
    num_images: int
    num_skipped: int
    num_duplicates: int
    images_per_second: float
    efficiency: Efficiency | None


class StoppedError(Exception):
    """The user stopped a run; the message says what was saved and how to continue."""

    def __init__(self, message: str, signal_name: str) -> None:
        super().__init__(message)
        self.signal_name = signal_name
