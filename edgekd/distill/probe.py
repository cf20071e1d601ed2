"""The label-free probe: how well the student matches the teacher on images it never trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch.nn import functional as F

from edgekd.distill.module import DistillModule
from edgekd.distill.targets import LevelPair, averaged_to


class HeldOutProbe:
    """Mean cosine between projected student and standardised teacher features, per level.

    The teacher is frozen and the views are fixed, so its targets are computed once and kept.

    Args:
        batches: pixels ``(B, 3, S, S)`` uint8 and targets ``{stride: (B, K, H, W)}``.
    """

    def __init__(self, batches: Iterable[tuple[torch.Tensor, dict[int, torch.Tensor]]]) -> None:
        self._kept = [
            (pixels, {stride: t.to(torch.float16) for stride, t in targets.items()})
            for pixels, targets in batches
        ]

    @torch.no_grad()
    def measure(self, module: DistillModule, pairs: Sequence[LevelPair]) -> dict[int, float]:
        """``{student stride: mean cosine}``; the module is put back into its mode."""
        training = module.training
        module.eval()
        sums = {pair.student_stride: 0.0 for pair in pairs}
        for pixels, targets in self._kept:
            projected = module(pixels.float().div_(255))
            for pair in pairs:
                student = projected[pair.student_stride].float()
                teacher = averaged_to(student, targets[pair.teacher_stride].float())
                cosine = F.cosine_similarity(student, teacher, dim=1).mean((1, 2))
                sums[pair.student_stride] += float(cosine.sum())
        module.train(training)
        num_images = sum(len(pixels) for pixels, _ in self._kept)
        return {stride: total / num_images for stride, total in sums.items()}
