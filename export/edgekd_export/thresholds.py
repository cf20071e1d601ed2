"""How far an artefact may be from the PyTorch model before it is void, per precision.

The limits are measured, not guessed: ``docs/export.md`` lists the differences of each model family
that they were derived from. A precision without an entry here cannot be exported, so whoever adds
one has to measure it first.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["fp32", "fp16", "int8"]


class ParityThresholds(BaseModel):
    """Limits on raw outputs and on matched detections; the worst image counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box_max_abs_px: float = Field(
        gt=0, description="largest difference of any box coordinate, letterboxed pixels"
    )
    score_max_abs: float = Field(gt=0, description="largest difference of any class probability")
    box_relative: float = Field(gt=0, description="||difference|| / ||reference|| of the boxes")
    score_relative: float = Field(
        gt=0,
        description="the same of the class probabilities; ||reference|| counts as conf at least",
    )
    box_cosine: float = Field(gt=0, le=1, description="smallest cosine between the box tensors")
    score_cosine: float = Field(gt=0, le=1, description="smallest cosine between the scores")
    min_iou: float = Field(gt=0, le=1, description="two detections below this are not the same")
    detection_score_max_abs: float = Field(
        gt=0, description="largest score difference of two detections that are the same"
    )
    unmatched_share: float = Field(
        ge=0, le=1, description="detections that only one side found, of all found by both"
    )
    conf: float = Field(0.05, gt=0, lt=1, description="detections score above this")
    iou: float = Field(0.7, gt=0, le=1, description="overlap at which NMS suppresses")
    max_det: int = Field(300, ge=1, description="detections per image")


# fp32: 7 to 60 times the largest difference that six families showed between PyTorch and ONNX
# Runtime, yet low enough to notice weights that were rounded to fp16 on the way.
PARITY_THRESHOLDS: dict[Precision, ParityThresholds] = {
    "fp32": ParityThresholds(
        box_max_abs_px=0.05,
        score_max_abs=1e-4,
        box_relative=2e-5,
        score_relative=5e-4,
        box_cosine=1 - 1e-9,
        score_cosine=1 - 1e-6,
        min_iou=0.99,
        detection_score_max_abs=1e-4,
        unmatched_share=0.01,
    )
}
