"""What an export needs to know of a detector checkpoint, and which of its heads answers.

The parity gate relies on two loads sharing nothing: `load_detector` gives a fresh
network each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, read_manifest, sha256_of
from edgekd_bench.runner import check_image_size
from edgekd_bench.ultralytics_checkpoint import load_detector, trained_image_size

if TYPE_CHECKING:
    import torch


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
        trained_image_size=manifest.image_size if manifest else trained_image_size(path, model),
        has_nms_free_head=getattr(head, "one2one_cv2", None) is not None,
        has_nms_head=head.cv2 is not None,
        manifest=manifest,
    )


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
