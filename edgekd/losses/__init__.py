"""Distillation losses, one idea a file, and the weighted list a config asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from edgekd.config import LossTerm
from edgekd.losses.cosine import cosine_loss
from edgekd.losses.gram import gram_loss, relation_loss
from edgekd.losses.kl import kl_loss
from edgekd.losses.mse import mse_loss
from edgekd.losses.pkd import pkd_loss
from edgekd.losses.smooth_l1 import smooth_l1_loss

_Loss = Callable[..., torch.Tensor]
_LOSSES: dict[str, _Loss] = {
    "cosine": cosine_loss,
    "smooth_l1": smooth_l1_loss,
    "mse": mse_loss,
    "kl": kl_loss,
    "gram": gram_loss,
    "relation": relation_loss,
    "pkd": pkd_loss,
}


class WeightedLoss:
    """Weighted sum of losses; called with ``(B, D, H, W)`` student and teacher maps in fp32."""

    def __init__(self, terms: Sequence[LossTerm]) -> None:
        self._terms = [(term.name, term.weight, _loss(term)) for term in terms]

    def __call__(
        self, student: torch.Tensor, teacher: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The sum to descend, and each term by name, unweighted and detached."""
        student, teacher = student.float(), teacher.detach().float()
        total = student.new_zeros(())
        parts: dict[str, torch.Tensor] = {}
        for name, weight, loss in self._terms:
            value = loss(student, teacher)
            total = total + weight * value
            parts[name] = value.detach()
        return total, parts


def _loss(term: LossTerm) -> _Loss:
    loss = _LOSSES[term.name]
    return loss if term.temperature is None else partial(loss, temperature=term.temperature)


__all__ = [
    "WeightedLoss",
    "cosine_loss",
    "gram_loss",
    "kl_loss",
    "mse_loss",
    "pkd_loss",
    "relation_loss",
    "smooth_l1_loss",
]
