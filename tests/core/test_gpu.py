"""The same loops on an NVIDIA GPU; skipped, with the reason, where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig
from rich.console import Console

import edgekd
from edgekd.distill.metrics_log import read_metrics
from edgekd.distill.setup import prepare_data
from edgekd.distill.trainer import DistillLoop
from edgekd.models.student import build_detector

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs an NVIDIA GPU that torch can use"
)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_distill_on_the_gpu(make_config: MakeConfig, precision: str) -> None:
    config = make_config("device=cuda", f"distill.precision={precision}", "distill.epochs=3")
    result = edgekd.distill.run(config)
    tensors = torch.load(result.backbone, weights_only=True)["tensors"]
    assert all(t.device.type == "cpu" and t.isfinite().all() for t in tensors.values())


def test_resume_on_the_gpu(make_config: MakeConfig) -> None:
    config = make_config("device=cuda", "distill.epochs=2")
    edgekd.distill.run(config)
    assert edgekd.distill.run(config, resume=True).best_epoch >= 1


@pytest.mark.parametrize("cached", ["false", "true"])
def test_targets_taught_aside_are_those_taught_in_turn(
    make_config: MakeConfig, cached: str
) -> None:
    config = make_config("device=cuda", f"distill.cache.enabled={cached}", "teacher.name=test_vit")
    loop = DistillLoop(config, prepare_data(config), Console(quiet=True))
    loop.source.prepare(resumed=False)
    in_turn = [loop.taught.teach(batch) for batch in loop.source.loader.epoch(0)]
    aside = []
    for batch in loop.taught.epoch(0):
        loop.step(batch)  # work on the main stream while the next batch is taught
        aside.append(batch)
    for a, b in zip(in_turn, aside, strict=True):
        assert torch.equal(a.images, b.images)
        assert all(torch.allclose(a.targets[s], t, atol=1e-4) for s, t in b.targets.items())


def test_a_compiled_run_on_the_gpu(make_config: MakeConfig) -> None:
    config = make_config("device=cuda", "distill.compile=true", "distill.epochs=12")
    result = edgekd.distill.run(config)
    tensors = torch.load(result.backbone, weights_only=True)["tensors"]
    assert all(t.isfinite().all() for t in tensors.values())
    assert result.efficiency is not None and not result.efficiency.shared


def test_an_anchor_on_the_gpu(make_config: MakeConfig, tmp_path: Path) -> None:
    file = tmp_path / "yolo11n.pt"
    torch.save({"model": build_detector("yolo11n.yaml"), "train_args": {}, "epoch": -1}, file)
    config = make_config("device=cuda", f"student.model={file}", "distill.anchor=10")
    lines = read_metrics(edgekd.distill.run(config).metrics)
    assert all(line["loss/anchor"] >= 0 for line in lines)


def test_train_on_the_gpu(make_config: MakeConfig, labelled_set: Path) -> None:
    backbone = edgekd.distill.run(make_config("device=cuda")).backbone
    config = make_config("device=cuda", f"data={labelled_set}", "train.precision=auto")
    result = edgekd.train.run(config, backbone_weights=backbone)
    assert result.handover is not None
    assert result.handover.num_equal == result.handover.num_total
