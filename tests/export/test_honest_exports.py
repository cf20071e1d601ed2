"""The gate passes faithful exports: other families, heads, precisions, calibrations and weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from export.conftest import SIDE as SMALL_SIDE
from export.conftest import Checkpoints
from export.typed_exports import Exports, TypedExports

from edgekd_export.parity_images import ParityImages
from edgekd_export.parity_report import ParityReport
from edgekd_export.thresholds import Precision

# Twelve exports, four of other calibrations, seven of other families: twenty-three.
TRAINED = ("yolo11n", "yolo11n-earlier", "yolo26n", "yolo26n-earlier")
LOOKS_TRAINED = ("yolov8n", "yolov10n", "yolo12n")


def judge(exports: TypedExports, precision: Precision, folder: Path) -> ParityReport:
    path = exports.save(exports.graph(precision), folder / "honest.onnx")
    return exports.judge(path, precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_detector_passes(
    name: str, precision: Precision, exports: Exports, tmp_path: Path
) -> None:
    report = judge(exports(name), precision, tmp_path)
    assert report.verdict == "pass", report.summary()
    assert report.num_detections > 0


@pytest.mark.parametrize("method", ["minmax", "entropy"])
@pytest.mark.parametrize("name", ["yolo11n", "yolo26n"])
def test_other_calibrations_pass(name: str, method: str, exports: Exports, tmp_path: Path) -> None:
    subject = exports(name)
    path = subject.save(subject.int8(method), tmp_path / "honest.onnx")
    report = subject.judge(path, "int8")
    assert report.verdict == "pass", report.summary()


@pytest.fixture(scope="module")
def untrained(checkpoints: Checkpoints, pictures: ParityImages) -> Exports:
    """Networks that only look trained: too noisy for int8, and quickly made."""

    @cache
    def get(family: str) -> TypedExports:
        return TypedExports(checkpoints(family), SMALL_SIDE, pictures, pictures)

    return get


@pytest.mark.parametrize(
    ("family", "precision"),
    [("yolov5n", "fp32"), *((family, p) for family in LOOKS_TRAINED for p in ("fp32", "fp16"))],
)
def test_other_families_pass(
    family: str, precision: Precision, untrained: Exports, tmp_path: Path
) -> None:
    report = judge(untrained(family), precision, tmp_path)
    assert report.verdict == "pass", report.summary()
    assert report.num_detections > 0
