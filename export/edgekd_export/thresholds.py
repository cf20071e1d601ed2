"""How far an artefact may be from the PyTorch model before it is void, per precision.

The limits are measured, not guessed: ``docs/export.md`` lists the differences of each model family
that they were derived from. A precision without an entry here cannot be exported, so whoever adds
one has to measure it first.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekd_export.noise_limits import NoiseLimits

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
    same_box_px: float = Field(
        gt=0,
        description="but corners within this are, whatever their overlap: of a box a few pixels "
        "wide, rounding alone takes a large share",
    )
    detection_score_max_abs: float = Field(
        gt=0, description="largest score difference of two detections that are the same"
    )
    unmatched_share: float = Field(
        ge=0, le=1, description="detections that only one side found, of all found by both"
    )
    noise: NoiseLimits = Field(description="limits on figures over all images together")
    conf: float = Field(0.05, gt=0, lt=1, description="detections score above this")
    iou: float = Field(0.7, gt=0, le=1, description="overlap at which NMS suppresses")
    max_det: int = Field(300, ge=1, description="detections per image")


# fp32: 7 to 60 times the largest difference that six families showed between PyTorch and ONNX
# Runtime, yet low enough to notice weights that were rounded to fp16 on the way.
# fp16: eleven significant bits through a hundred layers; a cell without an object has a flat
# distribution over its box sides, so its box moves by far more than a detection's.
# int8: single boxes and scores say little, because a background cell may end anywhere. What tells
# an honest graph from a broken one are the directions of both tensors and the detections an
# application would act on (0.25 and above): each has its partner, at nearly the same place.
PARITY_THRESHOLDS: dict[Precision, ParityThresholds] = {
    "fp32": ParityThresholds(
        box_max_abs_px=0.05,
        score_max_abs=1e-4,
        box_relative=2e-5,
        score_relative=5e-4,
        box_cosine=1 - 1e-9,
        score_cosine=1 - 1e-6,
        min_iou=0.99,
        same_box_px=0.05,
        detection_score_max_abs=1e-4,
        unmatched_share=0.01,
        noise=NoiseLimits(
            box_median=1e-4,
            box_bias=5e-5,
            box_correlation=1 - 1e-6,
            logit_median=2e-4,
            logit_bias=1e-4,
            logit_correlation=1 - 1e-6,
            row_logit_correlation=1 - 1e-5,
            class_correlation=1 - 1e-5,
            image_logit_median=5e-4,
            object_box_median=1e-4,
            object_logit_median=2e-4,
            fault_likeness=0.5,
        ),
    ),
    "fp16": ParityThresholds(
        box_max_abs_px=5,
        score_max_abs=0.01,
        box_relative=2e-3,
        score_relative=0.02,
        box_cosine=1 - 2e-6,
        score_cosine=1 - 1e-4,
        min_iou=0.9,
        same_box_px=0.5,
        detection_score_max_abs=0.01,
        unmatched_share=0.02,
        noise=NoiseLimits(
            box_median=3e-3,
            box_bias=1e-3,
            box_correlation=1 - 2e-3,
            logit_median=0.02,
            logit_bias=5e-3,
            logit_correlation=1 - 5e-4,
            row_logit_correlation=0.97,
            class_correlation=1 - 5e-3,
            image_logit_median=0.1,
            object_box_median=4e-3,
            object_logit_median=0.02,
            fault_likeness=0.5,
        ),
    ),
    "int8": ParityThresholds(
        box_max_abs_px=1e4,
        score_max_abs=0.8,
        box_relative=0.4,
        score_relative=4,
        box_cosine=0.97,
        score_cosine=0.5,
        min_iou=0.5,
        same_box_px=2,
        detection_score_max_abs=0.35,
        unmatched_share=0.1,
        conf=0.25,
        noise=NoiseLimits(
            box_median=0.06,
            box_bias=0.04,
            box_correlation=0.75,
            logit_median=0.5,
            logit_bias=0.2,
            logit_correlation=0.9,
            row_logit_correlation=0.75,
            class_correlation=0.75,
            image_logit_median=1,
            object_box_median=0.1,
            object_logit_median=0.7,
            fault_likeness=0.75,
        ),
    ),
}
