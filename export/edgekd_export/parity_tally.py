"""Collects what the images of one comparison show, and holds it against the limits.

Three questions are asked. Does any image differ more than it may? The worst one counts, because an
average would let one ruined image hide behind thirty good ones. Is the difference noise, over all
images together? And does it point in the direction of a known mistake?
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgekd_bench.detections import Detections
from edgekd_bench.nms import box_iou
from edgekd_export.aligned_outputs import Aligned
from edgekd_export.fault_likeness import FaultTally
from edgekd_export.noise_figures import NoiseTally
from edgekd_export.parity_images import ParityImages
from edgekd_export.parity_report import Bound, ParityCheck, ParityReport
from edgekd_export.raw_difference import RawDifference
from edgekd_export.row_pairing import Pairs
from edgekd_export.thresholds import ParityThresholds, Precision

if TYPE_CHECKING:  # it needs onnx, which a device has not
    from edgekd_export.weight_rounding import WeightRounding

_Figure = tuple[str, float, float, Bound]


class ParityTally:
    """The figures so far."""

    def __init__(self) -> None:
        self._raw: list[RawDifference] = []
        self._noise = NoiseTally()
        self.faults = FaultTally()
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

    def add_aligned(self, reference: Aligned, candidate: Aligned) -> None:
        """Add one image in the network's own terms."""
        self._noise.add(reference, candidate)

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
        self,
        images: ParityImages,
        *,
        precision: Precision,
        thresholds: ParityThresholds,
        ancestor: ParityReport | None = None,
        weights: WeightRounding | None = None,
    ) -> ParityReport:
        """Judge what was added.

        Args:
            images: that were compared on.
            precision: of the artefact.
            thresholds: the limits.
            ancestor: how the fp32 graph did that the artefact was made from.
            weights: how the artefact's weights differ from that graph's.
        """
        suspicion = self.faults.worst()
        figures = [
            *self._worst_image(thresholds),
            *self._all_images(thresholds),
            _most("fault_likeness", suspicion.likeness, thresholds.noise.fault_likeness),
            *_lineage(thresholds, ancestor, weights),
        ]
        checks = tuple(
            ParityCheck(name=name, value=value, limit=limit, bound=bound)
            for name, value, limit, bound in figures
        )
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
            looks_like=suspicion.fault,
            worst_layer=weights.worst_layer if weights else "",
        )

    def _worst_image(self, limits: ParityThresholds) -> Iterator[_Figure]:
        boxes = [difference.boxes for difference in self._raw]
        scores = [difference.scores for difference in self._raw]
        yield _most("not_finite_images", self._num_not_finite, 0.0)
        yield _most("box_max_abs_px", _max(d.max_abs for d in boxes), limits.box_max_abs_px)
        yield _most("score_max_abs", _max(d.max_abs for d in scores), limits.score_max_abs)
        yield _most("box_relative", _max(d.relative for d in boxes), limits.box_relative)
        yield _most("score_relative", _max(d.relative for d in scores), limits.score_relative)
        yield _least("box_cosine", _min(d.cosine for d in boxes), limits.box_cosine)
        yield _least("score_cosine", _min(d.cosine for d in scores), limits.score_cosine)
        unmatched = _max(d.unmatched_share for d in self._raw)
        yield _most("row_unmatched_share", unmatched, limits.unmatched_share)

    def _all_images(self, limits: ParityThresholds) -> Iterator[_Figure]:
        unmatched = self._num_unmatched / self._num_rows if self._num_rows else 0.0
        yield _most("detection_unmatched_share", unmatched, limits.unmatched_share)
        allowed = limits.detection_score_max_abs
        yield _most("detection_score_max_abs", self._score_max_abs, allowed)
        for name, value, limit in limits.noise.of(self._noise.figures()):
            yield (_least if name.endswith("_correlation") else _most)(name, value, limit)


def _lineage(
    limits: ParityThresholds, ancestor: ParityReport | None, weights: WeightRounding | None
) -> Iterator[_Figure]:
    if ancestor is not None:
        yield _most("fp32_graph_excess", ancestor.worst.excess, 1.0)
    if weights is not None:
        yield _most("layers_missing", weights.num_missing, 0.0)
        yield _most("weight_excess", weights.excess, limits.noise.weight_excess)


def _most(name: str, value: float, limit: float) -> _Figure:
    return name, float(value), limit, "at most"


def _least(name: str, value: float, limit: float) -> _Figure:
    return name, float(value), limit, "at least"


def _max(values: Iterable[float]) -> float:
    return max(values, default=0.0)


def _min(values: Iterable[float]) -> float:
    return min(values, default=1.0)
