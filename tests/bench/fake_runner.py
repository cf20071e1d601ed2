"""A runner without a network: it records its calls and returns what it is told."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from bench.synthetic_sets import NAMES

from edgekd_bench.runner import Runner, RunnerInfo, Timed


class FakeRunner(Runner):
    """Returns ``rows`` (K, 6) for every image, as an end-to-end network would."""

    def __init__(
        self,
        name: str,
        order: list[str],
        rows: np.ndarray | None = None,
        names: dict[int, str] | None = None,
        seconds: float = 0.0,
        device_ms: float | None = None,
    ) -> None:
        """``seconds`` is how long a call takes, ``device_ms`` what its device's clock says."""
        self._name = name
        self._order = order
        self._rows = np.zeros((5, 6), np.float32) if rows is None else rows
        self._names = NAMES if names is None else names
        self._seconds = seconds
        self._device_ms = device_ms
        self.seen: list[np.ndarray] = []

    @property
    def info(self) -> RunnerInfo:
        return RunnerInfo(
            path=Path(f"{self._name}.onnx"),
            backend="onnxruntime",
            device="cpu",
            names=self._names,
            image_size=64,
            batch=None,
            stride=32,
            end_to_end=True,
            precision="fp32",
            num_params=1,
            size_mb=1.0,
            sha256="0",
        )

    def forward(self, batch: np.ndarray) -> np.ndarray:
        self._order.append(self._name)
        self.seen.append(batch.copy())
        time.sleep(self._seconds)
        return np.repeat(self._rows[None], len(batch), axis=0)

    def forward_timed(self, batch: np.ndarray) -> Timed:
        return Timed(self.forward(batch), self._device_ms)

    def close(self) -> None:
        self.seen.clear()
