"""A student that is a trained checkpoint: anchored while it distils, whole when it is trained on.

The checkpoints here hold random numbers, for the tests are about where weights go, not their worth.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig, run_until
from core.test_processes import launch
from torch import nn

import edgekd
from edgekd.distill import StoppedError
from edgekd.distill.anchor import Anchor
from edgekd.distill.metrics_log import read_metrics
from edgekd.distill.optimization import build_optimizer
from edgekd.models.student import backbone_depth, backbone_state, build_detector
from edgekd_bench.errors import InputError
from edgekd_bench.ultralytics_checkpoint import load_detector

CACHE = ("distill.cache.enabled=true", "distill.cache.views=2")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A yolo11n of 80 classes, in half precision, as Ultralytics publishes them."""
    torch.manual_seed(11)
    detector = build_detector("yolo11n.yaml")
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
    file = tmp_path_factory.mktemp("pretrained") / "yolo11n.pt"
    torch.save({"model": detector.half(), "train_args": {}, "epoch": -1}, file)
    return file


def moved(backbone: Path, checkpoint: Path) -> float:
    """Squared distance of the weights from the checkpoint's, relative to their squared norm."""
    tensors = torch.load(backbone, weights_only=True)["tensors"]
    start = {k: v for k, v in backbone_state(load_detector(checkpoint)).items() if "weight" in k}
    apart = sum(float((tensors[name] - value).square().sum()) for name, value in start.items())
    return apart / sum(float(value.square().sum()) for value in start.values())


def test_the_distance_is_zero_at_the_start_and_pulls_towards_it() -> None:
    layer = nn.Linear(3, 2)
    anchor = Anchor(list(layer.parameters()))
    assert anchor.distance().item() == 0
    start = [p.detach().clone() for p in layer.parameters()]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.1)
    distance = anchor.distance()
    assert distance.item() == pytest.approx(0.01, rel=1e-4)  # a tenth of every tensor's norm
    distance.backward()
    for parameter, value in zip(layer.parameters(), start, strict=True):
        assert parameter.grad is not None
        assert torch.all(parameter.grad * (parameter - value) > 0)  # descent leads back


def test_the_distance_knows_no_scale_and_bears_zeros() -> None:
    def distance(scale: float) -> float:
        parameter = nn.Parameter(torch.full((4, 4), scale))
        anchor = Anchor([parameter])
        with torch.no_grad():
            parameter[0, 0] *= 2
        return anchor.distance().item()

    assert distance(0.01) == pytest.approx(distance(10.0), rel=1e-4)
    zeros = nn.Parameter(torch.zeros(5))
    anchor = Anchor([zeros])
    with torch.no_grad():
        zeros.add_(1e-3)
    assert anchor.distance().item() == pytest.approx(1, rel=1e-3)


def test_anchored_weights_are_not_pulled_to_zero_as_well() -> None:
    held, free = nn.Linear(3, 3), nn.Linear(3, 3)
    both = nn.ModuleList([held, free])
    groups = build_optimizer(both, 0.1, 0.5, held.parameters()).param_groups
    decayed = [p for group in groups if group["weight_decay"] > 0 for p in group["params"]]
    assert [p is free.weight for p in decayed] == [True]
    assert sum(len(group["params"]) for group in groups) == 4


@pytest.mark.parametrize("mode", [(), CACHE], ids=["live", "cached"])
def test_an_anchored_run_stays_nearer_to_its_start_and_learns_less(
    make_config: MakeConfig, checkpoint: Path, mode: tuple[str, ...]
) -> None:
    common = (f"student.model={checkpoint}", "distill.epochs=8", "distill.lr=0.003", *mode)
    free = edgekd.distill.run(make_config("name=free", *common))
    held = edgekd.distill.run(make_config("name=held", *common, "distill.anchor=1000"))
    assert moved(held.backbone, checkpoint) < 0.3 * moved(free.backbone, checkpoint)
    free_lines, held_lines = read_metrics(free.metrics), read_metrics(held.metrics)
    assert held_lines[-1]["loss/p4/cosine"] > free_lines[-1]["loss/p4/cosine"]
    assert "loss/anchor" not in free_lines[0]
    assert all(line["loss/anchor"] > 0 for line in held_lines)


