"""One way through a TensorRT engine: execution context, stream, memory and events of its own.

A lane does one batch at a time, in four steps that all go onto its stream: copy in, compute, copy
out, and then somebody waits. Two lanes can overlap, because they share nothing but the engine.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd_bench.cuda_graph import CudaGraph, capture
from edgekd_bench.runner import Float32Array, Timed
from edgekd_bench.tensorrt_engine import EngineError, LoadedEngine


class Lane:
    """Runs batches of one fixed shape. The engine's CUDA context must be current throughout."""

    def __init__(self, engine: LoadedEngine, shape: tuple[int, ...]) -> None:
        """Allocate everything, run nothing.

        Args:
            engine: to run.
            shape: (B, 3, S, S) of every batch.

        Raises:
            EngineError: no context, a shape outside the engine's profile, or no memory.
        """
        self.shape = shape
        self._loaded, self._engine, self._names = engine, engine.engine, engine.tensors
        self._cuda = engine.tools.cuda
        self._graph: CudaGraph | None = None
        self._buffers: dict[str, Any] = {}
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"no execution context can be created ({engine.take_error()})")
        self._set_shape(shape)
        self._stream = self._cuda.Stream()
        self._begin, self._end = self._cuda.Event(), self._cuda.Event()
        with ExitStack() as memory:  # freed here if anything below fails, else by `close`
            self._input = self._pinned(memory, self._names.input)
            self._output = self._pinned(memory, self._names.output)
            for name in (self._names.input, *self._names.outputs):
                self._allocate(memory, name)
            self._memory = memory.pop_all()

    def submit(self, batch: Float32Array) -> None:
        """Put one batch on the stream; returns at once."""
        names, stream = self._names, self._stream
        np.copyto(self._input, batch, casting="same_kind")
        self._cuda.memcpy_htod_async(self._buffers[names.input], self._input, stream)
        self._begin.record(stream)
        if self._graph is not None:
            self._graph.launch(stream.handle)
        elif not self._enqueue():
            raise EngineError(f"the network was not enqueued ({self._loaded.take_error()})")
        self._end.record(stream)
        self._cuda.memcpy_dtoh_async(self._output, self._buffers[names.output], stream)

    def collect(self) -> Timed:
        """Wait for the batch that was submitted last."""
        self._stream.synchronize()
        # A copy: the next batch overwrites the pinned memory.
        output: Float32Array = self._output.astype(np.float32, copy=True)
        return Timed(output, float(self._begin.time_till(self._end)))

    def warm_up(self) -> Float32Array:
        """Run once, and from then on replay a CUDA graph where the network can be captured.

        The first call cannot be captured itself: TensorRT still sets things up in it.
        """
        self.submit(np.zeros(self.shape, np.float32))
        output = self.collect().output
        driver = self._loaded.tools.graph_driver
        if driver is not None and self._may_be_captured():
            self._graph = capture(driver, self._stream.handle, self._enqueue)
        return output

    @property
    def has_graph(self) -> bool:
        """Whether calls replay a CUDA graph."""
        return self._graph is not None

    def close(self) -> None:
        """Wait, then free what was made last first."""
        self._stream.synchronize()
        if self._graph is not None:
            self._graph.close()
            self._graph = None
        self._context = None
        self._memory.close()
        self._begin = self._end = self._stream = None

    def _enqueue(self) -> bool:
        return bool(self._context.execute_async_v3(self._stream.handle))

    def _may_be_captured(self) -> bool:
        """TensorRT-RTX knows beforehand; TensorRT has to be tried."""
        if hasattr(self._context, "is_stream_capturable"):
            return bool(self._context.is_stream_capturable(self._stream.handle))
        return True

    def _set_shape(self, shape: tuple[int, ...]) -> None:
        name = self._names.input
        if -1 not in tuple(self._engine.get_tensor_shape(name)):
            return
        if not self._context.set_input_shape(name, shape):
            least, _, most = (tuple(s) for s in self._engine.get_tensor_profile_shape(name, 0))
            raise EngineError(f"was built for inputs from {least} to {most}, not for {shape}")

    def _shape_of(self, name: str) -> tuple[int, ...]:
        shape = tuple(self._context.get_tensor_shape(name))
        if -1 in shape:
            raise EngineError(f"the size of '{name}' depends on what is in the image")
        return shape

    def _pinned(self, memory: ExitStack, name: str) -> npt.NDArray[Any]:
        dtype = self._loaded.dtype_of(name)
        array: npt.NDArray[Any] = self._cuda.pagelocked_empty(self._shape_of(name), dtype)
        memory.callback(array.base.free)  # type: ignore[union-attr]
        return array

    def _allocate(self, memory: ExitStack, name: str) -> None:
        size = math.prod(self._shape_of(name)) * self._loaded.dtype_of(name).itemsize
        buffer = self._cuda.mem_alloc(size)
        memory.callback(buffer.free)
        self._buffers[name] = buffer
        if not self._context.set_tensor_address(name, int(buffer)):
            raise EngineError(f"TensorRT does not take the memory for '{name}'")
