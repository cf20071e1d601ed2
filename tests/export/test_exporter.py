"""``run()``: what it writes, what it carries over, and that it leaves nothing broken behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from export.conftest import NAMES, SIDE, Checkpoints
from PIL import Image
from pydantic import ValidationError

from edgekd_bench.errors import GateError, InputError
from edgekd_bench.images import decode_image
from edgekd_bench.manifest import (
    MANIFEST_KEY,
    Manifest,
    Parent,
    TeacherIdentity,
    manifest_path,
    parse_manifest,
    read_manifest,
    sha256_of,
    write_manifest,
)
from edgekd_bench.runner import open_runner
from edgekd_export import ExportResult, ExportSettings, run, staging
from edgekd_export.synthetic_images import synthetic_image

FEW = ExportSettings(num_parity_images=4)
QUICK = ExportSettings(num_parity_images=2, simplify=False)


@pytest.fixture(scope="module")
def exported(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return run(checkpoints.yolo11n, out=tmp_path_factory.mktemp("out"), settings=FEW)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(synthetic_image(3)).save(path)
    return path


@pytest.mark.parametrize(
    ("family", "end_to_end"),
    [("yolov8n", False), ("yolov10n", True), ("yolo26n", True)],
)
def test_families_export_and_pass(
    family: str, end_to_end: bool, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    settings = ExportSettings(num_parity_images=4, end_to_end=end_to_end)
    result = run(checkpoints(family), out=tmp_path, settings=settings)
    assert result.parity.verdict == "pass"
    assert result.parity.num_detections > 0
    assert result.manifest.end_to_end is end_to_end
    (output,) = onnx.load(result.onnx).graph.output
    shape = [d.dim_value for d in output.type.tensor_type.shape.dim]
    assert shape == ([1, 84, 6] if end_to_end else [1, 4 + len(NAMES), 84])
    with open_runner(result.onnx) as runner:
        assert runner.info.end_to_end is end_to_end
        assert runner.info.num_params == result.manifest.num_params


def test_a_model_with_a_nms_free_head_uses_it_unless_told_otherwise(
    checkpoints: Checkpoints,
) -> None:
    from edgekd_export.weights import read_checkpoint

    two_heads = read_checkpoint(checkpoints("yolo26n"))
    assert two_heads.end_to_end(None) is True
    assert two_heads.end_to_end(False) is False
    one_head = read_checkpoint(checkpoints.yolo11n)
    assert one_head.end_to_end(None) is False
    with pytest.raises(InputError, match="no NMS-free head"):
        one_head.end_to_end(True)


def test_names_input_output_and_opset(exported: ExportResult) -> None:
    model = onnx.load(exported.onnx)
    assert [i.name for i in model.graph.input] == ["images"]
    assert [o.name for o in model.graph.output] == ["output0"]
    assert {o.domain: o.version for o in model.opset_import} == {"": 17}
    assert model.ir_version <= 10
    session = ort.InferenceSession(str(exported.onnx), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, SIDE, SIDE]


def test_the_manifest_fits_the_file_and_is_embedded_in_it(exported: ExportResult) -> None:
    assert exported.onnx.name == "yolo11n-0.onnx"
    assert exported.manifest_path == manifest_path(exported.onnx)
    beside = read_manifest(exported.onnx)  # checks the hash
    assert beside == exported.manifest
    assert beside.kind == "onnx"
    assert beside.parity == "pass"
    assert beside.parity_figures == exported.parity.figures
    assert beside.names == NAMES
    assert beside.image_size == SIDE
    assert {"torch", "ultralytics", "onnx", "onnxruntime"} <= set(beside.versions)
    metadata = {m.key: m.value for m in onnx.load(exported.onnx).metadata_props}
    inside = parse_manifest(metadata[MANIFEST_KEY], "metadata")
    assert inside.sha256 == ""
    assert inside == beside.model_copy(update={"sha256": ""})


def test_ultralytics_loads_it_and_sees_what_the_checkpoint_sees(
    exported: ExportResult, checkpoints: Checkpoints, photo: Path
) -> None:
    from ultralytics import YOLO

    def predict(path: Path) -> Any:
        model = YOLO(str(path), task="detect")
        result = model.predict(
            str(photo), imgsz=SIDE, rect=False, conf=0.1, device="cpu", verbose=False, save=False
        )[0]
        assert result.names == NAMES
        return result.boxes

    ours, theirs = predict(exported.onnx), predict(checkpoints.yolo11n)
    assert len(ours) == len(theirs) > 0
    np.testing.assert_allclose(ours.xyxy.numpy(), theirs.xyxy.numpy(), atol=0.05)
    np.testing.assert_array_equal(ours.cls.numpy(), theirs.cls.numpy())


def test_ultralytics_loads_an_end_to_end_file(
    checkpoints: Checkpoints, photo: Path, tmp_path: Path
) -> None:
    from ultralytics import YOLO

    result = run(checkpoints("yolo26n"), out=tmp_path / "free.onnx", settings=FEW)
    assert result.onnx == tmp_path / "free.onnx"
    found = YOLO(str(result.onnx), task="detect").predict(
        str(photo), imgsz=SIDE, conf=0.05, device="cpu", verbose=False, save=False
    )[0]
    assert len(found.boxes) > 0


def test_history_is_carried_over(checkpoints: Checkpoints, tmp_path: Path) -> None:
    weights = tmp_path / "detector.pt"
    weights.write_bytes(checkpoints.yolo11n.read_bytes())
    before = Manifest(
        kind="detector",
        init="distilled",
        seed=7,
        names=NAMES,
        image_size=96,
        stride=32,
        parents=[Parent(role="backbone", name="student_backbone.pt", sha256="ab")],
        teacher=TeacherIdentity(name="dinov3_vits16", licence="DINOv3", sha256="cd"),
        config_hash="0123",
    )
    write_manifest(weights, before)
    after = run(weights, out=tmp_path, settings=QUICK).manifest
    assert (after.init, after.seed, after.teacher) == ("distilled", 7, before.teacher)
    assert after.config_hash == "0123"
    assert after.image_size == 96  # the manifest's, not the checkpoint's
    assert after.parents == [
        *before.parents,
        Parent(role="weights", name="detector.pt", sha256=sha256_of(weights)),
    ]
    weights.write_bytes(checkpoints("yolo11n", seed=1).read_bytes())
    with pytest.raises(InputError, match="SHA-256"):
        run(weights, out=tmp_path, settings=QUICK)


def test_a_fixed_batch_is_checked_image_by_image(checkpoints: Checkpoints, tmp_path: Path) -> None:
    settings = ExportSettings(num_parity_images=3, batch=2, simplify=False)
    result = run(checkpoints.yolo11n, out=tmp_path, settings=settings)
    assert result.parity.num_images == 3
    session = ort.InferenceSession(str(result.onnx), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [2, 3, SIDE, SIDE]


def test_real_images_are_used_where_given(
    checkpoints: Checkpoints, photo: Path, tmp_path: Path
) -> None:
    result = run(checkpoints.yolo11n, out=tmp_path / "out", data=photo.parent, settings=QUICK)
    assert result.parity.num_images == 1
    assert str(photo.parent) in result.parity.summary()
    synthetic = run(checkpoints.yolo11n, out=tmp_path / "out", settings=QUICK)
    assert synthetic.parity.source == "synthetic"
    assert "synthetic" in synthetic.parity.summary()
    assert decode_image(photo).shape == (360, 640, 3)


def break_fusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter bug: folding batch norm forgets part of one layer."""
    from ultralytics.nn.tasks import DetectionModel

    sound = DetectionModel.fuse

    def broken(self: Any, **options: Any) -> Any:
        fused = sound(self, **options)
        with torch.no_grad():
            fused.model[4].cv1.conv.bias.zero_()
        return fused

    monkeypatch.setattr(DetectionModel, "fuse", broken)


