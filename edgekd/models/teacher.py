"""The frozen teacher: images in, feature maps by stride out.

A teacher is any timm model with weights that are already on this machine. It is always in eval mode
(DINOv3's RoPE jitter and any dropout run in training mode only), never receives a gradient, and
does its own normalisation, so nobody can feed it the student's statistics by mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.models.position_grid import PositionGrid
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import TeacherIdentity

_STUDENT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class TeacherLevel:
    """One feature map the teacher offers."""

    stride: int
    channels: int


class Teacher(nn.Module):
    """A frozen backbone with its own preprocessing.

    Args:
        backbone: a timm model with ``forward_intermediates``.
        identity: name, licence and hash, carried into every artefact.
        mean, std: of the pixels it was trained on, in ``[0, 1]``.
        blocks: ViT blocks, counted from 0, whose patch tokens are put side by side; (): the last.

    Raises:
        InputError: blocks the network does not have.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: nn.Module,
        identity: TeacherIdentity,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        blocks: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.identity = identity
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self._patch_size = patch_size_of(backbone)
        self._positions = PositionGrid.of(backbone)
        self._norm = _final_map_norm(backbone)
        self._indices, self.levels = _choose_levels(backbone, self._patch_size, blocks)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode whatever the caller asks: a teacher in training mode is noise."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        """Feature maps by stride.

        Args:
            images: ``(B, 3, H, W)`` in ``[0, 1]``.

        Returns:
            ``{stride: (B, D, H / stride, W / stride)}``; a ViT of any patch size counts as stride
            16 because its input is resized so that its patches meet the stride-16 grid.
        """
        features = (images - self.mean) / self.std
        if self._patch_size is not None:
            return {16: self._patch_map(features)}
        maps = cast(Any, self.backbone).forward_intermediates(
            features, indices=self._indices, intermediates_only=True
        )
        if self._norm is not None:
            maps[-1] = self._norm(maps[-1])
        return {level.stride: m for level, m in zip(self.levels, maps, strict=True)}

    def _patch_map(self, images: torch.Tensor) -> torch.Tensor:
        """Patch tokens after the final norm ``(B, D, H / 16, W / 16)``: no CLS, no registers."""
        patch = cast(int, self._patch_size)
        if patch != 16:
            size = [side * patch // 16 for side in images.shape[-2:]]
            images = F.interpolate(
                images, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        if self._positions is not None:
            self._positions.fit(images.shape[-2] // patch, images.shape[-1] // patch)
        maps = cast(Any, self.backbone).forward_intermediates(
            images, indices=self._indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return torch.cat(maps, dim=1)


def patch_size_of(backbone: nn.Module) -> int | None:
    """Patch side of a ViT; None for a network with a pyramid."""
    embed = getattr(backbone, "patch_embed", None)
    size = getattr(embed, "patch_size", None)
    if size is None or not hasattr(backbone, "num_prefix_tokens"):
        return None
    return int(size[0])


def _final_map_norm(backbone: nn.Module) -> nn.Module | None:
    """The norm that belongs to the last map of a DINOv3 ConvNeXt; timm keeps it in the head."""
    licence = dict(cast(Any, backbone).pretrained_cfg).get("license")
    norm = getattr(getattr(backbone, "head", None), "norm", None)
    return norm if licence == "dinov3-license" and isinstance(norm, nn.Module) else None


def _choose_levels(
    backbone: nn.Module, patch_size: int | None, blocks: tuple[int, ...]
) -> tuple[list[int], tuple[TeacherLevel, ...]]:
    """Indices for ``forward_intermediates`` and the levels they give."""
    info = cast(Any, backbone).feature_info
    entries: list[dict[str, Any]] = list(getattr(info, "info", info))
    if patch_size is not None:
        chosen_blocks = sorted(set(blocks)) or [len(entries) - 1]
        if chosen_blocks[-1] >= len(entries) or chosen_blocks[0] < 0:
            raise InputError(f"teacher.blocks: the teacher has blocks 0 to {len(entries) - 1}")
        channels = sum(int(entries[block]["num_chs"]) for block in chosen_blocks)
        return chosen_blocks, (TeacherLevel(16, channels),)
    if blocks:
        raise InputError("teacher.blocks: this teacher is no ViT; its levels are its strides")
    last: dict[int, tuple[int, int]] = {}
    for index, entry in enumerate(entries):
        last[int(entry["reduction"])] = (index, int(entry["num_chs"]))
    chosen = [(stride, *last[stride]) for stride in _STUDENT_STRIDES if stride in last]
    if not chosen:
        raise InputError(f"teacher offers strides {sorted(last)}, none of {_STUDENT_STRIDES}")
    return [c[1] for c in chosen], tuple(TeacherLevel(c[0], c[2]) for c in chosen)
