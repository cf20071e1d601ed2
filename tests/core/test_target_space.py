"""Targets have zero mean and unit variance, and PHI-S keeps what matters about the teacher."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.distill.target_space import TargetSpace, phi_s
from edgekd.models.teacher import TeacherLevel


class CorrelatedTeacher:
    """Eight channels that a fixed mixture makes correlated, of very different variance."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.mixture = torch.randn(8, 3, generator=generator) * torch.logspace(-2, 1, 8)[:, None]

    def __call__(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        return {16: torch.einsum("dc,bchw->bdhw", self.mixture, images) + 3}


def fitted(kind: str, components: int | None = None) -> tuple[TargetSpace, torch.Tensor]:
    space = TargetSpace([TeacherLevel(16, 8)], kind, components)  # type: ignore[arg-type]
    teacher, batches = CorrelatedTeacher(), [torch.rand(4, 3, 5, 5) for _ in range(8)]
    assert space.measure(teacher, batches) == 32  # type: ignore[arg-type]
    return space, teacher(torch.cat(batches))[16]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 96])
def test_phi_s_gives_every_channel_the_same_variance(size: int) -> None:
    rng = np.random.default_rng(size)
    mixture = rng.standard_normal((size, size)) * np.exp(-np.arange(size) / 5)
    covariance = mixture @ mixture.T
    weight, back = phi_s(covariance, size)
    assert np.allclose((weight @ covariance @ weight.T).diagonal(), 1)
    assert np.allclose(back @ weight, np.eye(size), atol=1e-9)
    kept = max(1, size // 2)
    weight, back = phi_s(covariance, kept)
    assert np.allclose((weight @ covariance @ weight.T).diagonal(), 1)
    assert np.allclose(weight @ back, np.eye(kept), atol=1e-9)


def test_phi_s_targets_keep_angles_and_come_back() -> None:
    space, features = fitted("phi_s", 3)  # the mixture has rank 3
    targets = space({16: features})[16]
    assert targets.shape[1] == 3 and space.levels == (TeacherLevel(16, 3),)
    assert targets.mean((0, 2, 3)).abs().max() < 1e-4
    assert targets.var((0, 2, 3), unbiased=False).sub(1).abs().max() < 1e-3
    assert torch.allclose(space.invert(targets, 16), features, atol=1e-3)
    vectors = (features - space.mean(16)).permute(0, 2, 3, 1).reshape(-1, 8)
    reduced = targets.permute(0, 2, 3, 1).reshape(-1, 3)
    cosine = torch.nn.functional.cosine_similarity
    before = cosine(vectors[:50], vectors[50:100])
    assert torch.allclose(cosine(reduced[:50], reduced[50:100]), before, atol=1e-3)


def test_standardised_targets_come_back() -> None:
    space, features = fitted("standardize")
    targets = space({16: features})[16]
    assert (targets.std((0, 2, 3)) - 1).abs().max() < 0.01
    assert torch.allclose(space.invert(targets, 16), features, atol=1e-3)


def test_autocast_does_not_round_the_targets() -> None:
    space, features = fitted("phi_s", 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = space({16: features})[16]
    assert torch.equal(cast, space({16: features})[16])


def test_a_level_with_fewer_channels_keeps_its_own() -> None:
    space = TargetSpace([TeacherLevel(8, 4), TeacherLevel(16, 64)], "phi_s", 16)
    assert [level.channels for level in space.levels] == [4, 16]
