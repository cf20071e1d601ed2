"""How much of the teacher survives the cache, on images the codec was not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch.nn import functional as F

from edgekd.distill.feature_cache.codec import FeatureCodec
from edgekd.distill.feature_cache.description import CachedLevel, Fidelity

Maps = dict[int, torch.Tensor]


@torch.no_grad()
def measure_fidelity(
    codec: FeatureCodec,
    teacher: Callable[[torch.Tensor], Maps],
    batches: Iterable[torch.Tensor],
    levels: tuple[CachedLevel, ...],
) -> Fidelity:
    """Mean cosine between the live teacher's features and what a record gives back.

    Args:
        codec: fitted.
        teacher: live.
        batches: held-out images ``(B, 3, H, W)`` in ``[0, 1]``.
        levels: of the records.
    """
    sums = {level.stride: [0.0, 0.0] for level in levels}
    num_images = 0
    for images in batches:
        for stride, live, restored in restore(codec, teacher(images), levels):
            centre = codec.space.mean(stride)
            for index, shift in enumerate((centre, torch.zeros_like(centre))):
                cosine = F.cosine_similarity(live - shift, restored - shift, dim=1)
                sums[stride][index] += float(cosine.mean((1, 2)).sum())
        num_images += len(images)
    return Fidelity(
        num_images=num_images,
        centred={stride: total[0] / num_images for stride, total in sums.items()},
        plain={stride: total[1] / num_images for stride, total in sums.items()},
    )


def restore(
    codec: FeatureCodec, maps: Maps, levels: Iterable[CachedLevel]
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Send teacher maps through a record and back into the teacher's space.

    Yields:
        Stride, live map and restored map, both ``(B, D, H, W)`` fp32.
    """
    device = next(iter(maps.values())).device
    records = torch.from_numpy(codec.encode(maps)).to(device)
    for stride, targets in codec.decode(records, levels).items():
        yield stride, maps[stride].float(), codec.space.invert(targets, stride)
