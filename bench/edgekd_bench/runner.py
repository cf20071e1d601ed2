"""The one interface every backend is measured through, and the choice of backend for a file.

A runner answers one question: given a prepared batch, what does the network return? Decoding,
letterboxing and timing live elsewhere, so that no backend can be favoured by doing less.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Init, Parity

Float32Array = npt.NDArray[np.float32]
Precision = Literal["fp32", "fp16", "int8"]
BACKEND_OF_SUFFIX = {".onnx": "onnxruntime", ".pt": "pytorch"}


@dataclass(frozen=True)
class RunnerInfo:
    """What is known about an opened model.

    ``num_params`` is the manifest's figure where there is one, else the parameters of the fused
    network (batch norm folded into the convolutions), which is what both ``.pt`` and ``.onnx`` run.
    """

    path: Path
    backend: str
    device: str  # "cpu", or the name of the GPU
    names: dict[int, str]
    image_size: int
    batch: int | None  # fixed batch of the file; None: any
    stride: int
    end_to_end: bool
    precision: Precision
    num_params: int
    size_mb: float  # of the file, 10^6 bytes
    sha256: str
    init: Init = "other"
    seed: int | None = None
    parity: Parity = "n/a"
    teacher: str | None = None


@dataclass(frozen=True)
class RunnerOptions:
    """How to open a model."""

    image_size: int | None = None  # None: the model's own
    batch: int = 1
    threads: int | None = None  # None: the backend's own choice
    device: Literal["cpu", "cuda"] = "cpu"
    channels_last: bool = False  # PyTorch only


class Runner(ABC):
    """An opened model. Use it as a context manager: leaving it frees the network."""

    @property
    @abstractmethod
    def info(self) -> RunnerInfo:
        """What the model is and where it runs."""

    @abstractmethod
    def forward(self, batch: Float32Array) -> Float32Array:
        """Run the network and wait for the result.

        Args:
            batch: (B, 3, S, S) float32 RGB in [0, 1], contiguous.

        Returns:
            (B, 4 + nc, A) raw, or (B, K, 6) where ``info.end_to_end``; float32, on the host.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the network; the runner cannot be used afterwards."""

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def backend_of(path: Path) -> str:
    """The backend that runs a model file, by its suffix.

    Raises:
        InputError: no backend runs such files.
    """
    backend = BACKEND_OF_SUFFIX.get(path.suffix.lower())
    if backend is None:
        kinds = " or ".join(BACKEND_OF_SUFFIX)
        raise InputError(f"{path}: no backend runs '{path.suffix}' files; give a {kinds}")
    return backend


def open_runner(
    path: Path, backend: str | None = None, options: RunnerOptions | None = None
) -> Runner:
    """Open a model on a backend and run it once, so that what cannot run fails here.

    Args:
        path: an ``.onnx`` or an Ultralytics ``.pt``.
        backend: "onnxruntime" or "pytorch"; None: by the file's suffix.
        options: image size, batch, threads, device.

    Raises:
        InputError: no such file, not a detector, broken, or not for this backend or machine.
    """
    wanted = options or RunnerOptions()
    if not path.is_file():
        raise InputError(f"{path}: no such model; check the path")
    fitting = backend_of(path)
    if backend not in (None, fitting):
        raise InputError(f"{path}: a '{path.suffix}' file runs on {fitting}, not on {backend}")
    # Each backend is imported only when it is used: a device has no torch.
    if fitting == "onnxruntime":
        from edgekd_bench.onnxruntime_runner import open_onnxruntime

        return open_onnxruntime(path, wanted)
    from edgekd_bench.torch_runner import open_torch

    return open_torch(path, wanted)


def check_image_size(path: Path, image_size: int, stride: int) -> None:
    """Refuse a side that the network's grids do not divide.

    Raises:
        InputError: with the nearest sides that work.
    """
    if image_size % stride:
        lower = max(image_size // stride, 1) * stride
        raise InputError(
            f"{path}: image size {image_size} is not a multiple of its stride {stride}; "
            f"use {lower} or {lower + stride}"
        )
