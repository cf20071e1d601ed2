"""What a feature cache holds, and under which name it is found again.

A record may be reused only if it is what the run would compute itself, so everything that decides
its bytes goes into the name of the folder: teacher weights, image size, how views are drawn, target
space and number format. The images do not: each record carries the hash of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import TeacherIdentity, write_text_atomically

CACHE_FORMAT = 1
DESCRIPTION_FILE = "cache.json"
CODEC_FILE = "codec.pt"
NumberFormat = Literal["int8", "int4", "fp16"]
_BITS = {"int4": 4, "int8": 8, "fp16": 16}


class CachedLevel(BaseModel):
    """One feature map of a record: ``(channels, height, width)`` numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stride: int
    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """Numbers in the map."""
        return self.channels * self.height * self.width


def levels_at(channels: Mapping[int, int], image_size: int) -> tuple[CachedLevel, ...]:
    """The maps of ``{stride: channels}``, each ``ceil(image_size / stride)`` a side."""
    sides = {stride: -(-image_size // stride) for stride in channels}
    return tuple(
        CachedLevel(stride=stride, channels=kept, height=sides[stride], width=sides[stride])
        for stride, kept in channels.items()
    )


def level_bytes(level: CachedLevel, numbers: NumberFormat) -> int:
    """Bytes of one map; a last half byte counts as one."""
    return -(-level.size * _BITS[numbers] // 8)


def feature_bytes(levels: Iterable[CachedLevel], numbers: NumberFormat) -> int:
    """Bytes of the features of one view."""
    return sum(level_bytes(level, numbers) for level in levels)


def pixel_bytes(image_size: int) -> int:
    """Bytes of the view itself, ``(S, S, 3)`` uint8."""
    return 3 * image_size**2


class Fidelity(BaseModel):
    """How well decoded records stand for the live teacher, on held-out images, per stride.

    ``centred``: mean cosine after subtracting the mean feature, the stricter figure; ``plain``: of
    the features as the teacher gives them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    num_images: int
    centred: dict[int, float]
    plain: dict[int, float]


class CacheDescription(BaseModel):
    """``cache.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int = CACHE_FORMAT
    teacher: TeacherIdentity
    blocks: tuple[int, ...] = Field(description="of a ViT; empty: the last")
    precision: str = Field(description="arithmetic of the teacher's forward pass")
    image_size: int
    crop_scale: tuple[float, float]
    flip: bool
    seed: int
    space: str
    components: int | None
    numbers: NumberFormat
    pixels: bool = Field(description="whether the views themselves are stored too")
    levels: tuple[CachedLevel, ...]
    fidelity: Fidelity | None = None

    @property
    def name(self) -> str:
        """Folder name: equal for equal records, readable for people."""
        deciding = self.model_dump(mode="json", exclude={"fidelity", "teacher"})
        deciding["teacher"] = self.teacher.sha256
        digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
        readable = "".join(c if c.isalnum() else "-" for c in self.teacher.name)[:40].strip("-")
        return f"{readable}-{self.image_size}px-{digest[:12]}"

    @property
    def feature_bytes(self) -> int:
        """Bytes of one record's features."""
        return feature_bytes(self.levels, self.numbers)

    @property
    def record_bytes(self) -> int:
        """Bytes of one record: features, then the view's pixels where they are stored."""
        return self.feature_bytes + (pixel_bytes(self.image_size) if self.pixels else 0)


def write_description(folder: Path, description: CacheDescription) -> None:
    """Write ``cache.json``."""
    text = description.model_dump_json(indent=2) + "\n"
    write_text_atomically(folder / DESCRIPTION_FILE, text)


def read_description(folder: Path) -> CacheDescription:
    """Read ``cache.json``.

    Raises:
        InputError: there is none, or not one of this format.
    """
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        raise InputError(f"{folder}: no feature cache there; fill one with `edgekd cache CONFIG`")
    try:
        return CacheDescription.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a cache edgekd can read ({reason}); delete {folder}") from (
            error
        )
