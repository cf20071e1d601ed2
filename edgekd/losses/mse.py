"""Mean squared error of standardised features."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def mse_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference; 0 at equality.

    Args:
        student: ``(B, D, H, W)``.
        teacher: ``(B, D, H, W)``, standardised, no gradient.

    Source: FitNets (Romero et al., arXiv 1412.6550).
    """
    return F.mse_loss(student, teacher)
