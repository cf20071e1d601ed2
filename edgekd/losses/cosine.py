"""Cosine distance between feature vectors at each position."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_LEAST_SQUARE = 1e-12  # of a vector's length: one of length 0 resembles nothing


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
    distance = 1 - _cosine(student, teacher)
    if temperature is None:
        return distance.mean()
    flat = distance.flatten(1)
    weights = F.softmax(flat.detach() / temperature, dim=1)
    return (weights * flat).sum(1).mean()


def _cosine(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """``(B, H, W)``. Features have unit variance, so nothing is scaled before it is multiplied.

    `torch.nn.functional.cosine_similarity` does scale, and writes both maps again for it, which
    costs a CPU half as much again.
    """
    dot = (student * teacher).sum(1)
    squares = [maps.square().sum(1).clamp_min(_LEAST_SQUARE) for maps in (student, teacher)]
    return dot / (squares[0] * squares[1]).sqrt()
