"""The same loops on an NVIDIA GPU; skipped, with the reason, where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig

import edgekd

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


def test_train_on_the_gpu(make_config: MakeConfig, labelled_set: Path) -> None:
    backbone = edgekd.distill.run(make_config("device=cuda")).backbone
    config = make_config("device=cuda", f"data={labelled_set}", "train.precision=auto")
    result = edgekd.train.run(config, backbone_weights=backbone)
    assert result.handover is not None
    assert result.handover.num_equal == result.handover.num_total
