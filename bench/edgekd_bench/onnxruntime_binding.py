"""Keep a session's input and output where the network computes, so that copies can be told apart.

ONNX Runtime's plain ``run`` copies to the GPU, computes and copies back in one call; no clock can
see where one ends and the other begins. With bound memory the three are separate calls.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd_bench.runner import Float32Array, Timed

Array = npt.NDArray[Any]


class BoundSession(ABC):
    """A session whose output memory is fixed; the input is given with each call."""

    def __init__(self, session: Any, output_shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._binding = session.io_binding()
        self._output = self._allocate(output_shape, dtype)
        # Of memory on the host, `numpy` is a view that the next call would overwrite.
        self._is_view = self._output.device_name().lower() == "cpu"
        self._binding.bind_ortvalue_output(session.get_outputs()[0].name, self._output)

    def run(self, batch: Array) -> Timed:
        """Copy in, compute, copy out; only the middle part is the device's time."""
        self._set_input(batch)
        start = time.perf_counter_ns()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        device_ms = (time.perf_counter_ns() - start) / 1e6
        return Timed(self._copy_output(), device_ms)

    def _copy_output(self) -> Float32Array:
        """On the host, float32, and the caller's own."""
        result: Float32Array = self._output.numpy().astype(np.float32, copy=self._is_view)
        return result

    @abstractmethod
    def _allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """An OrtValue in the device's memory."""

    @abstractmethod
    def _set_input(self, batch: Array) -> None:
        """Bring a batch into the device's memory."""


class HostBoundSession(BoundSession):
    """The device is the CPU: the caller's array is the bound input, nothing is copied in."""

    def _allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        return _allocate(shape, dtype, "cpu")

    def _set_input(self, batch: Array) -> None:
        self._binding.bind_cpu_input(self._input, batch)


class DeviceBoundSession(BoundSession):
    """Input and output live in a memory of their own, bound once."""

    def __init__(
        self,
        session: Any,
        input_shape: tuple[int, ...],
        input_dtype: npt.DTypeLike,
        output_shape: tuple[int, ...],
        output_dtype: npt.DTypeLike,
        device: str = "cuda",
    ) -> None:
        """``device`` is ONNX Runtime's name of the memory: ``cuda``, or ``cpu`` in tests."""
        self._device = device
        super().__init__(session, output_shape, output_dtype)
        self._value = self._allocate(input_shape, input_dtype)
        self._binding.bind_ortvalue_input(self._input, self._value)

    def _allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        return _allocate(shape, dtype, self._device)

    def _set_input(self, batch: Array) -> None:
        self._value.update_inplace(batch)


class SessionStreams:
    """Several batches under way at once on the CPU, each on one thread.

    A network spread over all cores waits at the end of every layer for the slowest of them; where
    nobody waits for a single image, a core for each image wastes none of that.
    """

    def __init__(self, sessions: Sequence[BoundSession]) -> None:
        """``sessions`` are the streams: of one session that computes on the calling thread."""
        self.count = len(sessions)
        self._free: SimpleQueue[BoundSession] = SimpleQueue()
        for session in sessions:
            self._free.put(session)
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="stream")

    def run(self, batches: Sequence[Array]) -> list[Float32Array]:
        """All outputs, in the order of the batches."""
        return list(self._pool.map(self._run_one, batches))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _run_one(self, batch: Array) -> Float32Array:
        session = self._free.get()
        try:
            return session.run(batch).output
        finally:
            self._free.put(session)


def _allocate(shape: tuple[int, ...], dtype: npt.DTypeLike, device: str) -> Any:
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype).type, device, 0)
