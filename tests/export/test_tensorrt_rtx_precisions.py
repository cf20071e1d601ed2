"""Every precision of every family through the project's exporter and a real TensorRT builder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench.synthetic_sets import write_yolo_set
from export.conftest import NAMES, Checkpoints

from edgekd_bench.engine_fit import read_engine_manifest
from edgekd_bench.manifest import read_manifest
from edgekd_export import ExportSettings, engine_export
from edgekd_export.tensorrt import EngineResult, TensorRTSettings
from edgekd_export.thresholds import PARITY_THRESHOLDS

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: edgekd[rtx]")

FAMILIES = ["yolov8n", "yolo11n", "yolo12n", "yolo26n"]
# What is tested is that TensorRT takes the files. How far a network of random weights may move in
# half precision is not, and the gate has its own tests.
ANYTHING = PARITY_THRESHOLDS["int8"].model_copy(
    update={"unmatched_share": 1, "score_relative": 10, "score_cosine": 0.1}
)
CALIBRATION = {"calibration": "minmax", "calibration_images": 4, "held_out_images": 2}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd_export.tensorrt.plan.find_gpu", lambda: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yolo_set(tmp_path_factory.mktemp("set"), 6, NAMES)


def build(
    weights: Path,
    out: Path,
    data: Path,
    profile: tuple[int, int, int] | None = None,
    **options: Any,
) -> EngineResult:
    settings = ExportSettings(
        num_parity_images=2,
        simplify=False,
        parity=ANYTHING,
        tensorrt=TensorRTSettings(builder="rtx", target="rtx40", batch_profile=profile),
        **options,
    )
    return engine_export.run(weights, out=out, data=data, settings=settings)


@pytest.mark.parametrize(
    "precision", ["fp32", "fp16", pytest.param("int8", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_builds(
    family: str, precision: Any, checkpoints: Checkpoints, data: Path, tmp_path: Path
) -> None:
    options = CALIBRATION if precision == "int8" else {}
    result = build(checkpoints(family), tmp_path, data, precision=precision, **options)
    assert result.engine.name == f"{family}-0.{precision}.rtx.engine"
    manifest = read_engine_manifest(result.engine)
    assert (manifest.precision, manifest.end_to_end) == (precision, family == "yolo26n")
    assert (manifest.calibration is not None) is (precision == "int8")
    assert [parent.role for parent in manifest.parents] == ["weights", "onnx"]
    onnx = read_manifest(tmp_path / manifest.parents[-1].name)
    assert onnx is not None
    assert manifest.parents[-1].sha256 == onnx.sha256
    assert (onnx.parity, manifest.parity) == ("pass", "n/a")
    assert "could not be run here" in result.notes[0]
    # Weights of two bytes in place of four show in the file; int8 keeps float copies in RTX.
    per_parameter = result.engine.stat().st_size / (manifest.num_params or 1)
    assert per_parameter > 4 if precision == "fp32" else per_parameter > 2
    if precision == "fp16":
        assert per_parameter < 4


def test_dynamic_batch_builds_with_a_profile(
    checkpoints: Checkpoints, data: Path, tmp_path: Path
) -> None:
    result = build(
        checkpoints("yolo26n"), tmp_path, data, (1, 2, 4), precision="fp16", dynamic_batch=True
    )
    assert result.manifest.engine is not None
    assert result.manifest.engine.batch == (1, 2, 4)
    assert result.manifest.dynamic_batch
    assert "--optShapes=images:2x3x64x64" in result.trtexec
