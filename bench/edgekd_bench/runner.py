"""The one interface every backend is measured through, and how a model file is opened.

A runner answers one question: given a prepared batch, what does the network return? Decoding,
letterboxing and the clock on the wall live elsewhere, so that no backend can be favoured by doing
less. The one clock a runner keeps itself is the device's, which cannot be read from outside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekd_bench.backends import Backend, Device, backends_of, choose_backend
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Init, Parity

Float32Array = npt.NDArray[np.float32]
Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class RunnerInfo:
    """What is known about an opened model.

    ``num_params`` is the manifest's figure where there is one, else the parameters of the fused
    network (batch norm folded into the convolutions), which is what both ``.pt`` and ``.onnx`` run.
    """

    path: Path
    backend: Backend
    device: str  # "cpu", or the name of the GPU
    names: dict[int, str]
    image_size: int
    batch: int | None  # fixed batch of the file; None: it can be opened for others
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
    weights_sha256: str | None = None  # of the checkpoint it was made from, or is
    int8_for: str | None = None  # the runtime that an int8 file is laid out for
    first_call_ms: float | None = None  # the very first run, with all that happens only once
    notes: tuple[str, ...] = ()  # what a reader of its figures must know, one sentence each


@dataclass(frozen=True)
class RunnerOptions:
    """How to open a model."""

    image_size: int | None = None  # None: the model's own
    batch: int = 1  # images of every later call
    threads: int | None = None  # None: the backend's own choice
    device: Device = "cpu"
    channels_last: bool = False  # PyTorch only
    cuda_graph: bool = True  # TensorRT only: replay a captured graph where that is possible
    build_cache: Path | None = None  # for what a backend builds at opening and may build but once


@dataclass(frozen=True)
class Timed:
    """One call's result, and how long the device computed for it."""

    output: Float32Array  # (B, 4 + nc, A) raw, or (B, K, 6); on the host
    device_ms: float | None  # None: the backend has no such clock


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
            batch: (B, 3, S, S) float32 RGB in [0, 1], contiguous; B as the model was opened for.

        Returns:
            (B, 4 + nc, A) raw, or (B, K, 6) where ``info.end_to_end``; float32, on the host, and
            the caller's own: a later call does not change it.
        """

    def forward_timed(self, batch: Float32Array) -> Timed:
        """`forward`, with the device's own time of this very call.

        The device's time begins when the input lies in the device's memory and ends when the
        output does: no copy between host and device, no conversion.
        """
        return Timed(self.forward(batch), None)

    def forward_all(self, batches: Sequence[Float32Array]) -> list[Float32Array]:
        """Run many batches that are all at hand, in whatever way is quickest.

        Returns:
            What `forward` gives for each, in order.
        """
        return [self.forward(batch) for batch in batches]

    @property
    def in_flight(self) -> int:
        """How many batches `forward_all` keeps under way at once."""
        return 1

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


def backend_of(path: Path) -> Backend:
    """The backend a file runs on where nobody says otherwise.

    Raises:
        InputError: no backend runs such files.
    """
    return backends_of(path)[0]


def open_runner(
    path: Path, backend: str | None = None, options: RunnerOptions | None = None
) -> Runner:
    """Open a model on a backend and run it once, so that what cannot run fails here.

    Args:
        path: an ``.onnx``, an Ultralytics ``.pt``, or a TensorRT ``.engine``.
        backend: one of `edgekd_bench.backends.Backend`; None: the usual one for such files.
        options: image size, batch, threads, device.

    Raises:
        InputError: no such file, not a detector, broken, or not for this backend or machine.
    """
    wanted = options or RunnerOptions()
    chosen = choose_backend(path, backend, wanted.device)
    if not path.is_file():
        raise InputError(f"{path}: no such model; check the path")
    # Each backend is imported only when it is used: a device has no torch.
    if chosen == "pytorch":
        from edgekd_bench.torch_runner import open_torch

        return open_torch(path, wanted)
    if chosen == "tensorrt":
        from edgekd_bench.tensorrt_runner import open_tensorrt

        return open_tensorrt(path, wanted)
    if chosen == "openvino":
        from edgekd_bench.openvino_runner import open_openvino

        return open_openvino(path, wanted)
    from edgekd_bench.onnxruntime_runner import open_onnxruntime

    return open_onnxruntime(path, wanted, chosen)


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