def test_an_anchored_run_resumes_bit_identical(make_config: MakeConfig, checkpoint: Path) -> None:
    options = (f"student.model={checkpoint}", "distill.epochs=3", "distill.anchor=10")
    whole = edgekd.distill.run(make_config("name=whole", *options))
    config = make_config("name=parts", *options)
    for stop_after in (2, 3):
        with pytest.raises(StoppedError):
            run_until(config, stop_after)
    resumed = edgekd.distill.run(config, resume=True)
    a, b = (torch.load(r.backbone, weights_only=True)["tensors"] for r in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert read_metrics(resumed.metrics)[-1]["loss/anchor"] > 0
    other = make_config("name=parts", *options, "distill.anchor=11")
    with pytest.raises(InputError, match="other options"):
        edgekd.distill.run(other, resume=True)


def test_random_weights_are_no_anchor(make_config: MakeConfig) -> None:
    config = make_config("distill.anchor=0.5")
    with pytest.raises(InputError, match=r"random weights.*student\.model=FILE\.pt.*anchor=0") as e:
        edgekd.distill.run(config)
    assert "\n" not in str(e.value)
    assert not (config.run_dir / "student_backbone.pt").exists()


def test_training_keeps_the_checkpoints_neck_and_head(
    make_config: MakeConfig,
    labelled_set: Path,
    checkpoint: Path,
    trainer_starts: list[dict[str, torch.Tensor]],
) -> None:
    """Both inits start from the .pt; the distilled one has another backbone and nothing else."""
    config = make_config(f"student.model={checkpoint}", f"data={labelled_set}", "distill.epochs=1")
    backbone = edgekd.distill.run(config).backbone
    edgekd.train.run(config)
    edgekd.train.run(config, backbone_weights=backbone)
    baseline, distilled = trainer_starts
    published = load_detector(checkpoint)
    depth = backbone_depth(published)
    tensors = torch.load(backbone, weights_only=True)["tensors"]
    own = published.state_dict()
    other_classes = {name for name, value in own.items() if baseline[name].shape != value.shape}
    assert other_classes and all(name.startswith("model.23.cv3.") for name in other_classes)
    for name, value in own.items():
        if name not in other_classes:
            assert torch.equal(baseline[name], value), name
        in_backbone = int(name.split(".")[1]) < depth
        assert torch.equal(distilled[name], tensors[name] if in_backbone else baseline[name]), name
    assert not torch.equal(baseline["model.0.conv.weight"], distilled["model.0.conv.weight"])


@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no distributed package"
)
def test_two_processes_hold_the_same_anchor_as_one(
    make_config: MakeConfig, checkpoint: Path, tmp_path: Path
) -> None:
    options = (f"student.model={checkpoint}", "distill.anchor=1", "distill.lr=0.0005")
    one = edgekd.distill.run(make_config("name=one", *options))
    process = launch(tmp_path / "config.yaml", "name=two", f"runs_dir={tmp_path / 'two'}", *options)
    text, _ = process.communicate(timeout=280)
    assert process.returncode == 0, text
    folder = tmp_path / "two" / "two"
    a = torch.load(one.backbone, weights_only=True)["tensors"]
    b = torch.load(folder / "student_backbone.pt", weights_only=True)["tensors"]
    start = backbone_state(load_detector(checkpoint))
    weights = [name for name in a if "weight" in name]
    learned = sum(float((a[name] - start[name]).square().sum()) for name in weights)
    apart = sum(float((a[name] - b[name]).square().sum()) for name in weights)
    assert apart < 0.01 * learned, (apart, learned)
    x, y = (read_metrics(m)[-1] for m in (one.metrics, folder / "distill" / "metrics.jsonl"))
    assert x["loss/anchor"] == pytest.approx(y["loss/anchor"], rel=0.01)
