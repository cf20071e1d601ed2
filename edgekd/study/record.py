"""``study/results.json``: every training of a study, the differences, and the verdict."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekd_bench.manifest import TeacherIdentity
from edgekd_bench.record import Interval

Advice = Literal["distil", "do not distil", "not enough evidence"]


class StudyCell(BaseModel):
    """One trained detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    init: str
    share: float
    num_labels: int
    epochs: int
    seed: int
    map50_95: float
    map50: float
    detector: str = Field(description="relative to the run folder")
    sha256: str


class StudyComparison(BaseModel):
    """An init against another one, with the same labels, paired by seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    init: str
    against: str
    num_labels: int
    num_seeds: int
    map50_95: float = Field(description="mean over seeds")
    map50_95_against: float = Field(description="mean over seeds")
    difference: Interval


class StudyVerdict(BaseModel):
    """What one init is worth, over all fractions of the labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    init: str
    advice: Advice
    text: str


class StudyBackbone(BaseModel):
    """The weights that an init begins with."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: str
    source: str = Field(description="the kind of file they were read from")
    teacher: TeacherIdentity | None = None


class StudyRecord(BaseModel):
    """The whole of ``study/results.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    data: dict[str, Any]
    recipe: dict[str, Any]
    backbones: dict[str, StudyBackbone]
    cells: list[StudyCell]
    comparisons: list[StudyComparison]
    verdicts: list[StudyVerdict]
    versions: dict[str, str]
    environment: dict[str, Any]
    config: dict[str, Any] = Field(
        description="options of the trainings, and of the distillation where the study did it"
    )
