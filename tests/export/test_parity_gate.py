"""The gate must pass a faithful export and fail each fault that exports really have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from export.conftest import Checkpoints

from edgekd_bench.detections import Detections
from edgekd_bench.errors import GateError
from edgekd_export import ExportSettings, run
from edgekd_export.parity import check_onnx, compare
from edgekd_export.parity_images import ParityImages
from edgekd_export.parity_report import ParityCheck, ParityReport
from edgekd_export.raw_difference import raw_difference
from edgekd_export.row_pairing import pair_detections
from edgekd_export.thresholds import PARITY_THRESHOLDS
from export import graph_surgery

LIMITS = PARITY_THRESHOLDS["fp32"]


@dataclass(frozen=True)
class Exported:
    weights: Path
    onnx: Path
    end_to_end: bool

    def check(self, onnx: Path, images: ParityImages, weights: Path | None = None) -> ParityReport:
        return check_onnx(
            weights or self.weights,
            onnx,
            images,
            end_to_end=self.end_to_end,
            batch=1,
            precision="fp32",
            thresholds=LIMITS,
        )


@pytest.fixture(scope="module", params=["yolo11n", "yolo26n"])
def exported(
    request: pytest.FixtureRequest,
    checkpoints: Checkpoints,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    weights = checkpoints(request.param)
    settings = ExportSettings(num_parity_images=1)
    result = run(weights, out=tmp_path_factory.mktemp(request.param), settings=settings)
    return Exported(weights, result.onnx, result.manifest.end_to_end)


def test_a_faithful_export_passes_with_detections(
    exported: Exported, pictures: ParityImages
) -> None:
    report = exported.check(exported.onnx, pictures)
    assert report.verdict == "pass"
    assert report.num_detections > 50
    assert report.num_images == len(pictures)
    assert 0 < report.figures["box_max_abs_px"] <= LIMITS.box_max_abs_px


@pytest.mark.parametrize(
    "surgery",
    [
        graph_surgery.expect_bgr,
        graph_surgery.expect_unscaled,
        graph_surgery.expect_bytes_scaled_twice,
        graph_surgery.negate_a_filter,
        graph_surgery.round_weights_to_fp16,
        graph_surgery.anchors_at_corners,
    ],
)
def test_a_fault_anywhere_in_the_network_fails(
    surgery: graph_surgery.Surgery, exported: Exported, pictures: ParityImages, tmp_path: Path
) -> None:
    faulty = graph_surgery.operate(exported.onnx, tmp_path / "faulty.onnx", surgery)
    report = exported.check(faulty, pictures)
    assert report.verdict == "fail"
    assert not report.worst.ok
    assert report.worst.name in report.summary()


def test_a_fault_in_the_output_fails(
    exported: Exported, pictures: ParityImages, tmp_path: Path
) -> None:
    faults = (
        [graph_surgery.shift_class_ids]
        if exported.end_to_end
        else [graph_surgery.swap_first_two_classes, graph_surgery.shift_boxes_a_little]
    )
    for surgery in faults:
        faulty = graph_surgery.operate(exported.onnx, tmp_path / "faulty.onnx", surgery)
        assert exported.check(faulty, pictures).verdict == "fail", surgery.__name__


def test_an_artefact_of_other_weights_fails(
    exported: Exported, pictures: ParityImages, checkpoints: Checkpoints
) -> None:
    family = exported.weights.stem.split("-")[0]
    report = exported.check(exported.onnx, pictures, weights=checkpoints(family, seed=1))
    assert report.verdict == "fail"


def raw_output(seed: int = 0) -> np.ndarray:
    """(4 + 2, 30): well separated boxes, one class each, scores far from the cut."""
    rng = np.random.default_rng(seed)
    centres = np.stack(np.meshgrid(np.arange(6), np.arange(5))).reshape(2, 30) * 40 + 20
    scores = np.zeros((2, 30))
    scores[rng.integers(0, 2, 30), np.arange(30)] = rng.uniform(0.2, 0.9, 30)
    return np.concatenate([centres, np.full((2, 30), 25.0), scores]).astype(np.float32)


def judge(expected: np.ndarray, found: np.ndarray, *, end_to_end: bool = False) -> ParityReport:
    images = ParityImages((np.zeros((32, 32, 3), np.uint8),), "drawn")
    return compare(
        lambda _: expected[None],
        lambda _: found[None],
        images,
        end_to_end=end_to_end,
        batch=1,
        precision="fp32",
        thresholds=LIMITS,
    )


def test_equal_outputs_have_no_difference() -> None:
    report = judge(raw_output(), raw_output())
    assert report.verdict == "pass"
    assert report.num_detections == 30
    assert report.worst.excess < 1e-6  # a correlation ends in rounding


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("both", [False, True])
def test_not_a_number_never_passes(value: float, both: bool) -> None:
    ruined = raw_output()
    ruined[5, 3] = value
    report = judge(ruined if both else raw_output(), ruined)
    assert report.verdict == "fail"
    assert report.worst.name == "not_finite_images"
    assert ParityReport.model_validate_json(report.model_dump_json()) == report


def test_another_shape_is_not_compared() -> None:
    with pytest.raises(GateError, match=r"\(1, 6, 29\).*\(1, 6, 30\)"):
        judge(raw_output(), raw_output()[:, :-1])


def test_one_lost_detection_fails() -> None:
    found = raw_output()
    found[4:, 7] = 0
    report = judge(raw_output(), found)
    assert report.verdict == "fail"
    assert report.figures["detection_unmatched_share"] == pytest.approx(1 / 59)


def test_one_bad_image_among_many_good_ones_fails() -> None:
    images = ParityImages(tuple(np.full((32, 32, 3), i, np.uint8) for i in range(20)), "drawn")

    def candidate(batch: np.ndarray) -> np.ndarray:
        found = raw_output()[None].copy()
        found[0, 0] += 1.0 if batch.max() * 255 > 18.5 else 0.0
        return found

    report = compare(
        lambda _: raw_output()[None],
        candidate,
        images,
        end_to_end=False,
        batch=1,
        precision="fp32",
        thresholds=LIMITS,
    )
    assert report.verdict == "fail"
    assert report.figures["box_max_abs_px"] == pytest.approx(1.0)


def end_to_end_output() -> np.ndarray:
    """(30, 6) best first, with the two best exactly tied."""
    raw = raw_output()
    corners = np.concatenate([raw[:2] - 12.5, raw[:2] + 12.5])
    rows = np.concatenate([corners, raw[4:].max(0)[None], raw[4:].argmax(0)[None]]).T
    rows = rows[np.argsort(-rows[:, 4])]
    rows[1, 4] = rows[0, 4]
    return rows.astype(np.float32)


def test_tied_rows_may_swap_but_not_change() -> None:
    rows = end_to_end_output()
    swapped = rows[[1, 0, *range(2, 30)]]
    assert judge(rows, swapped, end_to_end=True).verdict == "pass"
    moved = swapped.copy()
    moved[0, 0] += 0.2
    assert judge(rows, moved, end_to_end=True).verdict == "fail"


def test_the_last_rank_may_go_to_either_of_two_equals() -> None:
    rows = end_to_end_output()
    other = rows.copy()
    other[-1, :4] += 100  # another box of the same score took the last place
    assert judge(rows, other, end_to_end=True).verdict == "pass"
    other[10, :4] += 100
    assert judge(rows, other, end_to_end=True).verdict == "fail"


def test_a_detection_at_the_confidence_cut_may_be_missing() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.9, LIMITS.conf + 1e-5], np.float32)
    both = Detections(boxes, scores, np.array([0, 0]))
    first = Detections(boxes[:1], scores[:1], np.array([0]))
    second = Detections(boxes[1:], scores[1:], np.array([0]))
    assert pair_detections(both, first, LIMITS, capacity=300).num_unmatched == 0
    assert pair_detections(both, second, LIMITS, capacity=300).num_unmatched == 1
    assert pair_detections(first, both, LIMITS, capacity=300).num_unmatched == 0


def test_boxes_and_scores_are_measured_apart() -> None:
    found = raw_output()
    found[0, 0] += 0.5
    difference = raw_difference(raw_output(), found, end_to_end=False, limits=LIMITS)
    assert difference.boxes.max_abs == pytest.approx(0.5)
    assert difference.scores.max_abs == 0
    assert difference.scores.cosine == 1


def test_nothing_detected_is_said_not_hidden() -> None:
    quiet = raw_output()
    quiet[4:] *= 1e-3
    report = judge(quiet, quiet)
    assert report.num_detections == 0
    assert "raw outputs only" in report.summary()


def test_rounding_of_silent_scores_is_no_fault_but_a_new_score_is() -> None:
    silent = raw_output()
    silent[4:] = 1e-7
    clamped = silent.copy()
    clamped[4:] = 1.5e-8
    assert judge(silent, clamped).verdict == "pass"
    clamped[4, 0] = 0.04  # still below the confidence cut, so only the raw figures can tell
    assert judge(silent, clamped).verdict == "fail"
    assert judge(clamped, silent).verdict == "fail"


def test_a_cosine_next_to_one_is_not_printed_as_one() -> None:
    check = ParityCheck(name="box_cosine", value=1 - 3e-9, limit=1 - 1e-9, bound="at least")
    assert not check.ok
    assert check.excess == pytest.approx(3)
    assert check.text() == "box_cosine 0.999999997 (at least 0.999999999)"
