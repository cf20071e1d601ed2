"""Training curves twice: ``metrics.jsonl`` for programs and TensorBoard for people."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from edgekd_bench.manifest import write_text_atomically


class MetricsLog:
    """Appends one JSON object an epoch; on resume, later lines than the checkpoint are dropped.

    Args:
        folder: gets ``metrics.jsonl`` and ``tensorboard/``.
        first_epoch: the epoch (1-based) that will be written next.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        self._file = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(self._file) if line["epoch"] < first_epoch]
        write_text_atomically(self._file, "".join(json.dumps(line) + "\n" for line in kept))
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._board.close()

    def write(self, line: dict[str, Any]) -> None:
        """Append ``line``, which must hold ``epoch``."""
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if name != "epoch":
                self._board.add_scalar(name, value, line["epoch"])


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl``; a last line cut off by a kill is left out."""
    if not file.exists():
        return []
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]
