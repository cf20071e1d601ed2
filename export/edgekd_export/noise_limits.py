"""What the noise of an artefact is called, and how much of it voids the artefact.

`noise_figures` measures it. The limits are part of the configuration tree, so nothing here needs
NumPy.

As with all limits of the parity gate these are measured: ``docs/export.md`` lists what honest
exports of several families show, and what remains between them and each fault.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class NoiseFigures(BaseModel):
    """What two equal outputs have: medians, biases and counts 0, correlations 1.

    Boxes are measured in cells of the grid and log sizes, or in sides of the box where the output
    is end-to-end; scores in logits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    box_median: float = Field(description="median change of box centres and log sizes")
    box_bias: float = Field(description="largest median change of x, y, width or height to a side")
    box_correlation: float = Field(description="least correlation of x, y, width or height")
    logit_median: float = Field(description="median change of logits")
    logit_bias: float = Field(description="largest median change of a class's logits to one side")
    logit_correlation: float = Field(description="least correlation of a class's logits")
    row_logit_correlation: float = Field(
        description="the same of end-to-end rows, of which only those with a score are looked at"
    )
    class_correlation: float = Field(
        description="the same once what all classes of a cell share is taken off"
    )
    image_logit_median: float = Field(description="median change of logits in the worst image")
    object_box_median: float = Field(description="box_median where PyTorch sees an object")
    object_logit_median: float = Field(description="logit_median of the best class there")
    mistaken_classes: int = Field(description="classes whose scores are those of another class")
    tied_best_scores: int = Field(description="scores cut off at the highest one")
    best_rows_lost: float = Field(
        description="share of images whose best end-to-end row is nowhere to be found"
    )


class NoiseLimits(BaseModel):
    """Limits on figures over all images together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box_median: float = Field(gt=0, description="cells of the grid, log sizes")
    box_bias: float = Field(gt=0, description="cells of the grid, log sizes")
    box_correlation: float = Field(gt=0, le=1, description="at least")
    logit_median: float = Field(gt=0)
    logit_bias: float = Field(gt=0)
    logit_correlation: float = Field(gt=0, le=1, description="at least")
    row_logit_correlation: float = Field(gt=0, le=1, description="at least")
    class_correlation: float = Field(gt=0, le=1, description="at least")
    image_logit_median: float = Field(gt=0)
    object_box_median: float = Field(gt=0, description="cells of the grid, log sizes")
    object_logit_median: float = Field(gt=0)
    mistaken_classes: int = Field(0, ge=0)
    tied_best_scores: int = Field(2, ge=0, description="a tie or two happen by chance")
    best_rows_lost: float = Field(
        0.2, ge=0, le=1, description="rounding may move the best box of an odd image"
    )
    fault_likeness: float = Field(
        gt=0, le=1, description="above one half an artefact is nearer to a known mistake"
    )
    weight_excess: float = Field(
        0.01, gt=0, description="change of a weight beyond rounding, in halves of its step"
    )

    def of(self, figures: NoiseFigures) -> list[tuple[str, float, float]]:
        """Name, value and limit of every figure."""
        return [
            (name, float(value), float(getattr(self, name)))
            for name, value in figures.model_dump().items()
        ]
