"""What a suggestion consists of: every combination, what is known of it, and what follows."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekd_bench.backends import Backend
from edgekd_bench.runner import Precision

Status = Literal["meets", "borderline", "over", "skipped", "not measured"]


class Choice(BaseModel):
    """One combination that can be chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    family: str
    scale: str
    image_size: int
    precision: Precision
    backend: Backend

    @property
    def student(self) -> str:
        """As Ultralytics calls it: yolo11n."""
        return self.family + self.scale

    @property
    def key(self) -> str:
        """In one word, for files."""
        return f"{self.student}-{self.image_size}-{self.precision}-{self.backend}"


class Timing(BaseModel):
    """How long a combination took on this machine, batch 1, milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    p50_ms: float
    p90_ms: float
    p99_ms: float
    intervals_ms: dict[str, tuple[float, float]] = Field(
        default={}, description="95 % intervals of the percentiles, by their field"
    )
    overhead_p50_ms: float | None = Field(
        default=None,
        description="p50 of end to end less p50 of the network: decoding, letterbox and boxes, "
        "with nothing detected; None: not measured",
    )
    num_timed: int
    rough: bool = Field(
        default=False, description="a few calls showed that it misses the budget by far"
    )
    quiet: bool = Field(default=True, description="p90 within 1.5 times p50")
    size_mb: float
    num_params: int
    measured_at: str


class Option(BaseModel):
    """A combination, its timing if there is one, and its place."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    choice: Choice
    status: Status
    reason: str = Field(description="one line")
    timing: Timing | None = None
    published_map50_95: float = Field(description="COCO at 640 px, as published by its makers")
    published_params_m: float
    published_gflops: float
    pareto: bool = Field(
        default=False,
        description="within budget, and nothing of its image size and kind of numbers is both "
        "quicker and of higher published mAP",
    )


class Suggestion(BaseModel):
    """All combinations, best first."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    target_ms: float
    percentile: int
    environment: dict[str, Any]
    settings: dict[str, Any]
    options: list[Option]
    sources: dict[str, str] = Field(description="of the published figures, by family")
    notes: list[str] = []
    cache: str = Field(description="file that keeps the measurements")
