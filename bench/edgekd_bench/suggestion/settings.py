"""What a suggestion may be told, each option documented where it is declared."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edgekd_bench.backends import Backend, Device
from edgekd_bench.errors import InputError
from edgekd_bench.runner import Precision
from edgekd_bench.suggestion.catalog import FAMILIES, SCALES


class SuggestionSettings(BaseModel):
    """Which students to time, and the budget they are held against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_ms: float = Field(gt=0, description="what one image may take on the host clock")
    percentile: Literal[50, 90, 99] = Field(
        default=90, description="of the latencies that must stay within the budget"
    )
    families: tuple[str, ...] = Field(
        default=tuple(FAMILIES), min_length=1, description="of detectors"
    )
    scales: tuple[str, ...] = Field(
        default=("n", "s", "m"), min_length=1, description="of each family, of n, s, m, l, x"
    )
    image_sizes: tuple[int, ...] = Field(
        default=(320, 480, 640), min_length=1, description="sides of the square input, pixels"
    )
    precisions: tuple[Precision, ...] = Field(
        default=("fp32", "int8"), min_length=1, description="number types of the files"
    )
    backends: tuple[Backend, ...] = Field(
        default=("onnxruntime",), min_length=1, description="what runs them"
    )
    device: Device = Field(default="cpu", description="where")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; None: backend's own")
    num_classes: int = Field(default=80, ge=1, description="of the head")
    max_minutes: float = Field(
        default=15.0, gt=0, description="start no further measurement after this long"
    )
    min_seconds: float = Field(default=1.5, ge=0, description="time each student at least so long")
    min_count: int = Field(default=64, ge=20, description="and at least so often")
    warmup: int = Field(default=10, ge=1, description="untimed calls of each at least")

    @field_validator("families")
    @classmethod
    def _known_families(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        return _known("family", families, tuple(FAMILIES))

    @field_validator("scales")
    @classmethod
    def _known_scales(cls, scales: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(_known("scale", scales, SCALES), key=SCALES.index))

    @field_validator("image_sizes")
    @classmethod
    def _fitting_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        for size in sizes:
            if size < 64 or size % 32:
                raise InputError(f"image size {size} is not a multiple of 32 from 64 on")
        return tuple(sorted(set(sizes)))

    @field_validator("precisions")
    @classmethod
    def _fp32_first(cls, precisions: tuple[Precision, ...]) -> tuple[Precision, ...]:
        order: tuple[Precision, ...] = ("fp32", "fp16", "int8")
        return tuple(precision for precision in order if precision in precisions)


def _known(kind: str, given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"
            raise InputError(f"unknown {kind} '{name}'; {hint}")
    return tuple(dict.fromkeys(given))