def test_a_failed_gate_keeps_the_evidence_and_the_earlier_artefact(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = run(checkpoints.yolo11n, out=tmp_path, settings=QUICK)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    break_fusing(monkeypatch)
    with pytest.raises(GateError, match=r"worst figure: \w+ .* \(at (most|least)") as caught:
        run(checkpoints.yolo11n, out=tmp_path, settings=QUICK)
    assert "\n" not in str(caught.value)
    failed = tmp_path / "yolo11n-0.parity-failed.onnx"
    assert {p.name for p in tmp_path.iterdir()} == {
        *before,
        failed.name,
        manifest_path(failed).name,
    }
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())
    manifest = read_manifest(failed)
    assert manifest is not None
    assert manifest.parity == "fail"
    assert manifest.parity_figures["num_images"] == 2
    still_good = read_manifest(good.onnx)
    assert still_good is not None
    assert still_good.parity == "pass"


def test_a_crash_while_writing_leaves_the_earlier_artefact(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(checkpoints.yolo11n, out=tmp_path, settings=QUICK)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def disk_full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(staging, "write_manifest", disk_full)
    with pytest.raises(InputError, match="No space left"):
        run(checkpoints.yolo11n, out=tmp_path, settings=QUICK)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_nowhere_to_write(checkpoints: Checkpoints, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        run(checkpoints.yolo11n, out=blocker / "out", settings=QUICK)
    taken = tmp_path / "taken.onnx"
    (taken / "by a folder").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written"):
        run(checkpoints.yolo11n, out=taken, settings=QUICK)
    assert {p.name for p in tmp_path.iterdir()} == {"file", "taken.onnx"}


@pytest.mark.parametrize("option", [{"opset": 19}, {"precision": "bf16"}, {"opsett": 17}])
def test_settings_refuse_what_is_not_built(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExportSettings(**option)


def test_an_image_size_off_the_grid_is_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="64 or 96"):
        run(checkpoints.yolo11n, out=tmp_path / "out", settings=ExportSettings(image_size=65))
    assert not (tmp_path / "out").exists()


def test_importing_the_wing_is_light() -> None:
    code = (
        "import json, sys, edgekd_export, edgekd_export.settings;"
        "edgekd_export.ExportSettings();"
        "print(json.dumps([m for m in ('torch', 'onnx', 'ultralytics') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
