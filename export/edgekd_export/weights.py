"""Read an Ultralytics detector checkpoint without running code a stranger put into it.

A ``.pt`` is a pickle. The restricted loader of Ultralytics builds only the classes of torch and
Ultralytics, so a checkpoint that smuggles in anything else is refused instead of executed. Every
call returns a network of its own: the parity gate relies on two loads sharing nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, read_manifest, sha256_of
from edgekd_bench.runner import check_image_size
from edgekd_bench.ultralytics_setup import prepare_ultralytics

if TYPE_CHECKING:
    import torch

# What torch and Ultralytics raise on a file that is truncated, foreign or of another version.
_LOAD_ERRORS = (
    RuntimeError,
    OSError,
    EOFError,
    ImportError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
_DEFAULT_IMAGE_SIZE = 640


@dataclass(frozen=True)
class Checkpoint:
    """What is known about a checkpoint, apart from its tensors."""

    path: Path
    sha256: str
    names: dict[int, str]
    stride: int  # the coarsest grid's, pixels
    trained_image_size: int
    has_nms_free_head: bool
    has_nms_head: bool
    manifest: Manifest | None  # the sidecar edgekd train wrote, if any

    def image_size(self, wanted: int | None) -> int:
        """Side of the square input in pixels: as wanted, else as trained.

        Raises:
            InputError: not a multiple of the stride.
        """
        side = self.trained_image_size if wanted is None else wanted
        check_image_size(self.path, side, self.stride)
        return side

    def end_to_end(self, wanted: bool | None) -> bool:
        """Whether the NMS-free head is the one to use.

        Raises:
            InputError: the model has no such head.
        """
        chosen = self.has_nms_free_head if wanted is None else wanted
        if chosen and not self.has_nms_free_head:
            raise InputError(f"{self.path}: has no NMS-free head; leave end_to_end out")
        if not chosen and not self.has_nms_head:
            raise InputError(
                f"{self.path}: was fused and kept only its NMS-free head; "
                "leave end_to_end out or use the checkpoint from before fusing"
            )
        return chosen


def read_checkpoint(path: Path) -> Checkpoint:
    """What a detector checkpoint and its sidecar manifest say.

    Raises:
        InputError: missing, truncated, not an Ultralytics detector, or changed since its manifest.
    """
    model = load_detector(path)
    head = model.model[-1]
    manifest = read_manifest(path)
    return Checkpoint(
        path=path,
        sha256=sha256_of(path),
        names={int(index): str(name) for index, name in model.names.items()},
        stride=int(max(model.stride)),
        trained_image_size=_trained_image_size(path, model, manifest),
        has_nms_free_head=getattr(head, "one2one_cv2", None) is not None,
        has_nms_head=head.cv2 is not None,
        manifest=manifest,
    )


def load_detector(path: Path) -> Any:
    """A fresh, unfused fp32 network on the CPU in eval mode: the EMA weights where there are any.

    Returns:
        An Ultralytics ``DetectionModel``; ``args`` holds the training arguments.

    Raises:
        InputError: missing, truncated, foreign, or not a detector.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights; check the path")
    if path.suffix != ".pt":
        raise InputError(f"{path}: not a .pt; give the checkpoint `edgekd train` wrote")
    checkpoint = _unpickle(path)
    model: Any = checkpoint.get("ema") or checkpoint.get("model")
    _check_is_detector(path, model)
    model.args = dict(checkpoint.get("train_args") or {})
    return model.float().eval().requires_grad_(False)


def choose_head(model: Any, *, end_to_end: bool, image_size: int) -> Any:
    """Make a network answer with one of its heads, and forget grids of other image sizes.

    Both sides of the parity gate go through here, so they cannot differ in which head they use.
    """
    head = model.model[-1]
    head.end2end = end_to_end
    num_anchors = sum((image_size // int(stride)) ** 2 for stride in model.stride)
    head.max_det = min(300, num_anchors)
    head.shape = None
    return model


def count_parameters(model: torch.nn.Module) -> int:
    """Parameters of a network as it stands (fused or not)."""
    return sum(parameter.numel() for parameter in model.parameters())


def _unpickle(path: Path) -> Mapping[str, Any]:
    prepare_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    try:
        checkpoint, _ = torch_safe_load(str(path), safe_only=True)
    except _LOAD_ERRORS as error:
        raise InputError(
            f"{path}: truncated, or not an Ultralytics checkpoint ({_one_line(error)}); "
            "copy it again or give the detector.pt `edgekd train` wrote"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise InputError(f"{path}: holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def _check_is_detector(path: Path, model: Any) -> None:
    from ultralytics.nn.modules.head import Detect, v10Detect
    from ultralytics.nn.tasks import DetectionModel

    if not isinstance(model, DetectionModel):
        raise InputError(
            f"{path}: holds no Ultralytics network (a backbone or a state dict, perhaps); "
            "give the detector.pt `edgekd train` wrote"
        )
    if type(model.model[-1]) not in (Detect, v10Detect):  # its subclasses are other tasks
        kind = type(model.model[-1]).__name__
        raise InputError(f"{path}: ends in a {kind} head; only detectors can be exported")
    channels = model.yaml.get("channels", 3)
    if channels != 3:
        raise InputError(f"{path}: takes {channels} channels; only RGB detectors can be exported")


def _trained_image_size(path: Path, model: Any, manifest: Manifest | None) -> int:
    if manifest is not None:
        return manifest.image_size
    size = model.args.get("imgsz") or _DEFAULT_IMAGE_SIZE
    side = size[0] if isinstance(size, list | tuple) and len(set(size)) == 1 else size
    if not isinstance(side, int):
        raise InputError(f"{path}: trained at {size}, which is not square; give an image size")
    return side


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
