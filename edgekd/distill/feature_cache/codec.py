"""Targets in one byte a number: what a record stores of a teacher map, and how it is read back.

Targets have zero mean and unit variance per channel, so a symmetric int8 grid with one step per
channel fits them; PHI-S makes the channels alike, which is what uniform quantisation wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.distill.feature_cache.description import CachedLevel, NumberFormat
from edgekd.distill.target_space import TargetSpace

Bytes = NDArray[np.uint8]
_COVERED = 0.9995  # share of a batch's numbers inside the int8 range; the rest is clipped
_LEVELS = 127


class FeatureCodec(nn.Module):
    """Target space and number format.

    Args:
        space: turns teacher maps into targets.
        numbers: ``int8``, or ``fp16`` as the reference.
    """

    def __init__(self, space: TargetSpace, numbers: NumberFormat) -> None:
        super().__init__()
        self.space = space
        self.numbers = numbers
        for level in space.levels:
            self.register_buffer(f"step_{level.stride}", torch.ones(1, level.channels, 1, 1))

    @torch.no_grad()
    def fit(
        self,
        teacher: Callable[[torch.Tensor], dict[int, torch.Tensor]],
        batches: Sequence[torch.Tensor],
    ) -> int:
        """Measure the target space, then the int8 steps, on image batches ``(B, 3, H, W)``.

        Returns:
            The number of images used.
        """
        count = self.space.measure(teacher, batches)
        reach: dict[int, list[torch.Tensor]] = {level.stride: [] for level in self.space.levels}
        for images in batches:
            for stride, targets in self.space(teacher(images)).items():
                flat = targets.abs().transpose(0, 1).flatten(1)
                kept = max(1, round((1 - _COVERED) * flat.shape[1]))
                reach[stride].append(flat.topk(kept, dim=1).values[:, -1])
        for stride, found in reach.items():
            # A channel that is silent on these images must still have room for one that speaks.
            step = torch.stack(found).amax(0).clamp_min(1e-3) / _LEVELS
            self._step(stride).copy_(step.view(1, -1, 1, 1))
        return count

    def encode(self, maps: dict[int, torch.Tensor]) -> Bytes:
        """Teacher maps of a batch → ``(B, feature_bytes)``."""
        parts = []
        for stride, targets in self.space(maps).items():
            if self.numbers == "int8":
                steps = (targets / self._step(stride)).round_().clamp_(-_LEVELS, _LEVELS)
                numbers = steps.to(torch.int8)
            else:
                numbers = targets.to(torch.float16)
            flat = numbers.contiguous().flatten(1).cpu().numpy()
            parts.append(np.ascontiguousarray(flat).view(np.uint8))
        return np.concatenate(parts, axis=1)

    def decode(
        self, records: torch.Tensor, levels: Iterable[CachedLevel]
    ) -> dict[int, torch.Tensor]:
        """``(B, feature_bytes)`` uint8 → targets ``{stride: (B, K, H, W)}`` in fp32."""
        decoded, start = {}, 0
        dtype = torch.int8 if self.numbers == "int8" else torch.float16
        for level in levels:
            end = start + level.size * dtype.itemsize
            numbers = records[:, start:end].contiguous().view(dtype)
            shape = (len(records), level.channels, level.height, level.width)
            targets = numbers.view(shape).float()
            if self.numbers == "int8":
                targets = targets * self._step(level.stride)
            decoded[level.stride] = targets
            start = end
        return decoded

    def _step(self, stride: int) -> torch.Tensor:
        return cast(torch.Tensor, getattr(self, f"step_{stride}"))
