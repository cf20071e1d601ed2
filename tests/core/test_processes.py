"""Two processes make the same distillation as one, and the loss of one loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig
from torch import nn

import edgekd
from edgekd.data.batches import World, whole_batch
from edgekd.data.color import jitter_color
from edgekd.distill.devices import SyncedBatchNorm2d
from edgekd.distill.setup import prepare_data
from edgekd_bench.errors import InputError

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no distributed package"
)
OPTIONS = ("distill.epochs=2", "distill.batch_size=4", "distill.lr=0.0005")
CACHE = ("distill.cache.enabled=true", "distill.cache.views=2")


def launch(config: Path, *overrides: str, processes: int = 2) -> subprocess.Popen[str]:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(processes), "-m", "edgekd", "distill", str(config)),
        *overrides,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True)["tensors"])


@pytest.mark.parametrize("mode", [(), CACHE], ids=["live", "cached"])
def test_two_processes_give_the_weights_of_one(
    make_config: MakeConfig, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    one = tensors_of(edgekd.distill.run(make_config("name=one", *OPTIONS, *mode)).backbone)
    start = tensors_of(
        edgekd.distill.run(make_config("name=start", *OPTIONS, "distill.lr=1e-9")).backbone
    )
    process = launch(
        tmp_path / "config.yaml", "name=two", f"runs_dir={tmp_path / 'two'}", *OPTIONS, *mode
    )
    text, _ = process.communicate(timeout=280)
    assert process.returncode == 0, text
    two = tensors_of(tmp_path / "two" / "two" / "student_backbone.pt")
    learned = sum(float((one[n] - start[n]).square().sum()) for n in one if "weight" in n)
    apart = sum(float((one[n] - two[n]).square().sum()) for n in one if "weight" in n)
    # AdamW turns rounding of near-zero gradients into steps, so equal means: far nearer to each
    # other than to where they began.
    assert apart < 0.01 * learned, (apart, learned)
    for name in one:
        if "running_mean" in name or "running_var" in name:
            assert torch.allclose(one[name], two[name], rtol=0.02, atol=0.005), name
    assert text.count("held-out cosine") == text.count("distil epoch") + 1, "one process speaks"


def test_a_killed_process_ends_the_job_and_leaves_a_checkpoint(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(*OPTIONS)
    process = launch(tmp_path / "config.yaml", *OPTIONS, "distill.epochs=500")
    last = config.run_dir / "distill" / "last.pt"
    end = time.monotonic() + 200
    while not last.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.1)
    assert last.exists()
    listing = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    )
    victim = max(int(number) for number in listing.stdout.split())
    os.kill(victim, signal.SIGKILL)
    text, _ = process.communicate(timeout=200)
    assert process.returncode != 0
    resumed = launch(tmp_path / "config.yaml", *OPTIONS, "distill.epochs=500", "--resume")
    end = time.monotonic() + 200
    before = last.stat().st_mtime
    while last.stat().st_mtime == before and time.monotonic() < end and resumed.poll() is None:
        time.sleep(0.1)
    resumed.send_signal(signal.SIGTERM)
    more, _ = resumed.communicate(timeout=200)
    assert "resuming at step" in more, text + more


def test_shares_of_a_batch_are_the_batch(make_config: MakeConfig) -> None:
    config = make_config("distill.batch_size=4")
    whole = list(prepare_data(config).loader.epoch(3))
    halves = [list(prepare_data(config, World(rank, 2)).loader.epoch(3)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(batch.pixels[0::2], first.pixels)
        assert torch.equal(batch.pixels[1::2], second.pixels)
    images = whole[0].pixels.float().div(255)
    recoloured = jitter_color(images, 0.5, 7)
    assert torch.allclose(recoloured[1::2], jitter_color(images[1::2], 0.5, 7, 1, 2))


def test_batches_that_cannot_be_shared_are_refused() -> None:
    assert whole_batch(32, 1000, World(0, 8)) == 32
    assert whole_batch(32, 11, World(0, 2)) == 10
    with pytest.raises(InputError, match="shared equally by 3"):
        whole_batch(32, 1000, World(0, 3))


def test_synchronised_norm_equals_torchs_own_in_one_process(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(5, eps=1e-3, momentum=0.03)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        synced = SyncedBatchNorm2d.like(norm)
        for _ in range(3):
            images = torch.randn(4, 5, 6, 7) * 3 + 2
            a, b = images.clone().requires_grad_(), images.clone().requires_grad_()
            norm(a).square().sum().backward()
            synced(b).square().sum().backward()
            assert torch.allclose(a.grad, b.grad, atol=1e-3)  # type: ignore[arg-type]
        assert torch.allclose(norm.running_mean, synced.running_mean, atol=1e-5)  # type: ignore[arg-type]
        assert torch.allclose(norm.running_var, synced.running_var, rtol=1e-4)  # type: ignore[arg-type]
        assert torch.allclose(norm.eval()(images), synced.eval()(images), atol=1e-5)
    finally:
        torch.distributed.destroy_process_group()
