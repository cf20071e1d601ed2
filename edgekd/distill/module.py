"""The part of a distillation that learns: backbone and projectors as one module.

One module, because data-parallel training wraps exactly one, and because its forward pass is what
gets autocast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgekd.distill.targets import LevelPair
from edgekd.models.projector import build_projector
from edgekd.models.student import StudentBackbone


class DistillModule(nn.Module):
    """Student backbone followed by one projector a level.

    Args:
        backbone: gives ``{stride: (B, C, H, W)}``.
        pairs: which levels to project, and to how many channels.
        projector: ``linear`` or ``mlp``.
    """

    def __init__(
        self, backbone: StudentBackbone, pairs: Sequence[LevelPair], projector: str
    ) -> None:
        super().__init__()
        channels = {tap.stride: tap.channels for tap in backbone.taps}
        self.backbone = backbone
        self.projectors = nn.ModuleDict(
            {
                str(pair.student_stride): build_projector(
                    projector, channels[pair.student_stride], pair.embed_dim
                )
                for pair in pairs
            }
        )

    def forward(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        """``(B, 3, H, W)`` in ``[0, 1]`` → ``{student stride: (B, D, H/s, W/s)}``."""
        features = self.backbone(images)
        return {int(s): project(features[int(s)]) for s, project in self.projectors.items()}
