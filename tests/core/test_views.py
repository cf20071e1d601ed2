"""Views depend on seed, epoch and content, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgekd.data.color import jitter_color
from edgekd.data.image_manifest import build_manifest
from edgekd.data.views import DecodedImages, ViewLoader, ViewRecipe, center_view, random_view

RECIPE = ViewRecipe(32, (0.4, 1.0), True, seed=3)


def decoded(folder: Path, budget_gb: float = 1.0) -> DecodedImages:
    return DecodedImages(build_manifest([folder], max_broken_share=0).images, 64, budget_gb)


def loader(images: DecodedImages, workers: int, batch_size: int = 4) -> ViewLoader:
    return ViewLoader(images, range(len(images)), batch_size, RECIPE, workers)


def test_same_views_whatever_the_workers_and_the_cache(image_folder: Path) -> None:
    one = list(loader(decoded(image_folder), 1).epoch(0))
    many = list(loader(decoded(image_folder, budget_gb=0), 4).epoch(0))
    assert len(one) == 3
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(one, many, strict=True))


def test_epochs_differ_and_can_be_entered_anywhere(image_folder: Path) -> None:
    source = loader(decoded(image_folder), 2)
    first, second = ([batch.pixels for batch in source.epoch(n)] for n in (0, 1))
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert torch.equal(next(iter(source.epoch(1, start_batch=2))).pixels, second[2])


def test_each_epoch_uses_every_image_once(image_folder: Path) -> None:
    images = decoded(image_folder)
    plain = ViewLoader(images, range(12), 4, ViewRecipe(16, (1.0, 1.0), False, 0), 1)
    seen = {tuple(v.flatten().tolist()[:50]) for b in plain.epoch(0) for v in b.pixels}
    assert len(seen) == 12


def test_batches_are_channels_last_bytes(image_folder: Path) -> None:
    batch = next(iter(loader(decoded(image_folder), 1).epoch(0))).pixels
    assert (batch.dtype, tuple(batch.shape)) == (torch.uint8, (4, 3, 32, 32))
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_an_abandoned_epoch_stops_its_threads(image_folder: Path) -> None:
    epoch = loader(decoded(image_folder), 2).epoch(0)
    next(epoch)
    epoch.close()


def test_a_small_set_still_gives_one_batch(image_folder: Path) -> None:
    assert [len(b) for b in loader(decoded(image_folder), 1, batch_size=64).epoch(0)] == [12]


def test_crops_stay_inside_and_vary() -> None:
    pixels = np.zeros((50, 80, 3), np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, 80, dtype=np.uint8)
    views = [random_view(pixels, f"{n:015x}{0:049x}", 0, RECIPE) for n in range(30)]
    assert all(v.shape == (32, 32, 3) for v in views)
    widths = [int(v[..., 0].max()) - int(v[..., 0].min()) for v in views]
    assert max(widths) > 1.3 * min(widths)
    mirrored = [v[16, 0, 0] > v[16, -1, 0] for v in views]
    assert 5 < sum(mirrored) < 25


def test_center_view_is_the_central_square() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    assert (center_view(pixels, 10) == 200).all()


def test_color_jitter_is_seeded_per_image_and_bounded() -> None:
    images = torch.rand(4, 3, 8, 8)
    once, again, other = (jitter_color(images, 0.4, s) for s in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert once.min() >= 0 and once.max() <= 1
    assert torch.equal(jitter_color(images, 0.0, 1), images)
    change = (once - images).abs().mean((1, 2, 3))
    assert len(set(change.tolist())) == 4


def test_color_jitter_equals_its_three_steps() -> None:
    images = torch.rand(2, 3, 4, 4) * 0.5 + 0.25
    draw = torch.rand(3, 2, 1, 1, 1, generator=torch.Generator().manual_seed(9))
    bright, contrast, saturation = 1 + 0.1 * (2 * draw - 1)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (images * luma).sum(1, keepdim=True)
    out = grey + saturation * (images - grey)
    mean = (out * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    out = bright * (mean + contrast * (out - mean))
    assert torch.allclose(jitter_color(images, 0.1, 9), out, atol=1e-5)
