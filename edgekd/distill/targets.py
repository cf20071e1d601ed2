"""Which level of the teacher teaches which level of the student, and on which grid they meet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from edgekd.models.teacher import TeacherLevel

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


def averaged_to(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The target on the student's grid, averaged down where it is finer.

    Args:
        student: ``(B, D, Hs, Ws)``, never on a finer grid than the target (`DistillModule`).
        target: ``(B, D, Ht, Wt)``.
    """
    height, width = student.shape[-2:]
    if target.shape[-2:] == (height, width):
        return target
    return F.adaptive_avg_pool2d(target, (height, width))
