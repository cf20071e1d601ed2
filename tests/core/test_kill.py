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

PROGRAM = Path(__file__).with_name("killed_distillation.py")
NUM_KILLS = 20
OPTIONS = (
    "distill.epochs=6",
    "distill.checkpoint_every=2",
    "distill.cache.enabled=true",
    "distill.cache.views=3",
    "distill.cache.pixels=false",
)


class Attempts:
    """A program that runs the same distillation again and again, and kills it where told to.

    The undisturbed run goes through it too: another process may compute with another number of
    threads, and then sums differ in their last bits.
    """

    def __init__(self, config: Path, *overrides: str) -> None:
        command = [sys.executable, str(PROGRAM), str(config), *overrides, *OPTIONS]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def live(self, seconds: float) -> str:
        """``killed`` after so many seconds, or ``finished`` before."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=60) == 0


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(folder / "student_backbone.pt", weights_only=True)["tensors"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the processes it kills")
def test_twenty_kills_and_the_same_weights(make_config: MakeConfig, tmp_path: Path) -> None:
    whole = make_config("name=whole", f"runs_dir={tmp_path / 'whole'}", *OPTIONS)
    undisturbed = Attempts(tmp_path / "config.yaml", "name=whole", f"runs_dir={tmp_path / 'whole'}")
    assert undisturbed.live(0) == "killed"  # before it could begin; the imports are done now
    started = time.monotonic()
    assert undisturbed.live(200) == "finished"
    duration = time.monotonic() - started
    undisturbed.close()

    killed = make_config("name=killed", *OPTIONS)
    attempts = Attempts(tmp_path / "config.yaml", "name=killed")
    draw = random.Random(0)
    # Short lives first, so that filling and the first checkpoints are hit, not only late epochs.
    lives = sorted(draw.uniform(0.05, 0.6) * duration for _ in range(NUM_KILLS))
    outcomes = [attempts.live(life) for life in lives]
    assert outcomes.count("killed") >= NUM_KILLS // 2, outcomes
    assert attempts.live(200) == "finished"
    attempts.close()
    expected, tensors = tensors_in(whole.run_dir), tensors_in(killed.run_dir)
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    assert set(tensors) == set(expected)
