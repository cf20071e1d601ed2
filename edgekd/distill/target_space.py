"""The space in which the student is asked to match the teacher.

A teacher channel with a large variance would dominate every loss, so raw features are moved to unit
variance first, with statistics measured once on the user's own images and stored with the run. Two
ways: per channel, or PHI-S, which also allows fewer channels than the teacher has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from edgekd.models.teacher import TeacherLevel

Float64Array = NDArray[np.float64]
TargetKind = Literal["standardize", "phi_s"]


class TargetSpace(nn.Module):
    """Teacher maps → regression targets of zero mean and unit variance per channel.

    Args:
        levels: the teacher's levels.
        kind: ``standardize``: ``(x − mean) / std`` for each channel; ``phi_s``: principal
            components, rotated so that all have the same variance (PHI-S, Ranzinger et al., arXiv
            2410.01680), which keeps distances and angles up to one common factor.
        components: channels kept by ``phi_s``; None: all. A level with fewer keeps all of its own.
    """

    def __init__(
        self, levels: Iterable[TeacherLevel], kind: TargetKind, components: int | None = None
    ) -> None:
        super().__init__()
        self.kind = kind
        self.teacher_levels = tuple(levels)
        self.levels = tuple(
            TeacherLevel(level.stride, self._kept(level.channels, components))
            for level in self.teacher_levels
        )
        for level, target in zip(self.teacher_levels, self.levels, strict=True):
            self.register_buffer(f"mean_{level.stride}", torch.zeros(1, level.channels, 1, 1))
            if kind == "standardize":
                self.register_buffer(f"std_{level.stride}", torch.ones(1, level.channels, 1, 1))
            else:
                weight = torch.zeros(target.channels, level.channels, 1, 1)
                self.register_buffer(f"weight_{level.stride}", weight)
                self.register_buffer(f"back_{level.stride}", weight.transpose(0, 1).clone())

    def _kept(self, channels: int, components: int | None) -> int:
        if self.kind == "standardize" or components is None:
            return channels
        return min(channels, components)

    def forward(self, maps: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """``{stride: (B, D, H, W)}`` → ``{stride: (B, K, H, W)}`` in fp32."""
        return {stride: self._transform(features, stride) for stride, features in maps.items()}

    def _transform(self, features: torch.Tensor, stride: int) -> torch.Tensor:
        # Under autocast the rotation would run in bf16 and cost three digits of every target.
        with torch.autocast(features.device.type, enabled=False):
            centred = features.float() - self._get("mean", stride)
            if self.kind == "standardize":
                return centred / self._get("std", stride)
            return F.conv2d(centred, self._get("weight", stride))

    def mean(self, stride: int) -> torch.Tensor:
        """Mean feature of a level, ``(1, D, 1, 1)``."""
        return self._get("mean", stride)

    def invert(self, target: torch.Tensor, stride: int) -> torch.Tensor:
        """Targets ``(B, K, H, W)`` → the teacher map ``(B, D, H, W)`` they stand for."""
        if self.kind == "standardize":
            return target * self._get("std", stride) + self._get("mean", stride)
        return F.conv2d(target.float(), self._get("back", stride)) + self._get("mean", stride)

    @torch.no_grad()
    def measure(
        self,
        teacher: Callable[[torch.Tensor], dict[int, torch.Tensor]],
        batches: Iterable[torch.Tensor],
    ) -> int:
        """Estimate the statistics from image batches ``(B, 3, H, W)`` in ``[0, 1]``.

        Returns:
            The number of images used.
        """
        moments = {level.stride: _Moments(level.channels) for level in self.teacher_levels}
        num_images = 0
        for images in batches:
            num_images += len(images)
            for stride, features in teacher(images).items():
                moments[stride].add(features)
        for target in self.levels:
            self._fit(target, moments[target.stride])
        return num_images

    def _fit(self, target: TeacherLevel, moments: _Moments) -> None:
        stride = target.stride
        covariance = moments.covariance()
        self._get("mean", stride).copy_(moments.mean().float().view(1, -1, 1, 1))
        if self.kind == "standardize":
            variance = covariance.diagonal().clamp_min(0)
            # A channel that never moves carries nothing; a tiny std would turn its noise into
            # signal.
            floor = 1e-3 * variance.mean().sqrt().clamp_min(1e-6)
            std = variance.sqrt().clamp_min(floor)
            self._get("std", stride).copy_(std.float().view(1, -1, 1, 1))
            return
        weight, back = phi_s(covariance.cpu().numpy(), target.channels)
        self._get("weight", stride).copy_(torch.from_numpy(weight)[..., None, None])
        self._get("back", stride).copy_(torch.from_numpy(back)[..., None, None])

    def _get(self, what: str, stride: int) -> torch.Tensor:
        return cast(torch.Tensor, getattr(self, f"{what}_{stride}"))


class _Moments:
    """Running mean and covariance of feature vectors, in double precision."""

    def __init__(self, channels: int) -> None:
        self._sum = torch.zeros(channels, dtype=torch.float64)
        self._products = torch.zeros(channels, channels, dtype=torch.float64)
        self._count = 0

    def add(self, features: torch.Tensor) -> None:
        """Add a map ``(B, D, H, W)``."""
        vectors = features.double().permute(0, 2, 3, 1).reshape(-1, features.shape[1])
        self._sum += vectors.sum(0).cpu()
        self._products += (vectors.T @ vectors).cpu()
        self._count += len(vectors)

    def mean(self) -> torch.Tensor:
        """``(D,)``"""
        return self._sum / self._count

    def covariance(self) -> torch.Tensor:
        """``(D, D)``"""
        mean = self.mean()
        return self._products / self._count - torch.outer(mean, mean)


def phi_s(covariance: Float64Array, components: int) -> tuple[Float64Array, Float64Array]:
    """Principal components rotated and scaled to unit variance each, and the way back.

    Args:
        covariance: ``(D, D)`` of the features.
        components: K, how many principal components to keep.

    Returns:
        ``(K, D)`` and ``(D, K)``; the second undoes the first within the kept components.

    The rotation is not a Hadamard matrix as in the paper, which exists for few K, but plane
    rotations after a fixed random one (Bendel and Mickey, "Population correlation matrices for
    sampling experiments", 1978): every K works, and the variances are equal all the same.
    """
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][:components]
    variances = values[order].clip(min=0)
    rotation = _equalizing_rotation(variances)
    scale = float(np.sqrt(max(variances.mean(), 1e-12)))
    kept = rotation @ vectors[:, order].T  # (K, D), orthonormal rows
    return kept / scale, kept.T * scale


def _equalizing_rotation(variances: Float64Array) -> Float64Array:
    """An orthogonal ``(K, K)`` matrix R for which ``R diag(variances) Rᵀ`` has equal diagonal."""
    size = len(variances)
    draw = np.random.default_rng(0).standard_normal((size, size))
    rotation: Float64Array = np.linalg.qr(draw)[0]
    covariance = rotation @ np.diag(variances) @ rotation.T
    target = float(variances.mean())
    for first in range(size - 1):
        deviations = covariance.diagonal()[first:] - target
        if abs(deviations[0]) <= 1e-12 * max(target, 1e-12):
            continue
        opposite = np.flatnonzero(deviations * deviations[0] < 0)
        if len(opposite) == 0:
            continue
        second = first + int(opposite[np.abs(deviations[opposite]).argmax()])
        turn = _plane_rotation(covariance, first, second, target)
        pair = [first, second]
        rotation[pair] = turn @ rotation[pair]
        covariance[pair] = turn @ covariance[pair]
        covariance[:, pair] = covariance[:, pair] @ turn.T
    return rotation


def _plane_rotation(
    covariance: Float64Array, first: int, second: int, target: float
) -> Float64Array:
    """The ``(2, 2)`` rotation that gives ``first`` the variance ``target``."""
    a, d = covariance[first, first] - target, covariance[second, second] - target
    b = covariance[first, second]
    # a + 2bt + dt² = 0 for the tangent t; a and d have opposite signs, so there is a root.
    tangent = (-b + np.copysign(np.sqrt(b * b - a * d), -b)) / d
    cosine = 1 / np.sqrt(1 + tangent * tangent)
    sine = tangent * cosine
    return np.array([[cosine, sine], [-sine, cosine]])
