"""From teacher maps to regression targets: which level teaches which, on which grid, at what scale.

A teacher channel with a large variance would otherwise dominate every loss, so targets are
standardised per channel with statistics measured once at the start and stored in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.models.teacher import Teacher, TeacherLevel

LEVEL_NAMES = {8: "p3", 16: "p4", 32: "p5"}


@dataclass(frozen=True)
class LevelPair:
    """A student stride and the teacher level it learns from."""

    student_stride: int
    teacher_stride: int
    embed_dim: int


def match_levels(
    student_strides: Iterable[int], teacher_levels: Iterable[TeacherLevel]
) -> list[LevelPair]:
    """Pair each student level with the teacher's level of the same or the nearest stride."""
    offered = list(teacher_levels)
    pairs = []
    for stride in student_strides:
        nearest = min(
            offered, key=lambda level: abs(level.stride.bit_length() - stride.bit_length())
        )
        pairs.append(LevelPair(stride, nearest.stride, nearest.channels))
    return pairs


def meet_on_coarser_grid(
    student: torch.Tensor, teacher: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average the finer of two maps down to the grid of the coarser one.

    Args:
        student: ``(B, D, Hs, Ws)``.
        teacher: ``(B, D, Ht, Wt)``.
    """
    if student.shape[-2:] == teacher.shape[-2:]:
        return student, teacher
    grid = (min(student.shape[-2], teacher.shape[-2]), min(student.shape[-1], teacher.shape[-1]))
    return F.adaptive_avg_pool2d(student, grid), F.adaptive_avg_pool2d(teacher, grid)


class TargetStatistics(nn.Module):
    """Per-channel mean and deviation of each teacher level.

    Args:
        levels: the teacher's levels.
    """

    def __init__(self, levels: Iterable[TeacherLevel]) -> None:
        super().__init__()
        for level in levels:
            self.register_buffer(f"mean_{level.stride}", torch.zeros(1, level.channels, 1, 1))
            self.register_buffer(f"std_{level.stride}", torch.ones(1, level.channels, 1, 1))

    def standardize(self, maps: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """``(x − mean) / std`` per channel, in fp32, same shapes."""
        return {
            stride: (features.float() - self._get("mean", stride)) / self._get("std", stride)
            for stride, features in maps.items()
        }

    @torch.no_grad()
    def measure(self, teacher: Teacher, batches: Iterable[torch.Tensor]) -> int:
        """Estimate the statistics from image batches ``(B, 3, H, W)`` in ``[0, 1]``.

        Returns:
            The number of images used.
        """
        sums: dict[int, torch.Tensor] = {}
        squares: dict[int, torch.Tensor] = {}
        counts: dict[int, int] = {}
        num_images = 0
        for images in batches:
            num_images += len(images)
            for stride, features in teacher(images).items():
                values = features.double()
                sums[stride] = sums.get(stride, 0) + values.sum((0, 2, 3))
                squares[stride] = squares.get(stride, 0) + values.square().sum((0, 2, 3))
                counts[stride] = counts.get(stride, 0) + values[:, 0].numel()
        for stride, count in counts.items():
            mean = sums[stride] / count
            variance = (squares[stride] / count - mean.square()).clamp_min(0)
            # A channel that never moves carries nothing; a tiny std would turn its noise into
            # signal.
            floor = 1e-3 * variance.mean().sqrt().clamp_min(1e-6)
            std = variance.sqrt().clamp_min(floor)
            self._get("mean", stride).copy_(mean.view(1, -1, 1, 1))
            self._get("std", stride).copy_(std.view(1, -1, 1, 1))
        return num_images

    def _get(self, what: str, stride: int) -> torch.Tensor:
        return cast(torch.Tensor, getattr(self, f"{what}_{stride}"))
