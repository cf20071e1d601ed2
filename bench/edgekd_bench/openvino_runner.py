"""Run an ONNX detector on OpenVINO, on an Intel (or AMD, or Arm) CPU or an Intel GPU.

Left alone, OpenVINO computes an fp32 file in bf16 on processors that have it, and in fp16 on a GPU;
a row that says fp32 would compare two different things. So the precision of the file is what it is
asked for. It compiles for latency; for many images at hand it compiles once more, for throughput,
and keeps as many requests under way as it recommends itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd_bench.detections import check_output
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest
from edgekd_bench.onnx_metadata import read_onnx_manifest, read_onnx_metadata
from edgekd_bench.opened_model import InputLayout, check_input, describe
from edgekd_bench.runner import Float32Array, Runner, RunnerInfo, RunnerOptions, Timed

_DEVICES = {"cpu": "CPU", "intel-gpu": "GPU"}


class OpenVinoRunner(Runner):
    """An ONNX detector compiled by OpenVINO."""

    def __init__(self, compiler: _Compiler, request: Any, info: RunnerInfo, dtype: Any) -> None:
        self._compiler: _Compiler | None = compiler
        self._request = request
        self._info = info
        self._dtype = dtype
        self._queue: Any = None

    @property
    def info(self) -> RunnerInfo:
        return self._info

    def forward(self, batch: Float32Array) -> Float32Array:
        return self.forward_timed(batch).output

    def forward_timed(self, batch: Float32Array) -> Timed:
        device_ms = _infer(self._request, batch.astype(self._dtype, copy=False))
        return Timed(_take(self._request), device_ms)

    def forward_all(self, batches: Sequence[Float32Array]) -> list[Float32Array]:
        queue = self._throughput_queue()
        outputs: list[Float32Array | None] = [None] * len(batches)

        def keep(request: Any, index: int) -> None:
            outputs[index] = _take(request)

        queue.set_callback(keep)
        # All tensors stay referenced until the last request has read its own.
        tensors = [_shared(batch.astype(self._dtype, copy=False)) for batch in batches]
        for index, tensor in enumerate(tensors):
            queue.start_async({0: tensor}, userdata=index)
        queue.wait_all()
        done = [output for output in outputs if output is not None]
        assert len(done) == len(batches), "a request ended without calling back"
        return done

    @property
    def in_flight(self) -> int:
        return len(self._throughput_queue())

    def close(self) -> None:
        self._request = self._queue = self._compiler = None

    def _throughput_queue(self) -> Any:
        """Compiled at first use: it takes a while, and single images never need it."""
        if self._queue is None:
            import openvino as ov

            assert self._compiler is not None, "the runner was closed"
            self._queue = ov.AsyncInferQueue(self._compiler.compile("THROUGHPUT"))
        return self._queue


class _Compiler:
    """A network that was read and shaped, ready to be compiled for either use."""

    def __init__(self, core: Any, model: Any, device: str, config: dict[str, Any]) -> None:
        self._core, self._model, self._device, self._config = core, model, device, config

    def compile(self, use: str) -> Any:
        """Compile for ``LATENCY`` or ``THROUGHPUT``."""
        config = {**self._config, "PERFORMANCE_HINT": use}
        return self._core.compile_model(self._model, self._device, config)


def open_openvino(path: Path, options: RunnerOptions) -> Runner:
    """Open an ONNX detector.

    Raises:
        InputError: not an ONNX detector, a fixed shape other than asked for, or no such device.
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise InputError(
            f"{path}: OpenVINO is not installed ({error}); pip install 'edgekd[openvino]'"
        ) from error
    manifest = read_onnx_manifest(path, read_onnx_metadata(path))
    core = ov.Core()
    device = _device(path, core, options)
    try:
        model = core.read_model(path)
        layout = _shape(path, model, manifest, options)
        config, notes = _config(core, device, manifest, options)
        compiler = _Compiler(core, model, device, config)
        compiled = compiler.compile("LATENCY")
        _check_device(path, compiled, device)
        request = compiled.create_infer_request()
        start = time.perf_counter()
        _infer(request, np.zeros(layout.shape, layout.dtype))
        output, first_call_ms = _take(request), (time.perf_counter() - start) * 1e3
    except RuntimeError as error:  # every error of OpenVINO
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: OpenVINO cannot run it ({reason}); export again") from error
    info = describe(
        path,
        manifest,
        backend="openvino",
        device="cpu" if device == "CPU" else str(core.get_property(device, "FULL_DEVICE_NAME")),
        layout=layout,
        end_to_end=check_output(output, len(manifest.names), path),
        first_call_ms=first_call_ms,
        notes=notes,
    )
    return OpenVinoRunner(compiler, request, info, layout.dtype)


def _device(path: Path, core: Any, options: RunnerOptions) -> str:
    device = _DEVICES[options.device]
    available = list(core.available_devices)
    if not any(name.split(".")[0] == device for name in available):
        raise InputError(
            f"{path}: OpenVINO sees no {device} here (it sees: {', '.join(available) or 'nothing'})"
        )
    return device


def _shape(path: Path, model: Any, manifest: Manifest, options: RunnerOptions) -> InputLayout:
    """Check the input and fix its shape: OpenVINO is faster where no dimension is open."""
    if len(model.inputs) != 1:
        raise InputError(f"{path}: input is not one float image batch (B, 3, S, S)")
    port = model.input(0)
    dtype = port.get_element_type().to_dtype()
    if dtype not in (np.float32, np.float16):
        raise InputError(f"{path}: input is not one float image batch (B, 3, S, S)")
    shape = [None if size.is_dynamic else size.get_length() for size in port.get_partial_shape()]
    layout = check_input(path, shape, dtype, manifest, options)
    model.reshape(list(layout.shape))
    return layout


def _config(
    core: Any, device: str, manifest: Manifest, options: RunnerOptions
) -> tuple[dict[str, Any], list[str]]:
    """How to compile, and what to note about it."""
    precision, notes = "f32", []
    if manifest.precision == "fp16":
        if "FP16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
            precision = "f16"
        else:
            notes.append("the weights are fp16, but this processor computes them in fp32")
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
    if options.threads is not None and device == "CPU":
        config["INFERENCE_NUM_THREADS"] = options.threads
    return config, notes


def _check_device(path: Path, compiled: Any, device: str) -> None:
    """Refuse a network that was compiled for anything but the device asked for."""
    used = list(compiled.get_property("EXECUTION_DEVICES"))
    if any(name.split(".")[0] != device for name in used):
        raise InputError(f"{path}: asked for {device} but OpenVINO runs it on {', '.join(used)}")


def _infer(request: Any, batch: npt.NDArray[Any]) -> float:
    """Compute, with the array itself as input; milliseconds of the computation alone.

    A request does not keep what it was given alive: without ``tensor`` the array's memory could be
    another's before the network has read it.
    """
    tensor = _shared(batch)
    request.set_input_tensor(tensor)
    start = time.perf_counter_ns()
    request.infer()
    return (time.perf_counter_ns() - start) / 1e6


def _shared(batch: npt.NDArray[Any]) -> Any:
    """A tensor over the array's own memory, which it keeps alive."""
    import openvino as ov

    return ov.Tensor(np.ascontiguousarray(batch), shared_memory=True)


def _take(request: Any) -> Float32Array:
    """The output, float32, in memory that the next call does not overwrite."""
    result: Float32Array = np.array(request.get_output_tensor(0).data, np.float32)
    return result
