"""Read an Ultralytics detector checkpoint without running code a stranger put into it.

A ``.pt`` is a pickle. The restricted loader of Ultralytics builds only the classes of torch and
Ultralytics, so a checkpoint that smuggles in anything else is refused instead of executed. All
three wings read checkpoints here; each call returns a network of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd_bench.errors import InputError
from edgekd_bench.ultralytics_setup import prepare_ultralytics

_DEFAULT_IMAGE_SIZE = 640


def load_detector(path: Path) -> Any:
    """A fresh, unfused fp32 network on the CPU in eval mode: the EMA weights where there are any.

    Returns:
        An Ultralytics ``DetectionModel``; ``args`` holds the training arguments.

    Raises:
        InputError: missing, truncated, foreign, or not a detector for RGB images.
    """
    checkpoint = read_checkpoint_file(path)
    model: Any = checkpoint.get("ema") or checkpoint.get("model")
    check_is_detector(path, model)
    model.args = dict(checkpoint.get("train_args") or {})
    return model.float().eval().requires_grad_(False)


def trained_image_size(path: Path, model: Any) -> int:
    """Side of the square images a network was trained on, pixels; 640 where it does not say.

    Raises:
        InputError: they were not square.
    """
    size = dict(model.args).get("imgsz") or _DEFAULT_IMAGE_SIZE
    side = size[0] if isinstance(size, list | tuple) and len(set(size)) == 1 else size
    if not isinstance(side, int):
        raise InputError(f"{path}: trained at {size}, which is not square; give an image size")
    return side


def one_line(error: BaseException) -> str:
    """An exception's message for the inside of a one-line error."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_checkpoint_file(path: Path) -> Mapping[str, Any]:
    """Everything in a checkpoint, restricted to classes of torch and Ultralytics.

    Raises:
        InputError: missing, truncated, foreign, or it would run other code.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights; check the path (nothing is downloaded)")
    if path.suffix != ".pt":
        raise InputError(f"{path}: not a .pt; give the checkpoint `edgekd train` wrote")
    prepare_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    try:
        checkpoint, _ = torch_safe_load(str(path), safe_only=True)
    except Exception as error:
        raise InputError(
            f"{path}: truncated, or not an Ultralytics checkpoint ({one_line(error)}); "
            "copy it again or give the detector.pt `edgekd train` wrote"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise InputError(f"{path}: holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def check_is_detector(where: Path | str, model: Any) -> None:
    """Refuse what is no Ultralytics detector for RGB images.

    Raises:
        InputError: begins with ``where``.
    """
    from ultralytics.nn.modules.head import Detect, v10Detect
    from ultralytics.nn.tasks import DetectionModel

    if not isinstance(model, DetectionModel):
        raise InputError(
            f"{where}: not an Ultralytics checkpoint, it holds no Ultralytics network (a backbone "
            "or a state dict, perhaps); give the detector.pt `edgekd train` wrote"
        )
    if type(model.model[-1]) not in (Detect, v10Detect):  # its subclasses are other tasks
        kind = type(model.model[-1]).__name__
        raise InputError(f"{where}: ends in a {kind} head; only detectors can be used")
    channels = model.yaml.get("channels", 3)
    if channels != 3:
        raise InputError(f"{where}: takes {channels} channels; only RGB detectors can be used")
