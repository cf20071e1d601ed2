"""Cosine distance between feature vectors at each position."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def cosine_loss(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float | None = None
) -> torch.Tensor:
    """Mean of ``1 − cos`` over batch and positions; 0 at equality, blind to vector length.

    Args:
        student: ``(B, D, H, W)``.
        teacher: ``(B, D, H, W)``, no gradient.
        temperature: None: all positions of an image count alike; else they count by
            ``softmax((1 − cos) / T)``, so that a small T makes the worst positions matter most and
            a large one approaches the plain mean. The weights carry no gradient.

    Source: AM-RADIO (arXiv 2312.06709) uses the plain form beside smooth-L1; the weighting is
    edgekd's own.
    """
    distance = 1 - F.cosine_similarity(student, teacher, dim=1, eps=1e-6)
    if temperature is None:
        return distance.mean()
    flat = distance.flatten(1)
    weights = F.softmax(flat.detach() / temperature, dim=1)
    return (weights * flat).sum(1).mean()
