"""Colour changes for the student's copy of a view.

The teacher sees the clean view and the student a recoloured one, so the student must learn features
that do not depend on exposure. The numbers drawn are a function of the seed and the step alone.
"""

from __future__ import annotations

import torch

_LUMA = (0.299, 0.587, 0.114)


def jitter_color(
    images: torch.Tensor, strength: float, seed: int, rank: int = 0, world_size: int = 1
) -> torch.Tensor:
    """Random brightness, contrast and saturation per image.

    Args:
        images: ``(B, 3, H, W)`` in ``[0, 1]``.
        strength: each factor is drawn from ``[1 - strength, 1 + strength]``.
        seed: fixes the draw.
        rank, world_size: ``images`` are every ``world_size``-th of a batch, from ``rank`` on; each
            gets what it would get in the whole batch.

    Returns:
        ``(B, 3, H, W)`` in ``[0, 1]``, same memory layout.
    """
    if strength == 0:
        return images
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(3, len(images) * world_size, 1, 1, 1, generator=generator)
    draw = draw[:, rank::world_size]
    brightness, contrast, saturation = (1 + strength * (2 * draw - 1)).to(images.device)
    luma = torch.tensor(_LUMA, device=images.device).view(1, 3, 1, 1)
    grey = (images * luma).sum(1, keepdim=True)  # (B, 1, H, W)
    mean = grey.mean((2, 3), keepdim=True)  # (B, 1, 1, 1)
    # b * (c * (s * x + (1 - s) * grey) + (1 - c) * mean), multiplied out to touch the pixels twice
    pixel, level = brightness * contrast * saturation, brightness * contrast * (1 - saturation)
    recoloured = torch.addcmul(level * grey + brightness * (1 - contrast) * mean, images, pixel)
    return recoloured.clamp_(0, 1)
