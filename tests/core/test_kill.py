"""kill -9 at any moment costs time and nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig

import edgekd

PROGRAM = Path(__file__).with_name("killed_distillation.py")
NUM_KILLS = 20
OPTIONS = (
    "distill.epochs=6",
    "distill.checkpoint_every=2",
    "distill.cache.enabled=true",
    "distill.cache.views=3",
    "distill.cache.pixels=false",
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the processes it kills")
def test_twenty_kills_and_the_same_weights(make_config: MakeConfig, tmp_path: Path) -> None:
    whole = make_config("name=whole", f"runs_dir={tmp_path / 'whole'}", *OPTIONS)
    started = time.monotonic()
    expected = torch.load(edgekd.distill.run(whole).backbone, weights_only=True)["tensors"]
    duration = time.monotonic() - started
    killed = make_config("name=killed", *OPTIONS)
    command = [sys.executable, str(PROGRAM), str(tmp_path / "config.yaml"), "name=killed", *OPTIONS]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None

    def attempt(delay: float) -> str:
        process.stdin.write(f"{delay}\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        return process.stdout.readline().strip()  # type: ignore[union-attr]

    draw = random.Random(0)
    # Short lives first, so that filling and the first checkpoints are hit, not only late epochs.
    lives = sorted(draw.uniform(0.05, 0.6) * duration for _ in range(NUM_KILLS))
    outcomes = [attempt(life) for life in lives]
    assert outcomes.count("killed") >= NUM_KILLS // 2, outcomes
    assert attempt(60 + 20 * duration) == "finished"
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    tensors = torch.load(killed.run_dir / "student_backbone.pt", weights_only=True)["tensors"]
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    leftovers = [p.name for p in killed.runs_dir.rglob("*.partial")]
    assert len(leftovers) <= NUM_KILLS  # named, hidden, never taken for the real thing
