"""Fine-tuning: the hand-over is proven, both inits share one recipe, bad input stops early."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig

import edgekd
from edgekd.distill.checkpoint import save_backbone, tensors_hash
from edgekd.models.student import backbone_state, build_detector
from edgekd.train.handover import (
    load_backbone,
    prove_handover,
    read_backbone_weights,
)
from edgekd.train.labelled_set import lay_out
from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import read_manifest
from edgekd_bench.ultralytics_checkpoint import load_detector

TEACHER = {"name": "t", "licence": "l", "sha256": "0"}


@pytest.fixture
def backbone_file(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    file = tmp_path / "student_backbone.pt"
    save_backbone(file, backbone_state(build_detector("yolo11n.yaml")), {"teacher": TEACHER})
    return file


def test_distilled_training_starts_from_the_files_tensors(
    make_config: MakeConfig, labelled_set: Path, backbone_file: Path
) -> None:
    config = make_config(f"data={labelled_set}", "train.epochs=2", "train.val_every=2")
    result = edgekd.train.run(config, backbone_weights=backbone_file)
    assert result.init == "distilled"
    assert result.handover is not None
    assert result.handover.num_equal == result.handover.num_total > 200
    manifest = read_manifest(result.detector)
    assert manifest is not None
    assert (manifest.init, manifest.seed, manifest.names) == ("distilled", 0, {0: "even", 1: "odd"})
    assert manifest.teacher is not None and manifest.teacher.name == "t"
    assert {p.role for p in manifest.parents} == {"labelled data", "backbone weights"}
    rows = list(csv.DictReader(result.results_csv.open()))
    values = [float(row["metrics/mAP50-95(B)"]) for row in rows]
    assert math.isnan(values[0]) and not math.isnan(values[1])
    assert load_detector(result.detector).names == {0: "even", 1: "odd"}


def test_baseline_and_distilled_differ_in_the_backbone_alone(
    make_config: MakeConfig,
    labelled_set: Path,
    backbone_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgekd.train.detector_trainer import HandoverTrainer

    starts: list[dict[str, torch.Tensor]] = []
    arguments: list[dict[str, object]] = []
    original = HandoverTrainer.prove

    def spy(self: HandoverTrainer) -> None:
        starts.append({k: v.clone() for k, v in self.model.state_dict().items()})
        arguments.append(dict(vars(self.args)))
        original(self)

    monkeypatch.setattr(HandoverTrainer, "prove", spy)
    config = make_config(f"data={labelled_set}", "train.seeds=[3]")
    edgekd.train.run(config)
    edgekd.train.run(config, backbone_weights=backbone_file)
    baseline, distilled = starts
    depth = 11
    for name, value in baseline.items():
        if int(name.split(".")[1]) >= depth:
            assert torch.equal(value, distilled[name]), name
    assert not torch.equal(baseline["model.0.conv.weight"], distilled["model.0.conv.weight"])
    differing = {k for k in arguments[0] if arguments[0][k] != arguments[1][k]}
    assert differing <= {"name", "save_dir", "data"}


def test_a_trainer_that_loses_the_weights_is_stopped(
    make_config: MakeConfig,
    labelled_set: Path,
    backbone_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgekd.train import detector_trainer

    monkeypatch.setattr(detector_trainer, "load_backbone", lambda *_: None)
    config = make_config(f"data={labelled_set}")
    with pytest.raises(GateError, match=r"hand-over failed.*before its first step"):
        edgekd.train.run(config, backbone_weights=backbone_file)
    assert not list(config.run_dir.rglob("detector.pt"))


def test_proof_counts_and_names_what_differs(backbone_file: Path) -> None:
    weights = read_backbone_weights(backbone_file)
    detector = build_detector("yolo11n.yaml")
    load_backbone(detector, weights)
    proof = prove_handover({"model": detector}, weights)
    assert proof.tensors_hash == tensors_hash(weights.tensors)
    with torch.no_grad():
        dict(detector.named_parameters())["model.4.cv1.conv.weight"][0, 0] += 1e-6
    with pytest.raises(GateError, match=r"1 of \d+ .*model\.4\.cv1\.conv\.weight"):
        prove_handover({"model": detector}, weights)


def test_ultralytics_checkpoint_and_lightly_train_export(tmp_path: Path) -> None:
    detector = build_detector("yolo11n.yaml")
    pickled = tmp_path / "exported_last.pt"  # LightlyTrain writes Ultralytics' own layout
    torch.save({"model": detector, "train_args": {}, "epoch": -1}, pickled)
    plain = tmp_path / "state.pt"
    wrapped = {f"wrapped._model.{k}": v for k, v in detector.state_dict().items()}
    torch.save({"state_dict": wrapped}, plain)
    own = backbone_state(detector)
    for file, source in ((pickled, "Ultralytics checkpoint"), (plain, "state dict")):
        weights = read_backbone_weights(file)
        assert weights.source == source
        other = build_detector("yolo11n.yaml")
        load_backbone(other, weights)
        loaded = backbone_state(other)
        assert all(torch.allclose(loaded[name], own[name], atol=2e-3) for name in own)
        assert prove_handover({"model": other}, weights).num_equal == len(own)


def test_weights_of_another_student(backbone_file: Path) -> None:
    weights = read_backbone_weights(backbone_file)
    with pytest.raises(InputError, match="another model"):
        load_backbone(build_detector("yolov8n.yaml"), weights)
    with pytest.raises(InputError, match="another model"):
        load_backbone(build_detector("yolo11s.yaml"), weights)


def test_tampered_backbone_file(backbone_file: Path) -> None:
    content = torch.load(backbone_file, weights_only=True)
    next(iter(content["tensors"].values())).add_(1)
    torch.save(content, backbone_file)
    with pytest.raises(InputError, match="hash"):
        read_backbone_weights(backbone_file)


@pytest.mark.parametrize("kind", ["missing", "truncated", "text", "other"])
def test_unusable_backbone_files(tmp_path: Path, backbone_file: Path, kind: str) -> None:
    file = tmp_path / "w.pt"
    if kind == "truncated":
        file.write_bytes(backbone_file.read_bytes()[:5000])
    elif kind == "text":
        file.write_text("weights")
    elif kind == "other":
        torch.save({"head.weight": torch.zeros(2)}, file)
    with pytest.raises(InputError) as error:
        read_backbone_weights(file)
    assert "\n" not in str(error.value)


def test_yolo_and_coco_give_the_same_layout(
    tmp_path: Path, labelled_set: Path, coco_set: Path
) -> None:
    yolo = lay_out(labelled_set, tmp_path / "a", None)
    coco = lay_out(coco_set, tmp_path / "b", None)
    assert (yolo.num_train, yolo.num_val, yolo.names) == (6, 4, {0: "even", 1: "odd"})
    assert (coco.num_train, coco.num_val, coco.names) == (6, 4, {0: "even", 1: "odd"})
    read = [sorted(p.read_text() for p in (tmp_path / x / "labels").rglob("*.txt")) for x in "ab"]
    assert read[0] == read[1]


def test_smaller_subsets_are_contained_in_larger_ones(tmp_path: Path, labelled_set: Path) -> None:
    def names(count: int) -> set[Path]:
        lay_out(labelled_set, tmp_path / "set", count)
        return {p.resolve() for p in (tmp_path / "set" / "images" / "train").iterdir()}

    assert names(2) < names(4) < names(6)
    with pytest.raises(InputError, match="7 asked for"):
        lay_out(labelled_set, tmp_path / "set", 7)


@pytest.mark.parametrize(
    ("line", "expected"),
    [("0 1.5 0.5 0.2 0.2", "1.5"), ("7 0.5 0.5 0.2 0.2", "7"), ("0 0.5 0.5", "")],
)
def test_bad_labels_stop_before_anything_is_written(
    make_config: MakeConfig, labelled_set: Path, line: str, expected: str
) -> None:
    label = labelled_set.parent / "labels" / "train" / "100.txt"
    label.write_text(line + "\n")
    config = make_config(f"data={labelled_set}")
    with pytest.raises(InputError) as error:
        edgekd.train.run(config)
    assert "100.txt" in str(error.value)
    assert expected in str(error.value)
    assert not list(config.run_dir.rglob("*.pt"))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.ultralytics.lr=0.1", "Ultralytics has no such argument"),
        ("train.ultralytics.mosaik=0.1", "did you mean 'mosaic'"),
        ("train.ultralytics.epochs=3", "use train.epochs"),
        ("train.ultralytics.mosaic=[]", "train.ultralytics"),
        ("data=null", "no labelled data"),
    ],
)
def test_bad_arguments(
    make_config: MakeConfig, labelled_set: Path, override: str, expected: str
) -> None:
    config = make_config(f"data={labelled_set}", override)
    with pytest.raises(InputError, match=expected):
        edgekd.train.run(config)
    assert not list(config.run_dir.rglob("*.pt"))


def test_passthrough_reaches_ultralytics(make_config: MakeConfig, labelled_set: Path) -> None:
    import yaml

    config = make_config(f"data={labelled_set}", "train.ultralytics={mosaic: 0.25, nbs: 4}")
    result = edgekd.train.run(config)
    used = yaml.safe_load((result.detector.parent / "args.yaml").read_text())
    assert (used["mosaic"], used["nbs"]) == (0.25, 4)


def test_bf16_steps_on_the_cpu(make_config: MakeConfig, labelled_set: Path) -> None:
    from ultralytics.engine import trainer

    before = trainer.autocast
    result = edgekd.train.run(make_config(f"data={labelled_set}", "train.precision=bf16"))
    assert trainer.autocast is before
    assert all(p.isfinite().all() for p in load_detector(result.detector).parameters())


def test_ultralytics_writes_into_the_run_folder_only(
    make_config: MakeConfig, labelled_set: Path
) -> None:
    before = set(labelled_set.parent.rglob("*"))
    edgekd.train.run(make_config(f"data={labelled_set}"))
    assert set(labelled_set.parent.rglob("*")) == before


def test_coco_data_trains_too(make_config: MakeConfig, coco_set: Path) -> None:
    result = edgekd.train.run(make_config(f"data={coco_set}"))
    assert load_detector(result.detector).names == {0: "even", 1: "odd"}


def test_a_pretrained_student_keeps_its_neck_in_both(
    make_config: MakeConfig,
    labelled_set: Path,
    tmp_path: Path,
    trainer_starts: list[dict[str, torch.Tensor]],
) -> None:
    file = tmp_path / "pretrained.pt"
    pretrained = build_detector("yolo11n.yaml", num_classes=2)
    torch.save({"model": pretrained, "train_args": {"imgsz": 64}}, file)
    config = make_config(f"data={labelled_set}", f"student.model={file}", "distill.epochs=1")
    backbone = edgekd.distill.run(config).backbone
    edgekd.train.run(config)
    edgekd.train.run(config, backbone_weights=backbone)
    own = pretrained.state_dict()
    neck, stem = "model.13.cv1.conv.weight", "model.0.conv.weight"
    assert all(torch.equal(start[neck], own[neck]) for start in trainer_starts)
    assert torch.equal(trainer_starts[0][stem], own[stem])
    assert not torch.equal(trainer_starts[1][stem], own[stem])


def test_result_is_plain_data(make_config: MakeConfig, labelled_set: Path) -> None:
    from pydantic import TypeAdapter

    result = edgekd.train.run(make_config(f"data={labelled_set}"))
    text = TypeAdapter(type(result)).dump_json(result)
    assert json.loads(text)["init"] == "baseline"
