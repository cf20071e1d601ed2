"""Pearson correlation of each channel: patterns matter, magnitudes do not."""

from __future__ import annotations

import torch


def pkd_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Half the mean squared difference after standardising each channel over the batch.

    Equals one minus the mean Pearson correlation; 0 at equality and unchanged by scale and offset
    of a channel.

    Args:
        student: ``(B, D, H, W)``.
        teacher: ``(B, D, H, W)``, no gradient.

    Source: PKD (Cao et al., arXiv 2207.02039).
    """
    return (_standardized(student) - _standardized(teacher)).square().mean() / 2


def _standardized(maps: torch.Tensor) -> torch.Tensor:
    mean = maps.mean((0, 2, 3), keepdim=True)
    variance = maps.var((0, 2, 3), keepdim=True, unbiased=False)
    return (maps - mean) / (variance + 1e-6).sqrt()
