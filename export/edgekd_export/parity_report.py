"""What the parity gate measured, against which limits, and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from edgekd_export.parity_images import SYNTHETIC
from edgekd_export.thresholds import ParityThresholds, Precision

Bound = Literal["at most", "at least"]


class ParityCheck(BaseModel):
    """One figure against its limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    value: float
    limit: float
    bound: Bound = "at most"

    @property
    def ok(self) -> bool:
        """Whether the figure keeps the limit; one that is not a number does not."""
        if self.bound == "at most":
            return self.value <= self.limit
        return self.value >= self.limit

    @property
    def excess(self) -> float:
        """How far the figure is from perfect, in units of what is allowed: above 1 fails."""
        perfect = 0.0 if self.bound == "at most" else 1.0
        allowed = abs(self.limit - perfect)
        off = abs(self.value - perfect)
        return off / allowed if allowed else (float("inf") if off else 0.0)

    def text(self) -> str:
        """``box_max_abs_px 0.00031 (at most 0.05)``"""
        digits = (
            4 if self.bound == "at most" else 12
        )  # a cosine differs from 1 far behind the point
        return f"{self.name} {self.value:.{digits}g} ({self.bound} {self.limit:.{digits}g})"


class ParityReport(BaseModel):
    """The outcome of one comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    verdict: Literal["pass", "fail"]
    precision: Precision
    source: str  # where the images came from, or "synthetic"
    num_images: int
    broken_images: tuple[str, ...] = ()
    num_detections: int  # of the PyTorch model, over all images
    lowest_iou: float  # of two detections that were paired; 1 where there are none
    checks: tuple[ParityCheck, ...]
    thresholds: ParityThresholds
    looks_like: str = ""  # the known mistake behind `fault_likeness`
    worst_layer: str = ""  # the one behind `weight_excess`

    @property
    def worst(self) -> ParityCheck:
        """The figure nearest to its limit, or furthest beyond it."""
        return max(self.checks, key=lambda check: check.excess)

    @property
    def figures(self) -> dict[str, float]:
        """What goes into the manifest: every figure, and on how much it rests."""
        measured = {check.name: check.value for check in self.checks}
        return {
            **measured,
            "lowest_iou": self.lowest_iou,
            "num_detections": float(self.num_detections),
            "num_images": float(self.num_images),
        }

    @property
    def limits(self) -> dict[str, tuple[Bound, float]]:
        """The limits beside the figures in the manifest."""
        return {check.name: (check.bound, check.limit) for check in self.checks}

    def summary(self) -> str:
        """One line for people."""
        kind = "synthetic images" if self.source == SYNTHETIC else f"images of {self.source}"
        line = f"parity {self.verdict} on {self.num_images} {kind}, {self._about_detections()}"
        if self.broken_images:
            line += f"; {len(self.broken_images)} broken images left out"
        return f"{line}; worst figure: {self.worst.text()}{self._about_cause()}"

    def _about_detections(self) -> str:
        if self.num_detections:
            return f"{self.num_detections} detections"
        return f"no detections above {self.thresholds.conf:g}, so raw outputs only"

    def _about_cause(self) -> str:
        failed = {check.name for check in self.checks if not check.ok}
        causes = []
        if "fault_likeness" in failed and self.looks_like:
            causes.append(f"it behaves like this mistake: {self.looks_like}")
        if "weight_excess" in failed:
            causes.append(f"weights changed by more than rounding, most in {self.worst_layer}")
        return "".join(f"; {cause}" for cause in causes)
