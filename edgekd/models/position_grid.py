"""Fit DINOv2's learned position embedding to the grid at hand, as its own authors do.

DINOv2 learned one embedding for a 37 x 37 grid, so every other image size interpolates it. timm
always uses an antialiased bicubic kernel; the models without registers were published with the
plain one, and at small grids the difference reaches the features.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F


class PositionGrid:
    """The learned grid of one backbone, and the one it is fitted to.

    Args:
        backbone: a timm ``VisionTransformer`` whose CLS token has a position of its own.

    Source: interpolation of github.com/facebookresearch/dinov2 as in transformers' ``Dinov2Model``.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self._backbone = cast(Any, backbone)
        self._learned: torch.Tensor = self._backbone.pos_embed.detach().clone()
        self._native: tuple[int, int] = tuple(self._backbone.patch_embed.grid_size)
        self._current = self._native

    @classmethod
    def of(cls, backbone: nn.Module) -> PositionGrid | None:
        """For a DINOv2 without registers; None for every other network."""
        architecture = str(dict(cast(Any, backbone).pretrained_cfg).get("architecture"))
        plain = architecture.endswith("patch14_dinov2") and "reg" not in architecture
        return cls(backbone) if plain else None

    def fit(self, height: int, width: int) -> None:
        """Give the backbone the embedding of a ``height x width`` grid of patches."""
        if (height, width) == self._current:
            return
        device = self._backbone.pos_embed.device
        fitted = self._interpolated(height, width).to(device)
        self._backbone.pos_embed = nn.Parameter(fitted, requires_grad=False)
        self._backbone.patch_embed.grid_size = (height, width)
        self._current = (height, width)

    def _interpolated(self, height: int, width: int) -> torch.Tensor:
        """``(1, 1 + height * width, D)``."""
        if (height, width) == self._native:
            return self._learned
        first, rest = self._learned[:, :1].float(), self._learned[:, 1:].float()
        grid = rest.reshape(1, *self._native, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
        return torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1)
