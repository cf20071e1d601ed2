"""Run an ONNX detector on ONNX Runtime, on the device that was asked for and on no other.

ONNX Runtime falls back to the CPU when a provider does not load, and node by node where a provider
lacks a kernel; a figure measured there under a GPU's name is worse than none. So the provider is
checked after the session exists, and every node after it has run once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd_bench.backends import Backend
from edgekd_bench.detections import check_output
from edgekd_bench.device.cpu import usable_cores
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest
from edgekd_bench.onnx_metadata import read_onnx_manifest, read_onnx_metadata
from edgekd_bench.onnxruntime_binding import (
    BoundSession,
    DeviceBoundSession,
    HostBoundSession,
    SessionStreams,
)
from edgekd_bench.onnxruntime_placement import (
    name_some,
    nodes_on,
    nodes_on_cpu,
    read_profile,
)
from edgekd_bench.opened_model import InputLayout, check_input, describe
from edgekd_bench.runner import Float32Array, Runner, RunnerInfo, RunnerOptions, Timed

_CUDA, _TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
_ERROR_LEVEL = 3  # warnings about providers become our own, clearer error
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxRuntimeRunner(Runner):
    """An ONNX detector in an ONNX Runtime session."""

    def __init__(
        self,
        session: BoundSession,
        info: RunnerInfo,
        dtype: npt.DTypeLike,
        open_streams: Callable[[], SessionStreams] | None,
    ) -> None:
        """``open_streams`` makes what many images run through; None: `forward`, one by one."""
        self._session: BoundSession | None = session
        self._info = info
        self._dtype = dtype
        self._open_streams = open_streams
        self._streams: SessionStreams | None = None

    @property
    def info(self) -> RunnerInfo:
        return self._info

    def forward(self, batch: Float32Array) -> Float32Array:
        return self.forward_timed(batch).output

    def forward_timed(self, batch: Float32Array) -> Timed:
        assert self._session is not None, "the runner was closed"
        return self._session.run(batch.astype(self._dtype, copy=False))

    def forward_all(self, batches: Sequence[Float32Array]) -> list[Float32Array]:
        streams = self._all_streams()
        if streams is None:
            return super().forward_all(batches)
        return streams.run([batch.astype(self._dtype, copy=False) for batch in batches])

    @property
    def in_flight(self) -> int:
        streams = self._all_streams()
        return 1 if streams is None else streams.count

    def close(self) -> None:
        if self._streams is not None:
            self._streams.close()
        self._session = self._streams = self._open_streams = None

    def _all_streams(self) -> SessionStreams | None:
        """Opened at first use: a second session takes memory, and single images never need it."""
        if self._streams is None and self._open_streams is not None:
            self._streams = self._open_streams()
        return self._streams


def open_onnxruntime(path: Path, options: RunnerOptions, backend: Backend) -> Runner:
    """Open an ONNX detector.

    Args:
        path: the ``.onnx``.
        options: how to open it.
        backend: "onnxruntime", or "onnxruntime-tensorrt" for its TensorRT provider.

    Raises:
        InputError: not an ONNX detector, a fixed shape other than asked for, no such device, or
            a network that runs there only in part.
    """
    manifest = read_onnx_manifest(path, read_onnx_metadata(path))
    providers = _providers(path, manifest, options, backend)
    on_gpu = options.device == "cuda"
    with ExitStack() as stack:
        profile = Path(stack.enter_context(tempfile.TemporaryDirectory())) if on_gpu else None
        session = _create_session(path, options, providers, profile)
        layout = _layout(path, session, manifest, options)
        output, first_call_ms = _try_once(path, session, np.zeros(layout.shape, layout.dtype))
        notes = _check_placement(path, session, backend) if on_gpu else []
    info = describe(
        path,
        manifest,
        backend=backend,
        device=_gpu_name() if on_gpu else "cpu",
        layout=layout,
        end_to_end=check_output(output, len(manifest.names), path),
        first_call_ms=first_call_ms,
        notes=notes,
    )
    if on_gpu:
        shapes = (layout.shape, layout.dtype, output.shape, output.dtype)
        return OnnxRuntimeRunner(DeviceBoundSession(session, *shapes), info, layout.dtype, None)

    def open_streams() -> SessionStreams:
        count = options.threads or len(usable_cores())
        single = _create_session(path, replace(options, threads=1), providers, None)
        return SessionStreams(
            [HostBoundSession(single, output.shape, output.dtype) for _ in range(count)]
        )

    bound = HostBoundSession(session, output.shape, output.dtype)
    return OnnxRuntimeRunner(bound, info, layout.dtype, open_streams)


def _providers(
    path: Path, manifest: Manifest, options: RunnerOptions, backend: Backend
) -> list[tuple[str, dict[str, str]]]:
    """The provider that is asked for first, with its options.

    Raises:
        InputError: this ONNX Runtime was built without it.
    """
    import onnxruntime as ort

    if options.device == "cpu":
        return [("CPUExecutionProvider", {})]
    wanted: list[tuple[str, dict[str, str]]] = [(_CUDA, {})]
    if backend == "onnxruntime-tensorrt":
        wanted = [(_TENSORRT, _tensorrt_options(manifest, options)), *wanted]
    first = wanted[0][0]
    if first not in ort.get_available_providers():
        raise InputError(
            f"{path}: ONNX Runtime has no {first} here (it has: "
            f"{', '.join(ort.get_available_providers())}); install onnxruntime-gpu or use the cpu"
        )
    return wanted


def _tensorrt_options(manifest: Manifest, options: RunnerOptions) -> dict[str, str]:
    """Allow the precision of the file, and no engine from an earlier run."""
    allowed = {
        "trt_fp16_enable": str(manifest.precision == "fp16"),
        "trt_int8_enable": str(manifest.precision == "int8"),
    }
    if options.build_cache is None:
        return allowed
    return {
        **allowed,
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(options.build_cache),
    }


def _create_session(
    path: Path,
    options: RunnerOptions,
    providers: Sequence[tuple[str, dict[str, str]]],
    profile: Path | None,
) -> Any:
    import onnxruntime as ort

    session_options = ort.SessionOptions()
    session_options.log_severity_level = _ERROR_LEVEL
    if options.threads is not None:
        session_options.intra_op_num_threads = options.threads
    if profile is not None:
        session_options.enable_profiling = True
        session_options.profile_file_prefix = str(profile / "placement")
    # Models are timed in turns. Threads of one session that go on spinning after its turn would
    # take the cores from the next one: on two cores that nearly doubles every figure.
    session_options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = ort.InferenceSession(str(path), session_options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's own classes differ by version
        raise InputError(
            f"{path}: ONNX Runtime cannot load it ({_reason(error)}); export again"
        ) from error
    if session.get_providers()[0] != providers[0][0]:
        raise InputError(
            f"{path}: asked for {providers[0][0]} but ONNX Runtime fell back to "
            f"{session.get_providers()[0]}; check the GPU libraries with `edgekd doctor`"
        )
    return session


def _layout(path: Path, session: Any, manifest: Manifest, options: RunnerOptions) -> InputLayout:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _TYPES:
        raise InputError(f"{path}: input is not one float image batch (B, 3, S, S)")
    shape = [size if isinstance(size, int) else None for size in inputs[0].shape]
    return check_input(path, shape, _TYPES[inputs[0].type], manifest, options)


def _try_once(path: Path, session: Any, batch: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float]:
    """The output and the milliseconds of the first call."""
    start = time.perf_counter()
    try:
        output = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: batch})
    except Exception as error:  # ONNX Runtime's own classes differ by version
        raise InputError(
            f"{path}: loads but does not run ({_reason(error)}); export it again"
        ) from error
    return output[0], (time.perf_counter() - start) * 1e3


def _check_placement(path: Path, session: Any, backend: Backend) -> list[str]:
    """What to note about where the first call ran; ends the profiling, which costs time.

    Raises:
        InputError: part of the network ran on the CPU.
    """
    events = read_profile(Path(session.end_profiling()))
    strays = nodes_on_cpu(events)
    if strays:
        raise InputError(
            f"{path}: {len(strays)} nodes fell back to the CPU ({name_some(strays)}), so it would "
            "not be the GPU's figure; export with opset 18 or lower, or measure on the cpu"
        )
    others = nodes_on(events, _CUDA) if backend == "onnxruntime-tensorrt" else []
    if not others:
        return []
    return [f"{len(others)} nodes ran on {_CUDA}, not on TensorRT: {name_some(others)}"]


def _gpu_name() -> str:
    from edgekd_bench.cuda_driver import find_gpu

    gpu = find_gpu()
    return gpu.name if gpu else "cuda"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
