"""The label-free probe: how well the student matches the teacher on images it never trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.data.views import DecodedImages, center_view, stack_views
from edgekd.distill.targets import LevelPair, TargetStatistics, meet_on_coarser_grid
from edgekd.models.student import StudentBackbone
from edgekd.models.teacher import Teacher


def center_batches(
    decoded: DecodedImages, indices: Sequence[int], size: int, batch_size: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Central squares of the given images: batches ``(B, 3, S, S)`` in ``[0, 1]``."""
    for start in range(0, len(indices), batch_size):
        views = [center_view(decoded[i], size) for i in indices[start : start + batch_size]]
        yield stack_views(views).to(device).float().div_(255)


class HeldOutProbe:
    """Mean cosine between projected student and standardised teacher features, per level.

    The teacher is frozen and the views are fixed, so its targets are computed once and kept.

    Args:
        batches: held-out images, ``(B, 3, S, S)`` in ``[0, 1]``.
        teacher: the frozen teacher.
        statistics: its standardisation.
    """

    def __init__(
        self,
        batches: Iterator[torch.Tensor],
        teacher: Teacher,
        statistics: TargetStatistics,
    ) -> None:
        self._kept: list[tuple[torch.Tensor, dict[int, torch.Tensor]]] = []
        for images in batches:
            targets = statistics.standardize(teacher(images))
            compact = {s: t.to(torch.float16) for s, t in targets.items()}
            self._kept.append(((images * 255).round().to(torch.uint8), compact))

    @torch.no_grad()
    def measure(
        self, backbone: StudentBackbone, projectors: nn.ModuleDict, pairs: Sequence[LevelPair]
    ) -> dict[int, float]:
        """``{student stride: mean cosine}``; the backbone is put back into its mode."""
        training = backbone.training
        backbone.eval()
        sums = {pair.student_stride: 0.0 for pair in pairs}
        for pixels, targets in self._kept:
            features = backbone(pixels.float().div_(255))
            for pair in pairs:
                projected = projectors[str(pair.student_stride)](features[pair.student_stride])
                student, teacher = meet_on_coarser_grid(
                    projected.float(), targets[pair.teacher_stride].float()
                )
                cosine = F.cosine_similarity(student, teacher, dim=1).mean((1, 2))
                sums[pair.student_stride] += float(cosine.sum())
        backbone.train(training)
        num_images = sum(len(pixels) for pixels, _ in self._kept)
        return {stride: total / num_images for stride, total in sums.items()}
