"""KL divergence between channel distributions, softened by a temperature."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def kl_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """``T² · KL(softmax(teacher / T) ‖ softmax(student / T))`` over channels, mean over positions.

    0 at equality and unchanged by a constant added to all channels of a position.

    Args:
        student: ``(B, D, H, W)``.
        teacher: ``(B, D, H, W)``, standardised, no gradient.
        temperature: larger is softer; the factor T² keeps gradients comparable.

    Source: Hinton et al., "Distilling the knowledge in a neural network" (arXiv 1503.02531).
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
    return divergence.mean() * temperature**2
