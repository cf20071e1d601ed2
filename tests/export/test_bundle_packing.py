"""Packing a bundle: what is in it, that it is whole, and that nothing half-done is left behind."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.synthetic_sets import write_yolo_set
from export.conftest import NAMES, Checkpoints

from edgekd_bench.bundle import Bundle, open_bundle
from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import Manifest, TeacherIdentity, read_manifest, write_manifest
from edgekd_bench.runner import open_runner
from edgekd_export import ExportSettings
from edgekd_export.bundle import packer
from edgekd_export.bundle.models import name_sources
from edgekd_export.bundle.packer import run
from edgekd_export.bundle.settings import BundleSettings
from edgekd_export.expected_outputs import load_expected
from edgekd_export.parity import compare
from edgekd_export.thresholds import PARITY_THRESHOLDS

QUICK = ExportSettings(num_parity_images=2, simplify=False)
FEW = BundleSettings(bundle_images=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yolo_set(tmp_path_factory.mktemp("data") / "screws", 5, NAMES)


@pytest.fixture(scope="module")
def packed(
    checkpoints: Checkpoints, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """A candidate in fp16, so that fp32 goes along, and a baseline."""
    out = tmp_path_factory.mktemp("out")
    result = run(
        checkpoints("yolo11n"),
        out=out,
        data=data,
        baselines=[checkpoints("yolo11n", seed=1)],
        settings=QUICK.model_copy(update={"precision": "fp16"}),
        bundle=FEW,
    )
    assert [path.name for path in out.iterdir()] == ["yolo11n-0.bundle"]
    return open_bundle(result.path)


@pytest.fixture
def earlier(packed: Bundle, tmp_path: Path) -> Path:
    """A bundle that lies where the next one is to go."""
    return shutil.copytree(packed.folder, tmp_path / packed.folder.name)


def test_the_wanted_precision_and_one_to_fall_back_on(packed: Bundle) -> None:
    found = [(m.name, m.role, m.precision, m.fallback) for m in packed.description.models]
    assert found == [
        ("yolo11n-0", "candidate", "fp16", False),
        ("yolo11n-0", "candidate", "fp32", True),
        ("yolo11n-1", "baseline", "fp16", False),
        ("yolo11n-1", "baseline", "fp32", True),
    ]
    for model in packed.description.models:
        manifest = read_manifest(packed.path(model.onnx))
        assert manifest is not None
        assert (manifest.precision, manifest.parity) == (model.precision, "pass")


def test_every_file_is_listed(packed: Bundle) -> None:
    listed = {file.path for file in packed.description.files}
    there = {
        path.relative_to(packed.folder).as_posix()
        for path in packed.folder.rglob("*")
        if path.is_file()
    }
    assert there == listed | {"bundle.json"}
    assert {"README.md", "deploy/deepstream/config_infer_primary.txt"} <= listed
    assert "deploy/triton/yolo11n-0/1/model.onnx" in listed


def test_the_expected_outputs_are_those_of_pytorch(packed: Bundle) -> None:
    model = packed.description.models[1]
    images, reference = load_expected(packed.path(model.expected))
    assert len(images) == 2
    assert "screws" in images.source
    with open_runner(packed.path(model.onnx)) as runner:
        report = compare(
            reference,
            runner.forward,
            images,
            end_to_end=False,
            batch=1,
            precision="fp32",
            thresholds=PARITY_THRESHOLDS["fp32"],
        )
    assert report.verdict == "pass"
    assert report.num_detections > 0


def test_the_labels_are_those_of_the_set(packed: Bundle, data: Path) -> None:
    mine, theirs = load_detection_set(packed.data, "val"), load_detection_set(data, "val")
    assert packed.description.evaluation.num_images == len(mine.images) == 2
    assert packed.description.evaluation.of_images == 5
    assert mine.names == theirs.names
    by_name = {image.path.name: image for image in theirs.images}
    for image in mine.images:
        original = by_name[image.path.name.split("_", 1)[1]]
        assert image.path.read_bytes() == original.path.read_bytes()
        np.testing.assert_allclose(image.boxes, original.boxes, atol=1e-9)
        np.testing.assert_array_equal(image.class_ids, original.class_ids)


def test_crowds_stay_crowds(data: Path, tmp_path: Path) -> None:
    import dataclasses

    from edgekd_export.bundle.evaluation import pack_evaluation

    dataset = load_detection_set(data, "val")
    first = dataset.images[0]
    crowded = dataclasses.replace(first, crowd=np.array([True, False]))
    with_crowd = dataclasses.replace(dataset, images=(crowded, *dataset.images[1:]))
    pack_evaluation(with_crowd, 5, tmp_path)
    written = load_detection_set(tmp_path / "evaluation/screws/data.yaml", "val")
    assert written.images[0].crowd.tolist() == [True, False]


def test_the_page_for_people_says_what_to_type(packed: Bundle) -> None:
    page = (packed.folder / "README.md").read_text()
    assert "edgekd export --trt yolo11n-0.bundle" in page
    assert "edgekd bench yolo11n-0.bundle" in page
    assert "2 labelled images with 4 objects. mAP on 2 of 5 images of screws (val)" in page
    assert "AGPL-3.0" in page


def test_a_teacher_s_licence_travels(checkpoints: Checkpoints, data: Path, tmp_path: Path) -> None:
    weights = shutil.copyfile(checkpoints("yolo11n"), tmp_path / "detector.pt")
    teacher = TeacherIdentity(name="vit_dinov3", licence="DINOv3 License", sha256="cd")
    about = Manifest(kind="detector", names=NAMES, image_size=64, stride=32, teacher=teacher)
    write_manifest(weights, about)
    result = run(weights, out=tmp_path, data=data, settings=QUICK, bundle=FEW)
    assert result.description.licences["weights distilled from vit_dinov3"] == "DINOv3 License"
    assert "DINOv3 License" in (result.path / "README.md").read_text()


def test_a_tar_is_the_same_bundle_and_the_same_bytes_each_time(
    checkpoints: Checkpoints, data: Path, tmp_path: Path
) -> None:
    tars = []
    for name in ("a", "b"):
        result = run(
            checkpoints("yolo11n"),
            out=tmp_path / name,
            data=data,
            settings=QUICK,
            bundle=BundleSettings(bundle_images=2, bundle_tar=True),
        )
        assert result.path == tmp_path / name / "yolo11n-0.bundle.tar"
        assert [path.name for path in result.path.parent.iterdir()] == [result.path.name]
        tars.append(result.path)
    assert tars[0].read_bytes() == tars[1].read_bytes()
    opened = open_bundle(tars[0])
    assert opened.folder == tmp_path / "a/yolo11n-0.bundle"
    assert opened.description.name == "yolo11n-0"


def test_checkpoints_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name / "detector.pt" for name in ("distilled", "baseline")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(b"weights")
    found = [(source.name, source.role) for source in name_sources(paths[0], paths[1:])]
    assert found == [("distilled-detector", "candidate"), ("baseline-detector", "baseline")]
    with pytest.raises(InputError, match="no such weights"):
        name_sources(tmp_path / "gone.pt", [])


@pytest.mark.parametrize("data_path", [None, "folder"])
def test_without_labels_there_is_no_bundle(
    checkpoints: Checkpoints, tmp_path: Path, data_path: str | None
) -> None:
    folder = None if data_path is None else tmp_path
    with pytest.raises(InputError, match=r"--data data\.yaml"):
        run(checkpoints("yolo11n"), out=tmp_path / "out", data=folder, settings=QUICK)
    assert not (tmp_path / "out").exists()


def test_an_empty_set_is_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    data = write_yolo_set(tmp_path / "set", 2, NAMES)
    for label in (tmp_path / "set/labels/val").iterdir():
        label.write_text("")
    with pytest.raises(InputError, match="not one label"):
        run(checkpoints("yolo11n"), out=tmp_path / "out", data=data, settings=QUICK)
    assert not (tmp_path / "out").exists()


def test_a_set_of_other_classes_is_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    data = write_yolo_set(tmp_path / "set", 2, {0: "cat", 1: "dog"})
    with pytest.raises(InputError, match="3 classes"):
        run(checkpoints("yolo11n"), out=tmp_path / "out", data=data, settings=QUICK)
    assert not list((tmp_path / "out").iterdir())


def test_a_baseline_is_another_checkpoint(
    checkpoints: Checkpoints, data: Path, tmp_path: Path
) -> None:
    weights = checkpoints("yolo11n")
    with pytest.raises(InputError, match="given twice"):
        run(weights, out=tmp_path, data=data, baselines=[weights], settings=QUICK)


def test_baselines_of_the_same_seed_are_refused(
    checkpoints: Checkpoints, data: Path, tmp_path: Path
) -> None:
    rivals = [checkpoints("yolo11n", 1), checkpoints("yolov8n")]
    with pytest.raises(InputError, match="each seed once"):
        run(checkpoints("yolo11n"), out=tmp_path, data=data, baselines=rivals, settings=QUICK)
    assert not list(tmp_path.iterdir())


def test_a_failed_gate_keeps_the_evidence_and_the_earlier_bundle(
    checkpoints: Checkpoints, data: Path, tmp_path: Path, earlier: Path
) -> None:
    weights = checkpoints("yolo11n")
    before = (earlier / "bundle.json").read_bytes()
    strict = PARITY_THRESHOLDS["fp32"].model_copy(update={"box_max_abs_px": 1e-12})
    with pytest.raises(GateError) as caught:
        run(
            weights,
            out=tmp_path,
            data=data,
            settings=QUICK.model_copy(update={"parity": strict}),
            bundle=FEW,
        )
    evidence = tmp_path / "yolo11n-0.fp32.parity-failed.onnx"
    assert str(evidence) in str(caught.value)
    assert evidence.is_file()
    assert (earlier / "bundle.json").read_bytes() == before
    open_bundle(earlier)
    assert {path.name for path in tmp_path.iterdir()} == {
        earlier.name,
        evidence.name,
        f"{evidence.name}.json",
    }


def test_packing_again_replaces_the_bundle(
    checkpoints: Checkpoints, data: Path, tmp_path: Path, earlier: Path
) -> None:
    (earlier / "engines").mkdir()
    again = run(
        checkpoints("yolo11n"),
        out=tmp_path,
        data=data,
        settings=QUICK,
        bundle=BundleSettings(bundle_images=3),
    )
    assert again.path == earlier
    assert open_bundle(again.path).description.evaluation.num_images == 3
    assert not (again.path / "engines").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["yolo11n-0.bundle"]


def test_a_folder_that_is_no_bundle_is_not_replaced(
    checkpoints: Checkpoints, data: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "yolo11n-0.bundle/precious.txt"
    mine.parent.mkdir()
    mine.write_text("keep me")
    with pytest.raises(InputError, match="no bundle"):
        run(checkpoints("yolo11n"), out=tmp_path, data=data, settings=QUICK)
    assert mine.read_text() == "keep me"


def test_no_space_leaves_nothing(
    checkpoints: Checkpoints, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packer, "write_deepstream", full)
    with pytest.raises(InputError, match="No space left") as caught:
        run(checkpoints("yolo11n"), out=tmp_path / "out", data=data, settings=QUICK, bundle=FEW)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


def test_a_place_that_cannot_be_made(checkpoints: Checkpoints, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        run(checkpoints("yolo11n"), out=tmp_path / "file/out", data=data, settings=QUICK)
