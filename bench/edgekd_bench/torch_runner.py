"""Run an Ultralytics ``.pt`` detector in PyTorch: the reference every export is measured against.

Torch and Ultralytics are imported inside, because the module must load on a device without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekd_bench.detections import check_output
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, read_manifest, sha256_of
from edgekd_bench.runner import (
    Float32Array,
    Runner,
    RunnerInfo,
    RunnerOptions,
    check_image_size,
)
from edgekd_bench.ultralytics_checkpoint import (
    load_detector,
    one_line,
    trained_image_size,
)
from edgekd_bench.ultralytics_setup import prepare_ultralytics


class TorchRunner(Runner):
    """A fused Ultralytics detector in eval mode."""

    def __init__(self, model: Any, info: RunnerInfo, device: str, channels_last: bool) -> None:
        self._model = model
        self._info = info
        self._device = device
        self._channels_last = channels_last

    @property
    def info(self) -> RunnerInfo:
        return self._info

    def forward(self, batch: Float32Array) -> Float32Array:
        return _forward(self._model, batch, self._device, self._channels_last)

    def close(self) -> None:
        self._model = None


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
    manifest = read_manifest(path)
    model = _load(path, options)
    own_size = manifest.image_size if manifest else trained_image_size(path, model)
    image_size = options.image_size or own_size
    stride = int(max(model.stride))
    check_image_size(path, image_size, stride)
    zeros = np.zeros((options.batch, 3, image_size, image_size), np.float32)
    try:
        output = _forward(model, zeros, options.device, options.channels_last)
    except (RuntimeError, AttributeError, TypeError, ValueError, LookupError) as error:
        raise InputError(f"{path}: loads but does not run ({one_line(error)})") from error
    names = {int(index): str(name) for index, name in model.names.items()}
    end_to_end = check_output(output, len(names), path)
    info = _describe(path, model, manifest, options, image_size, names, end_to_end)
    return TorchRunner(model, info, options.device, options.channels_last)


def _load(path: Path, options: RunnerOptions) -> Any:
    """The fused network of a checkpoint, on its device, in eval mode and fp32."""
    import torch

    model = load_detector(path).fuse(verbose=False).eval().to(options.device)
    model.requires_grad_(False)
    return model.to(memory_format=torch.channels_last) if options.channels_last else model


def _forward(model: Any, batch: Float32Array, device: str, channels_last: bool) -> Float32Array:
    import torch

    with torch.inference_mode():
        tensor = torch.from_numpy(batch).to(device)
        if channels_last:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        output = model(tensor)
        if isinstance(output, list | tuple):
            output = output[0]
        result: Float32Array = output.float().cpu().numpy()
    return result


def _describe(
    path: Path,
    model: Any,
    manifest: Manifest | None,
    options: RunnerOptions,
    image_size: int,
    names: dict[int, str],
    end_to_end: bool,
) -> RunnerInfo:
    import torch

    counted = sum(parameter.numel() for parameter in model.parameters())
    known = manifest.num_params if manifest else None
    teacher = manifest.teacher if manifest else None
    on_gpu = options.device == "cuda"
    return RunnerInfo(
        path=path,
        backend="pytorch",
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        names=names,
        image_size=image_size,
        batch=None,
        stride=int(max(model.stride)),
        end_to_end=end_to_end,
        precision="fp32",
        num_params=counted if known is None else known,
        size_mb=path.stat().st_size / 1e6,
        sha256=sha256_of(path),
        init=manifest.init if manifest else "other",
        seed=manifest.seed if manifest else None,
        parity=manifest.parity if manifest else "n/a",
        teacher=str(teacher) if teacher else None,
    )
