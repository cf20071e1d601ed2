"""What a distillation descends: the losses of all levels and the anchor, as one number."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgekd.config import DistillConfig
from edgekd.distill.anchor import Anchor
from edgekd.distill.module import DistillModule
from edgekd.distill.targets import LEVEL_NAMES, LevelPair, averaged_to
from edgekd.losses import WeightedLoss

Maps = dict[int, torch.Tensor]


class Objective:
    """Weighted mean of the levels' losses plus ``anchor`` times the distance from the start.

    Args:
        options: losses, weights of the levels, weight of the anchor.
        pairs: which student level meets which teacher level.
        module: what learns, at its starting values.

    Attributes:
        anchored: the parameters that are held near their start.
    """

    def __init__(
        self, options: DistillConfig, pairs: Sequence[LevelPair], module: DistillModule
    ) -> None:
        self._loss = WeightedLoss(options.losses)
        self._weights = options.levels.by_stride()
        self._pairs = list(pairs)
        self._strength = options.anchor
        learning = [p for p in module.backbone.parameters() if p.requires_grad]
        self.anchored = learning if options.anchor > 0 else []
        self._anchor = Anchor(self.anchored) if self.anchored else None

    def __call__(
        self, projected: Maps, targets: Maps
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The number to descend, and each term by its name in ``metrics.jsonl``, detached.

        Args:
            projected: ``{student stride: (B, D, H, W)}``, from `DistillModule`.
            targets: ``{teacher stride: (B, D, H, W)}``.
        """
        total = torch.zeros((), device=next(iter(projected.values())).device)
        parts: dict[str, torch.Tensor] = {}
        for pair in self._pairs:
            stride = pair.student_stride
            student = projected[stride]
            value, terms = self._loss(student, averaged_to(student, targets[pair.teacher_stride]))
            total = total + self._weights[stride] * value
            parts.update({f"loss/{LEVEL_NAMES[stride]}/{n}": t for n, t in terms.items()})
        total = total / sum(self._weights.values())
        if self._anchor is not None:
            distance = self._anchor.distance()
            total = total + self._strength * distance
            parts["loss/anchor"] = distance.detach()
        return total, parts
