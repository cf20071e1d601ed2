"""What the parity gate measured, against which limits, and what follows.

The tally keeps the worst value of each figure over all images: an average would let one ruined
image hide behind thirty good ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from edgekd_bench.detections import Detections
from edgekd_bench.nms import box_iou
from edgekd_export.parity_images import SYNTHETIC, ParityImages
from edgekd_export.raw_difference import RawDifference
from edgekd_export.row_pairing import Pairs
from edgekd_export.thresholds import ParityThresholds, Precision


class ParityCheck(BaseModel):
    """One figure against its limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    value: float
    limit: float
    bound: Literal["at most", "at least"] = "at most"

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

    def summary(self) -> str:
        """One line for people."""
        kind = "synthetic images" if self.source == SYNTHETIC else f"images of {self.source}"
        line = f"parity {self.verdict} on {self.num_images} {kind}, {self._about_detections()}"
        if self.broken_images:
            line += f"; {len(self.broken_images)} broken images left out"
        return f"{line}; worst figure: {self.worst.text()}"

    def _about_detections(self) -> str:
        if self.num_detections:
            return f"{self.num_detections} detections"
        return f"no detections above {self.thresholds.conf:g}, so raw outputs only"


class ParityTally:
    """The worst figures so far."""

    def __init__(self) -> None:
        self._raw: list[RawDifference] = []
        self._num_not_finite = 0
        self._score_max_abs = 0.0
        self._lowest_iou = 1.0
        self._num_detections = 0
        self._num_unmatched = 0
        self._num_rows = 0

    def add_not_finite(self) -> None:
        """Count an image on which either side returned NaN or infinity."""
        self._num_not_finite += 1

    def add_raw(self, difference: RawDifference) -> None:
        """Add the raw differences of one image."""
        self._raw.append(difference)

    def add_detections(self, reference: Detections, candidate: Detections, pairs: Pairs) -> None:
        """Add the detections of one image and who is whose partner."""
        self._num_detections += len(reference)
        self._num_unmatched += pairs.num_unmatched
        self._num_rows += pairs.num_rows
        if not len(pairs.reference):
            return
        scores = reference.scores[pairs.reference] - candidate.scores[pairs.candidate]
        self._score_max_abs = max(self._score_max_abs, float(abs(scores).max()))
        overlap = box_iou(reference.boxes[pairs.reference], candidate.boxes[pairs.candidate])
        self._lowest_iou = min(self._lowest_iou, float(overlap.diagonal().min()))

    def report(
        self, images: ParityImages, *, precision: Precision, thresholds: ParityThresholds
    ) -> ParityReport:
        """Judge what was added."""
        checks = self._checks(thresholds)
        return ParityReport(
            verdict="pass" if all(check.ok for check in checks) else "fail",
            precision=precision,
            source=images.source,
            num_images=len(images),
            broken_images=images.broken,
            num_detections=self._num_detections,
            lowest_iou=self._lowest_iou,
            checks=checks,
            thresholds=thresholds,
        )

    def _checks(self, limits: ParityThresholds) -> tuple[ParityCheck, ...]:
        boxes = [difference.boxes for difference in self._raw]
        scores = [difference.scores for difference in self._raw]
        most = {
            "not_finite_images": (float(self._num_not_finite), 0.0),
            "box_max_abs_px": (_max(d.max_abs for d in boxes), limits.box_max_abs_px),
            "score_max_abs": (_max(d.max_abs for d in scores), limits.score_max_abs),
            "box_relative": (_max(d.relative for d in boxes), limits.box_relative),
            "score_relative": (_max(d.relative for d in scores), limits.score_relative),
            "row_unmatched_share": (
                _max(d.unmatched_share for d in self._raw),
                limits.unmatched_share,
            ),
            "detection_score_max_abs": (self._score_max_abs, limits.detection_score_max_abs),
            "detection_unmatched_share": (
                self._num_unmatched / self._num_rows if self._num_rows else 0.0,
                limits.unmatched_share,
            ),
        }
        least = {
            "box_cosine": (min((d.cosine for d in boxes), default=1.0), limits.box_cosine),
            "score_cosine": (min((d.cosine for d in scores), default=1.0), limits.score_cosine),
        }
        return tuple(
            ParityCheck(name=name, value=value, limit=limit, bound=bound)
            for bound, group in (("at most", most), ("at least", least))
            for name, (value, limit) in group.items()
        )


def _max(values: Iterable[float]) -> float:
    return max(values, default=0.0)
