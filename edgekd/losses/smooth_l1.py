"""Smooth L1 distance: fixes the vector length that cosine ignores."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def smooth_l1_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean Huber-like distance with its bend at 1; 0 at equality.

    Args:
        student: ``(B, D, H, W)``.
        teacher: ``(B, D, H, W)``, standardised, no gradient.

    Source: Girshick, "Fast R-CNN" (arXiv 1504.08083); weight 0.1 beside cosine as in AM-RADIO.
    """
    return F.smooth_l1_loss(student, teacher)
