"""Projection heads from student to teacher channels, thrown away after distillation."""

from __future__ import annotations

import torch
from torch import nn


class LinearProjector(nn.Sequential):
    """One 1×1 convolution: ``(B, C, H, W)`` → ``(B, D, H, W)``."""

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__(nn.Conv2d(channels, embed_dim, 1))


class MLPProjector(nn.Module):
    """LayerNorm, 1×1, GELU, 1×1: ``(B, C, H, W)`` → ``(B, D, H, W)``.

    Source: the two-layer LN+GELU head of AM-RADIO (Ranzinger et al., arXiv 2312.06709).
    """

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        hidden = max(channels, embed_dim)
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Conv2d(hidden, embed_dim, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Project ``(B, C, H, W)`` to ``(B, D, H, W)``."""
        normed = self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        out: torch.Tensor = self.head(normed)
        return out


def build_projector(kind: str, channels: int, embed_dim: int) -> nn.Module:
    """``linear`` or ``mlp``."""
    return {"linear": LinearProjector, "mlp": MLPProjector}[kind](channels, embed_dim)
