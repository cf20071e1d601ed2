"""Everything a distillation needs, checked and built before its first step."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from edgekd.config import Config, section_hash
from edgekd.data.batches import World
from edgekd.data.image_manifest import (
    ImageManifest,
    build_manifest,
    find_images,
    read_roots,
)
from edgekd.data.views import DecodedImages, ViewLoader, ViewRecipe
from edgekd.distill.module import DistillModule
from edgekd.distill.target_space import TargetSpace
from edgekd.distill.targets import LevelPair, match_levels
from edgekd.models.student import StudentBackbone, build_detector, student_identity
from edgekd.models.teacher import Teacher
from edgekd.models.teacher_loading import load_teacher
from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of

_DECODE_MARGIN = 1.3  # a crop of 0.6 of the area still has about the view's own resolution


@dataclass(frozen=True)
class DistillData:
    """The images, split into trained-on and held-out ones."""

    manifest: ImageManifest
    decoded: DecodedImages
    loader: ViewLoader
    recipe: ViewRecipe
    world: World
    heldout: list[int]
    digest: str


def num_workers(config: Config) -> int:
    """Decoding threads: as configured, or one per core and at most 8."""
    return config.distill.workers or min(8, os.cpu_count() or 1)


def prepare_data(config: Config, world: World = World()) -> DistillData:  # noqa: B008 (frozen)
    """Build the manifest (with the leak guard), the held-out split and the loader.

    Raises:
        InputError: no usable images, too many broken, a val image among them, or too few.
    """
    manifest = build_manifest(
        unlabeled_roots(config),
        max_broken_share=config.unlabeled.max_broken_share,
        forbidden=_val_images(config.data),
        skipped_file=config.run_dir / "distill" / "images_skipped.txt",
        workers=num_workers(config),
    )
    options = config.distill
    count = len(manifest.images)
    num_heldout = min(options.heldout_max, max(1, round(options.heldout_share * count)))
    if count - num_heldout < 2:
        raise InputError(f"only {count} usable images: distillation needs at least 3")
    decoded = DecodedImages(
        manifest.images, round(config.image_size * _DECODE_MARGIN), options.cache_gb
    )
    recipe = ViewRecipe(config.image_size, options.crop_scale, options.flip, config.seed)
    # Images are sorted by content hash, so the first ones are a random draw that never changes.
    loader = ViewLoader(
        decoded, range(num_heldout, count), options.batch_size, recipe, num_workers(config), world
    )
    digest = hashlib.sha256("".join(e.sha256 for e in manifest.images).encode()).hexdigest()
    return DistillData(manifest, decoded, loader, recipe, world, list(range(num_heldout)), digest)


def unlabeled_roots(config: Config) -> list[Path]:
    """Roots of the manifest, then those of the config itself.

    Raises:
        InputError: there are none.
    """
    roots = list(config.unlabeled.roots)
    if config.unlabeled.manifest is not None:
        roots = read_roots(config.unlabeled.manifest) + roots
    if not roots:
        raise InputError(
            "no unlabelled images: give unlabeled.manifest=FILE or unlabeled.roots=[…]"
        )
    return roots


def image_listing_hash(config: Config) -> str:
    """Hash of the unlabelled files' names, sizes and times: cheap, and changes when they do."""
    stats = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for root in unlabeled_roots(config)
        for path in find_images(root)
    ]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


@dataclass(frozen=True)
class Models:
    """Teacher, target space, student and the pairs of levels between them."""

    teacher: Teacher
    space: TargetSpace
    detector: nn.Module
    module: DistillModule
    pairs: list[LevelPair]


def prepare_models(config: Config, device: torch.device) -> Models:
    """Teacher and student on ``device``, in the configured memory layout.

    Raises:
        InputError: see `load_teacher` and `build_detector`.
    """
    torch.manual_seed(config.seed)
    teacher = load_teacher(config.teacher)
    detector = build_detector(config.student.model)
    strides = config.distill.levels.by_stride()
    wanted = config.distill.targets
    space = TargetSpace(teacher.levels, wanted.kind, wanted.components).to(device)
    pairs = match_levels(strides, space.levels)
    module = DistillModule(
        StudentBackbone(detector, config.distill.scope), pairs, config.distill.projector
    )
    module.backbone.require_grad()
    teacher, module = teacher.to(device), module.to(device)
    if config.distill.channels_last:
        teacher = teacher.to(memory_format=torch.channels_last)
        module = module.to(memory_format=torch.channels_last)
    return Models(teacher, space, detector, module.train(), pairs)


def config_hash(config: Config, data: DistillData, teacher_sha256: str) -> str:
    """Hash of all that decides the result; a checkpoint continues only under the same hash."""
    student = student_identity(config.student.model)
    cache = config.distill.cache.model_copy(update={"folder": None, "pixels": True})
    indifferent = {
        "workers": 0,
        "cache_gb": 0.0,
        "checkpoint_every": 1,
        "checkpoint_minutes": 1.0,
        "cache": cache,
    }
    loop = config.distill.model_copy(update=indifferent)
    return section_hash(
        loop,
        config.seed,
        config.image_size,
        student,
        teacher_sha256,
        str(config.teacher.blocks),
        data.digest,
    )


def _val_images(data: Path | None) -> dict[str, Path]:
    """SHA-256 → path of the detection val images."""
    if data is None:
        return {}
    return {sha256_of(image.path): image.path for image in load_detection_set(data, "val").images}
