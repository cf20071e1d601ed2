"""Run an Ultralytics ``.pt`` detector in PyTorch: the reference every export is measured against.

Torch and Ultralytics are imported inside, because the module must load on a device without them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekd_bench.detections import check_output
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, read_manifest
from edgekd_bench.opened_model import check_input, describe
from edgekd_bench.runner import Float32Array, Runner, RunnerInfo, RunnerOptions, Timed
from edgekd_bench.ultralytics_checkpoint import load_detector, one_line, trained_image_size
from edgekd_bench.ultralytics_setup import prepare_ultralytics

_RUN_ERRORS = (RuntimeError, AttributeError, TypeError, ValueError, LookupError)


class TorchRunner(Runner):
    """A fused Ultralytics detector in eval mode."""

    def __init__(self, model: Any, info: RunnerInfo, forward: Callable[[Float32Array], Timed]):
        self._model = model
        self._info = info
        self._forward = forward

    @property
    def info(self) -> RunnerInfo:
        return self._info

    def forward(self, batch: Float32Array) -> Float32Array:
        return self._forward(batch).output

    def forward_timed(self, batch: Float32Array) -> Timed:
        return self._forward(batch)

    def close(self) -> None:
        self._model = None
        self._forward = _closed


def open_torch(path: Path, options: RunnerOptions) -> Runner:
    """Open an Ultralytics ``.pt``.

    Raises:
        InputError: truncated, foreign, not a detector, or no such device.
    """
    try:
        prepare_ultralytics()
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: running a .pt needs PyTorch and Ultralytics ({error}); "
            "install edgekd[train], or measure the .onnx"
        ) from error
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{path}: PyTorch sees no CUDA device; use the cpu")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = _load(path, options)
    manifest = _manifest(path, model)
    layout = check_input(path, (None, 3, None, None), np.float32, manifest, options)
    forward = _forward_function(model, options)
    start = time.perf_counter()
    try:
        output = forward(np.zeros(layout.shape, np.float32)).output
    except _RUN_ERRORS as error:
        raise InputError(f"{path}: loads but does not run ({one_line(error)})") from error
    first_call_ms = (time.perf_counter() - start) * 1e3
    info = describe(
        path,
        manifest,
        backend="pytorch",
        device=torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        layout=layout,
        end_to_end=check_output(output, len(manifest.names), path),
        first_call_ms=first_call_ms,
    )
    return TorchRunner(model, info, forward)


def _load(path: Path, options: RunnerOptions) -> Any:
    """The fused network of a checkpoint, on its device, in eval mode and fp32."""
    import torch

    model = load_detector(path).fuse(verbose=False).eval().to(options.device)
    model.requires_grad_(False)
    return model.to(memory_format=torch.channels_last) if options.channels_last else model


def _manifest(path: Path, model: Any) -> Manifest:
    """The manifest beside the checkpoint, else what the network itself tells.

    Names and stride are the network's in either case: they are what it computes with.
    """
    beside = read_manifest(path)
    known = {
        "names": {int(index): str(name) for index, name in model.names.items()},
        "stride": int(max(model.stride)),
        "precision": "fp32",
    }
    if beside is None:
        beside = Manifest(kind="detector", image_size=trained_image_size(path, model), **known)
    if beside.num_params is None:
        known["num_params"] = sum(parameter.numel() for parameter in model.parameters())
    return beside.model_copy(update=known)


def _forward_function(model: Any, options: RunnerOptions) -> Callable[[Float32Array], Timed]:
    """Host array in, host array out, with the device's own clock in between."""
    import torch

    compute = _compute_on_gpu if options.device == "cuda" else _compute_on_cpu

    def forward(batch: Float32Array) -> Timed:
        with torch.inference_mode():
            tensor = torch.from_numpy(batch).to(options.device)
            if options.channels_last:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            output, device_ms = compute(model, tensor)
            result: Float32Array = output.float().cpu().numpy()
        return Timed(result, device_ms())

    return forward


def _compute_on_cpu(model: Any, tensor: Any) -> tuple[Any, Callable[[], float]]:
    start = time.perf_counter_ns()
    output = _first(model(tensor))
    milliseconds = (time.perf_counter_ns() - start) / 1e6
    return output, lambda: milliseconds


def _compute_on_gpu(model: Any, tensor: Any) -> tuple[Any, Callable[[], float]]:
    """The events are read only after the copy back has waited for them."""
    import torch

    new_event: Any = torch.cuda.Event
    begin, end = new_event(enable_timing=True), new_event(enable_timing=True)
    begin.record()
    output = _first(model(tensor))
    end.record()
    return output, lambda: float(begin.elapsed_time(end))


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, list | tuple) else output


def _closed(_: Float32Array) -> Timed:
    raise RuntimeError("this runner was closed")
