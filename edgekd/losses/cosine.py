"""Cosine distance between feature vectors at each position."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def cosine_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean of ``1 − cos`` over batch and positions; 0 at equality, blind to vector length.

    Args:
        student: ``(B, D, H, W)``.
        teacher: ``(B, D, H, W)``, no gradient.

    Source: AM-RADIO (arXiv 2312.06709) uses it beside smooth-L1.
    """
    return 1 - F.cosine_similarity(student, teacher, dim=1, eps=1e-6).mean()
