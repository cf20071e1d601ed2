"""The part of a distillation that learns: backbone and projectors as one module.

One module, because data-parallel training wraps exactly one, and because its forward pass is what
gets autocast. Where the teacher's grid is coarser, features are averaged down to it before they are
projected: for a linear projector that is the same number, for a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

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
        self._coarser = {
            pair.student_stride: pair.teacher_stride // pair.student_stride
            for pair in pairs
            if pair.teacher_stride > pair.student_stride
        }
        self.projectors = nn.ModuleDict(
            {
                str(pair.student_stride): build_projector(
                    projector, channels[pair.student_stride], pair.embed_dim
                )
                for pair in pairs
            }
        )

    def forward(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        """``(B, 3, H, W)`` in ``[0, 1]`` → ``{student stride: (B, D, H/s, W/s)}``.

        ``s`` is the student's stride or the teacher's, whichever is larger.
        """
        features = self.backbone(images)
        return {
            int(s): project(self._met(features, int(s))) for s, project in self.projectors.items()
        }

    def _met(self, features: dict[int, torch.Tensor], stride: int) -> torch.Tensor:
        """The student's map on the grid where it meets the teacher's."""
        ratio = self._coarser.get(stride, 1)
        return F.avg_pool2d(features[stride], ratio) if ratio > 1 else features[stride]
