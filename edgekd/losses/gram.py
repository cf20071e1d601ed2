"""Which positions of an image resemble each other: structure instead of coordinates.

A small student cannot copy every channel of a large teacher, but it can agree on what belongs
together. Both losses here compare token-to-token similarities, so the student's feature space may
be rotated against the teacher's.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

_MAX_TOKENS = 400  # a 20 × 20 grid; similarities grow with the square


def gram_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the two cosine Gram matrices; 0 at equality.

    Unchanged by the length of the vectors and by any rotation of a whole feature space. Maps of
    more than 400 positions are averaged down first.

    Args:
        student: ``(B, D, H, W)``.
        teacher: ``(B, D, H, W)``, no gradient.

    Source: Gram anchoring in DINOv3 (arXiv 2508.10104).
    """
    return F.mse_loss(_similarities(student), _similarities(teacher))


def relation_loss(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float = 0.1
) -> torch.Tensor:
    """KL divergence between the rows of the two Gram matrices, each a distribution over positions.

    Every position says which others it resembles, ``softmax(similarity / T)`` without itself; 0 at
    equality, with the invariances of `gram_loss`.

    Args:
        student: ``(B, D, H, W)``, at least two positions.
        teacher: ``(B, D, H, W)``, no gradient.
        temperature: small: only the most similar positions count.

    Source: relational distillation, Tung and Mori, "Similarity-preserving knowledge distillation"
    (arXiv 1907.09682), with distributions as in Fang et al., "SEED" (arXiv 2101.04731).
    """
    own, goal = (_similarities(maps) / temperature for maps in (student, teacher))
    itself = torch.eye(own.shape[-1], dtype=torch.bool, device=own.device)
    own, goal = own.masked_fill(itself, -1e4), goal.masked_fill(itself, -1e4)
    log_own, log_goal = F.log_softmax(own, dim=-1), F.log_softmax(goal, dim=-1)
    return F.kl_div(log_own, log_goal, reduction="none", log_target=True).sum(-1).mean()


def _similarities(maps: torch.Tensor) -> torch.Tensor:
    """Cosines between all positions: ``(B, N, N)``."""
    num_positions = maps.shape[-2] * maps.shape[-1]
    if num_positions > _MAX_TOKENS:
        factor = math.sqrt(_MAX_TOKENS / num_positions)
        height, width = (max(1, int(side * factor)) for side in maps.shape[-2:])
        maps = F.adaptive_avg_pool2d(maps, (height, width))
    tokens = F.normalize(maps.flatten(2), dim=1, eps=1e-6)
    return tokens.transpose(1, 2) @ tokens
