"""Run an ONNX detector on ONNX Runtime, on the device that was asked for and on no other.

ONNX Runtime falls back to the CPU when a provider does not load; a figure measured there under a
GPU's name is worse than none, so the provider is checked after the session exists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd_bench.detections import check_output
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, sha256_of
from edgekd_bench.onnx_metadata import read_onnx_manifest
from edgekd_bench.onnx_parameters import count_onnx_parameters
from edgekd_bench.runner import (
    Float32Array,
    Runner,
    RunnerInfo,
    RunnerOptions,
    check_image_size,
)

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERROR_LEVEL = 3  # warnings about providers become our own, clearer error


class OnnxRuntimeRunner(Runner):
    """An ONNX detector in an ONNX Runtime session."""

    def __init__(self, session: Any, info: RunnerInfo, dtype: npt.DTypeLike) -> None:
        self._session = session
        self._info = info
        self._dtype = dtype
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name

    @property
    def info(self) -> RunnerInfo:
        return self._info

    def forward(self, batch: Float32Array) -> Float32Array:
        feed = {self._input: batch.astype(self._dtype, copy=False)}
        output = self._session.run([self._output], feed)[0]
        result: Float32Array = output.astype(np.float32, copy=False)
        return result

    def close(self) -> None:
        self._session = None


def open_onnxruntime(path: Path, options: RunnerOptions) -> Runner:
    """Open an ONNX detector.

    Raises:
        InputError: not an ONNX detector, a fixed shape other than asked for, or no such device.
    """
    session = _create_session(path, options)
    manifest = read_onnx_manifest(path, session.get_modelmeta().custom_metadata_map)
    batch, image_size, dtype = _input_layout(path, session, manifest, options)
    check_image_size(path, image_size, manifest.stride)
    output = _try_once(path, session, np.zeros((options.batch, 3, image_size, image_size), dtype))
    end_to_end = check_output(output, len(manifest.names), path)
    info = _describe(path, manifest, options, batch, image_size, end_to_end)
    return OnnxRuntimeRunner(session, info, dtype)


def _create_session(path: Path, options: RunnerOptions) -> Any:
    import onnxruntime as ort

    provider = _PROVIDERS[options.device]
    if provider not in ort.get_available_providers():
        raise InputError(
            f"{path}: ONNX Runtime has no {provider} here (it has: "
            f"{', '.join(ort.get_available_providers())}); install onnxruntime-gpu or use the cpu"
        )
    session_options = ort.SessionOptions()
    session_options.log_severity_level = _ERROR_LEVEL
    if options.threads is not None:
        session_options.intra_op_num_threads = options.threads
    # Models are timed in turns. Threads of one session that go on spinning after its turn would
    # take the cores from the next one: on two cores that nearly doubles every figure.
    session_options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = ort.InferenceSession(str(path), session_options, providers=[provider])
    except Exception as error:  # ONNX Runtime's own classes differ by version
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: ONNX Runtime cannot load it ({reason}); export again") from error
    if session.get_providers()[0] != provider:
        raise InputError(
            f"{path}: asked for {provider} but ONNX Runtime fell back to "
            f"{session.get_providers()[0]}; check the GPU libraries with `edgekd doctor`"
        )
    return session


def _input_layout(
    path: Path, session: Any, manifest: Manifest, options: RunnerOptions
) -> tuple[int | None, int, npt.DTypeLike]:
    """Fixed batch (or None), side of the square, and element type of the input."""
    inputs = session.get_inputs()
    shape = list(inputs[0].shape)
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in types:
        raise InputError(f"{path}: input is not one float image batch (B, 3, S, S)")
    fixed = [size if isinstance(size, int) else None for size in shape]
    if fixed[1] not in (3, None) or (fixed[2] != fixed[3]):
        raise InputError(f"{path}: input of shape {shape} is not a square RGB batch")
    image_size = options.image_size or fixed[2] or manifest.image_size
    if fixed[2] is not None and image_size != fixed[2]:
        raise InputError(
            f"{path}: exported for {fixed[2]} px, so it cannot run at {image_size} px; "
            "leave the image size out or export again"
        )
    if fixed[0] is not None and fixed[0] != options.batch:
        raise InputError(
            f"{path}: exported for batch {fixed[0]}, so it cannot run at batch {options.batch}"
        )
    return fixed[0], image_size, types[inputs[0].type]


def _try_once(path: Path, session: Any, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
    try:
        output = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: batch})
    except Exception as error:  # ONNX Runtime's own classes differ by version
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: loads but does not run ({reason}); export it again") from error
    result: npt.NDArray[Any] = output[0]
    return result


def _describe(
    path: Path,
    manifest: Manifest,
    options: RunnerOptions,
    batch: int | None,
    image_size: int,
    end_to_end: bool,
) -> RunnerInfo:
    num_params = manifest.num_params
    if num_params is None:
        num_params = count_onnx_parameters(path.read_bytes())
    return RunnerInfo(
        path=path,
        backend="onnxruntime",
        device=options.device,
        names=manifest.names,
        image_size=image_size,
        batch=batch,
        stride=manifest.stride,
        end_to_end=end_to_end,
        precision=manifest.precision,
        num_params=num_params,
        size_mb=path.stat().st_size / 1e6,
        sha256=sha256_of(path),
        init=manifest.init,
        seed=manifest.seed,
        parity=manifest.parity,
        teacher=str(manifest.teacher) if manifest.teacher else None,
    )
