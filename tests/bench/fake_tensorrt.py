"""TensorRT on the fake CUDA device: an engine whose network is a Python function.

Only names that TensorRT 10.3, 10.13, 11 and RTX 1.7 have in common exist, so a runner that touches
another one fails here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from bench.fake_cuda import NETWORK_MS, FakeCuda

MAGIC = b"fake engine"
Network = Callable[[np.ndarray], np.ndarray]


@dataclass
class EngineSpec:
    """What `deserialize_cuda_engine` finds in a file that begins with ``MAGIC``."""

    network: Network
    input_shape: tuple[int, ...]  # -1: dynamic
    output_shape: tuple[int, ...]
    max_batch: int = 1
    dtype: type = np.float32
    names: tuple[str, str] = ("images", "output0")
    can_capture: bool = True
    num_contexts: int = 9  # how many fit into memory
    opened: list[FakeEngine] = field(default_factory=list)


class _Logger:
    INTERNAL_ERROR, ERROR, WARNING = "internal error", "error", "warning"

    def log(self, severity: str, message: str) -> None:
        raise NotImplementedError


def fake_tensorrt(cuda: FakeCuda, spec: EngineSpec, *, is_rtx: bool = False) -> ModuleType:
    """What ``import tensorrt`` (or ``tensorrt_rtx``) gives."""
    module = ModuleType("tensorrt_rtx" if is_rtx else "tensorrt")

    class Runtime:
        def __init__(self, logger: _Logger) -> None:
            assert isinstance(logger, _Logger)
            self._logger = logger

        def deserialize_cuda_engine(self, content: bytes) -> FakeEngine | None:
            cuda.need_context()
            cuda.note("deserialize")
            if not content.startswith(MAGIC):
                self._logger.log(_Logger.WARNING, "just a warning")
                self._logger.log(_Logger.ERROR, "magic tag\ndoes not match")
                return None
            spec.opened.append(FakeEngine(cuda, spec, is_rtx))
            return spec.opened[-1]

    class TensorIOMode:
        INPUT, OUTPUT = "input", "output"

    names: dict[str, Any] = {
        "__version__": "10.3.0",
        "ILogger": _Logger,
        "Runtime": Runtime,
        "TensorIOMode": TensorIOMode,
        "nptype": lambda dtype: dtype,
    }
    for name, value in names.items():
        setattr(module, name, value)
    return module


class FakeEngine:
    def __init__(self, cuda: FakeCuda, spec: EngineSpec, is_rtx: bool) -> None:
        self._cuda, self._spec, self._is_rtx = cuda, spec, is_rtx
        self.num_io_tensors = 2
        self.num_contexts = 0

    def get_tensor_name(self, index: int) -> str:
        return self._spec.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == self._spec.names[0] else "output"

    def get_tensor_dtype(self, name: str) -> type:
        assert name in self._spec.names
        return self._spec.dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        first = name == self._spec.names[0]
        return self._spec.input_shape if first else self._spec.output_shape

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert profile == 0 and name == self._spec.names[0]
        rest = self._spec.input_shape[1:]
        return [(1, *rest), (1, *rest), (self._spec.max_batch, *rest)]

    def create_execution_context(self) -> ExecutionContext | None:
        self.num_contexts += 1
        if self.num_contexts > self._spec.num_contexts:
            return None
        kind = RtxExecutionContext if self._is_rtx else ExecutionContext
        return kind(self._cuda, self._spec)


class ExecutionContext:
    def __init__(self, cuda: FakeCuda, spec: EngineSpec) -> None:
        cuda.need_context()
        self._cuda, self._spec = cuda, spec
        self._addresses: dict[str, int] = {}
        self._batch: int | None = None if spec.input_shape[0] == -1 else spec.input_shape[0]
        self._has_run = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == self._spec.names[0]
        if shape[0] > self._spec.max_batch or shape[1:] != self._spec.input_shape[1:]:
            return False
        self._batch = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        first = name == self._spec.names[0]
        shape = self._spec.input_shape if first else self._spec.output_shape
        return (self._batch if self._batch is not None else -1, *shape[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        target = self._cuda.streams[stream]
        if set(self._addresses) != set(self._spec.names) or self._batch is None:
            return False
        if target.captured is not None and not (self._has_run and self._spec.can_capture):
            return False
        self._cuda.note("execute")
        self._has_run = True
        addresses, shape = dict(self._addresses), self.get_tensor_shape(self._spec.names[0])

        def run() -> None:
            size = int(np.prod(shape)) * np.dtype(self._spec.dtype).itemsize
            data = self._cuda.read(addresses[self._spec.names[0]], size)
            batch = np.frombuffer(data, self._spec.dtype).reshape(shape)
            output = self._spec.network(batch).astype(self._spec.dtype)
            self._cuda.write(addresses[self._spec.names[1]], output.tobytes())

        target.put(run, NETWORK_MS)
        return True


class RtxExecutionContext(ExecutionContext):
    """TensorRT-RTX can be asked whether a stream may be captured."""

    def is_stream_capturable(self, stream: int) -> bool:
        assert stream in self._cuda.streams
        return self._spec.can_capture
