"""The gate in a real benchmark: what it cannot judge is refused first, the record comes anyway."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bench.conftest import TinyModels, manifest
from pydantic import ValidationError

import edgekd_bench
from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import Parent, write_manifest
from edgekd_bench.record import read_record
from edgekd_bench.regression_gate import enforce
from edgekd_bench.settings import BenchSettings

QUICK = BenchSettings(
    backends=("onnxruntime",),
    min_seconds=0,
    min_count=4,
    warmup=1,
    bootstrap=200,
    num_latency_images=2,
    threads=1,
    throughput=False,
    energy_seconds=0,
)


def _with(*conditions: str) -> BenchSettings:
    return BenchSettings.model_validate({**QUICK.model_dump(), "fail_if": conditions})


def _copy(source: Path, target: Path, **facts: object) -> Path:
    shutil.copy(source, target)
    write_manifest(target, manifest(**facts))
    return target


def test_the_record_is_written_and_says_how_the_gate_came_out(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path
) -> None:
    same = [Parent(role="weights", name="w.pt", sha256="1" * 64)]
    base = _copy(tiny_models.onnx, tmp_path / "base.onnx", parents=same)
    new = _copy(tiny_models.onnx, tmp_path / "new.onnx", parents=same)
    record = edgekd_bench.run(
        [new],
        baselines=[base],
        data=yolo_set,
        settings=_with("map50_95 < baseline - 0.01", "size_mb > 1", "map50_per_class.two > 1"),
        out=tmp_path / "out",
    )
    assert read_record(tmp_path / "out/results.json") == record
    assert [(o.models, o.violated) for o in record.gate] == [
        (["new.onnx"], False),
        (["new.onnx"], True),
        (["new.onnx"], False),
    ]
    with pytest.raises(GateError, match=r"size_mb > 1: new\.onnx on onnxruntime has 1"):
        enforce(record.gate)
    comparison = record.verdict.comparisons[0]
    assert comparison.kind == "deployment" and comparison.asked
    assert "which has the same weights" in comparison.text
    row = record.rows[1]
    assert set(row.map50_95_by_size) == {"small", "medium", "large"}
    assert set(row.map50_per_class) == set(row.map50_95_per_class)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("map50_95_per_class.tow < 0.3", "did you mean 'two'"),
        ("map50_95 < baseline", "m.onnx on onnxruntime has no baseline"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_is_measured(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path, condition: str, reason: str
) -> None:
    model = _copy(tiny_models.onnx, tmp_path / "m.onnx")
    with pytest.raises(InputError, match=reason):
        edgekd_bench.run([model], data=yolo_set, settings=_with(condition), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_setting_that_cannot_be_read_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="did you mean 'map50_95'"):
        _with("map50_59 < 0.3")
