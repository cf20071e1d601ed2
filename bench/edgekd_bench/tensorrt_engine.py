"""Load a TensorRT engine into this process's CUDA context, and keep alive what it needs.

The primary context is used, the one that PyTorch and ONNX Runtime use too, and it is left as it was
found; pycuda's own ``autoinit`` would put another one in everybody's way. What TensorRT has to say
about a failure it says only to its logger, so that is listened to.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekd_bench.manifest import Manifest


class EngineError(Exception):
    """TensorRT or CUDA cannot do what is asked: one line, without the name of the file."""


@dataclass(frozen=True)
class CudaTools:
    """The libraries an engine is run with."""

    trt: Any  # tensorrt or tensorrt_rtx
    cuda: Any  # pycuda.driver
    graph_driver: Any | None  # the driver's own library; None: do without CUDA graphs


@dataclass(frozen=True)
class EngineTensors:
    """Names of an engine's input and outputs."""

    input: str
    outputs: tuple[str, ...]

    @property
    def output(self) -> str:
        """The one that holds the detections."""
        return self.outputs[0]


class LoadedEngine:
    """A deserialised engine. Close it after everything that was made from it."""

    def __init__(self, tools: CudaTools, manifest: Manifest, content: memoryview) -> None:
        """Enter the CUDA context and deserialise.

        Args:
            tools: the libraries.
            manifest: of the engine; says which DLA core it runs on, if any.
            content: the engine as TensorRT wrote it.

        Raises:
            EngineError: TensorRT does not accept it, or it takes more than one input.
        """
        self.tools = tools
        self._log = _error_log(tools.trt)
        with ExitStack() as resources:
            self.device_name = _enter_primary_context(tools.cuda, resources)
            self._runtime: Any = tools.trt.Runtime(self._log)
            if manifest.engine is not None and manifest.engine.dla_core is not None:
                self._runtime.DLA_core = manifest.engine.dla_core
            self.engine: Any = self._runtime.deserialize_cuda_engine(bytes(content))
            if self.engine is None:
                raise EngineError(
                    f"TensorRT {tools.trt.__version__} cannot load it ({self.take_error()}); an "
                    "engine runs only with the version and on the GPU it was built for"
                )
            self.tensors = _tensors(tools.trt, self.engine)
            self._resources = resources.pop_all()

    def dtype_of(self, tensor: str) -> np.dtype[Any]:
        """Element type of a tensor."""
        dtype: np.dtype[Any] = np.dtype(self.tools.trt.nptype(self.engine.get_tensor_dtype(tensor)))
        return dtype

    def take_error(self) -> str:
        """What TensorRT said when something failed: the first is the cause, the rest follow it."""
        errors, self._log.errors = self._log.errors, []
        return " ".join(errors[0].split())[:200] if errors else "it does not say why"

    def close(self) -> None:
        """Free the engine, then leave the CUDA context."""
        self.engine = None
        self._runtime = None
        self._resources.close()


def _enter_primary_context(cuda: Any, resources: ExitStack) -> str:
    """Make the primary context current until ``resources`` close; returns the GPU's name."""
    cuda.init()
    device = cuda.Device(0)
    context = device.retain_primary_context()
    resources.callback(context.detach)
    context.push()
    resources.callback(context.pop)
    return str(device.name())


def _error_log(trt: Any) -> Any:
    """A logger that keeps errors and prints nothing."""

    class ErrorLog(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(message)

    return ErrorLog()


def _tensors(trt: Any, engine: Any) -> EngineTensors:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    modes = {name: engine.get_tensor_mode(name) for name in names}
    inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
    outputs = tuple(name for name in names if modes[name] == trt.TensorIOMode.OUTPUT)
    if len(inputs) != 1 or not outputs:
        raise EngineError("input is not one float image batch (B, 3, S, S)")
    return EngineTensors(inputs[0], outputs)
