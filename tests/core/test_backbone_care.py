"""Handed-over layers can learn more slowly, later, or with the statistics of the target images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from core.conftest import MakeConfig

import edgekd
from edgekd.distill.checkpoint import save_backbone
from edgekd.models.student import backbone_state, build_detector
from edgekd.train.backbone_care import (
    handed_over_layers,
    recalibrate_batch_norm,
    scale_learning_rate,
)
from edgekd_bench.ultralytics_checkpoint import load_detector

TEACHER = {"name": "t", "licence": "l", "sha256": "0"}


@pytest.fixture
def backbone_file(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    file = tmp_path / "student_backbone.pt"
    save_backbone(file, backbone_state(build_detector("yolo11n.yaml")), {"teacher": TEACHER})
    return file


def test_a_lower_learning_rate_reaches_exactly_the_backbone() -> None:
    detector = build_detector("yolo11n.yaml")
    layers = handed_over_layers(detector, "backbone")
    groups = [
        {"params": [p for p in detector.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in detector.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scale_learning_rate(optimizer, layers, 0.25)
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(rate) == len(list(detector.parameters()))
    for name, parameter in detector.named_parameters():
        in_backbone = int(name.split(".")[1]) < 11
        assert rate[id(parameter)] == (0.25 if in_backbone else 1.0), name
        assert decay[id(parameter)] == (0.1 if parameter.ndim > 1 else 0.0), name


def test_recalibration_gives_the_statistics_of_the_images_and_touches_nothing_else() -> None:
    torch.manual_seed(0)
    detector = build_detector("yolo11n.yaml").eval()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    batches = [torch.rand(4, 3, 64, 64) * 0.3 + 0.6 for _ in range(3)]
    seen: list[torch.Tensor] = []
    first = detector.model[0]  # type: ignore[index]
    hook = first.conv.register_forward_hook(lambda _m, _i, out: seen.append(out))  # type: ignore[union-attr]
    layers = handed_over_layers(detector, "backbone")
    assert recalibrate_batch_norm(detector, layers, batches) == 12
    hook.remove()
    whole = torch.cat(seen)
    assert torch.allclose(first.bn.running_mean, whole.mean((0, 2, 3)), atol=1e-4)  # type: ignore[union-attr]
    assert not detector.training and first.bn.momentum == 0.03  # type: ignore[union-attr]
    for name, value in detector.state_dict().items():
        in_backbone = int(name.split(".")[1]) < 11
        statistic = "running" in name or "num_batches" in name
        if not (in_backbone and statistic):
            assert torch.equal(value, before[name]), name


def test_a_frozen_start_moves_the_head_first(
    make_config: MakeConfig, labelled_set: Path, backbone_file: Path
) -> None:
    config = make_config(
        f"data={labelled_set}", "train.epochs=1", "train.freeze_epochs=1", "name=frozen"
    )
    given = torch.load(backbone_file, weights_only=True)["tensors"]
    frozen = backbone_state(load_detector(_train(config, backbone_file)))
    assert all(torch.equal(frozen[name].float(), given[name].half().float()) for name in given)
    config = make_config(
        f"data={labelled_set}",
        "train.epochs=2",
        "train.freeze_epochs=1",
        "train.ultralytics={nbs: 4}",  # a step for every batch
        "name=released",
    )
    released = backbone_state(load_detector(_train(config, backbone_file)))
    moved = [n for n in given if not torch.equal(released[n].float(), given[n].half().float())]
    assert len(moved) > 100


def test_all_three_with_a_detector_teacher_on_top(
    make_config: MakeConfig, labelled_set: Path, backbone_file: Path
) -> None:
    """Ultralytics' own distillation from a detector combines with a distilled backbone."""
    teacher = _train(make_config(f"data={labelled_set}", "name=teacher"), None)
    config = make_config(
        f"data={labelled_set}",
        "name=both",
        "train.backbone_lr=0.5",
        "train.recalibrate_images=6",
        f"train.ultralytics={{distill_model: '{teacher}'}}",
    )
    result = edgekd.train.run(config, backbone_weights=backbone_file)
    assert result.handover is not None and result.handover.num_equal > 200
    detector: Any = load_detector(result.detector)
    assert type(detector).__name__ == "DetectionModel"


def _train(config: Any, weights: Path | None) -> Path:
    return edgekd.train.run(config, backbone_weights=weights).detector
