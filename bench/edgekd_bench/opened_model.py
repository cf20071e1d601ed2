"""What every backend does the same way when it opens a model: check its input, describe it.

Kept apart from the runners so that a fixed batch, a wrong image size or a manifest means the same
on each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy.typing as npt

from edgekd_bench.backends import Backend
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, sha256_of
from edgekd_bench.onnx_parameters import count_onnx_parameters
from edgekd_bench.runner import RunnerInfo, RunnerOptions, check_image_size


@dataclass(frozen=True)
class InputLayout:
    """What a model is fed with."""

    fixed_batch: int | None  # of the file; None: any
    shape: tuple[int, int, int, int]  # (B, 3, S, S) of each call
    dtype: npt.DTypeLike  # float32 or float16

    @property
    def image_size(self) -> int:
        """Side of the square, pixels."""
        return self.shape[2]


def check_input(
    path: Path,
    shape: Sequence[int | None],
    dtype: npt.DTypeLike,
    manifest: Manifest,
    options: RunnerOptions,
) -> InputLayout:
    """Hold a file's input against what is asked of it.

    Args:
        path: the model, for the errors.
        shape: of its one input; None for a dimension that is not fixed.
        dtype: element type of the input.
        manifest: what the file says about itself.
        options: what is wanted.

    Raises:
        InputError: not a square RGB batch, or fixed to another size than asked for.
    """
    if len(shape) != 4 or shape[1] not in (3, None) or shape[2] != shape[3]:
        raise InputError(f"{path}: input of shape {list(shape)} is not a square RGB batch")
    image_size = options.image_size or shape[2] or manifest.image_size
    if shape[2] is not None and image_size != shape[2]:
        raise InputError(
            f"{path}: exported for {shape[2]} px, so it cannot run at {image_size} px; "
            "leave the image size out or export again"
        )
    if shape[0] is not None and shape[0] != options.batch:
        raise InputError(
            f"{path}: exported for batch {shape[0]}, so it cannot run at batch {options.batch}"
        )
    check_image_size(path, image_size, manifest.stride)
    return InputLayout(shape[0], (options.batch, 3, image_size, image_size), dtype)


def describe(
    path: Path,
    manifest: Manifest,
    *,
    backend: Backend,
    device: str,
    layout: InputLayout,
    end_to_end: bool,
    first_call_ms: float,
    notes: Sequence[str] = (),
) -> RunnerInfo:
    """Everything that is known about a model that was opened and has run once."""
    num_params = manifest.num_params
    if num_params is None:
        num_params = count_onnx_parameters(path.read_bytes()) if path.suffix == ".onnx" else 0
    return RunnerInfo(
        path=path,
        backend=backend,
        device=device,
        names=manifest.names,
        image_size=layout.image_size,
        batch=layout.fixed_batch,
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
        weights_sha256=_weights_hash(path, manifest),
        int8_for=manifest.int8_for,
        first_call_ms=first_call_ms,
        notes=(*notes, *_layout_notes(manifest, backend)),
    )


def _layout_notes(manifest: Manifest, backend: Backend) -> Iterator[str]:
    runtime = "tensorrt" if "tensorrt" in backend else backend
    if manifest.int8_for is not None and manifest.int8_for != runtime:
        yield (
            f"its int8 is laid out for {manifest.int8_for}: on {backend} it may be slower than "
            "fp32 or give other numbers; export with --int8-for"
        )


def _weights_hash(path: Path, manifest: Manifest) -> str | None:
    """Of the checkpoint behind a file: files with the same one differ only in how they run."""
    if path.suffix == ".pt":
        return sha256_of(path)
    return next((parent.sha256 for parent in manifest.parents if parent.role == "weights"), None)
