"""Both launchers the docs name start a job, and a cache is filled by all processes together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from core.conftest import MakeConfig

from edgekd.data.batches import World
from edgekd.distill.devices import build_fabric
from edgekd.distill.feature_cache.description import read_description
from edgekd.distill.feature_cache.store import FeatureStore
from edgekd_bench.errors import InputError

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no distributed package"
)
ROOT = Path(__file__).parents[2]
CACHE = ("distill.cache.enabled=true", "distill.cache.views=2")


def run(*command: str) -> tuple[int, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        env=environment,
    )
    return finished.returncode, finished.stdout


def fabric_run(option: str, *arguments: str) -> tuple[int, str]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = f"--main-port={free.getsockname()[1]}"
    script = str(ROOT / "edgekd" / "__main__.py")
    return run("lightning_fabric.cli", "--devices=2", port, option, script, *arguments)


def test_a_cache_is_filled_by_shares_and_one_process_speaks(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(*CACHE)
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "edgekd")
    code, text = run(*launcher, "cache", str(tmp_path / "config.yaml"), CACHE[1])
    assert code == 0, text
    assert text.count("23 to compute") == text.count("next: edgekd distill") == 1, text
    assert "in each of 2 processes" in text
    (folder,) = (config.runs_dir / "feature_cache").iterdir()
    description = read_description(folder)
    sizes = {
        data.name[:3]: data.stat().st_size // description.record_bytes
        for data in (folder / "shards").glob("*.bin")
    }
    assert sizes == {"000": 12, "001": 11}, "each view once, shared"
    assert len(FeatureStore(folder, description)) == 23


def test_fabric_run_starts_a_distillation_and_times_its_processes_together(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config()
    command = ("distill", str(tmp_path / "config.yaml"), "distill.epochs=12")
    code, text = fabric_run("--accelerator=cpu", *command)
    assert code == 0, text
    assert text.count("distil epoch 12/12") == text.count("next: edgekd train") == 1, text
    assert (config.run_dir / "student_backbone.pt").is_file()
    assert text.count("efficiency ") == 1, text
    record = json.loads((config.run_dir / "distill" / "efficiency.json").read_text())
    # A busy machine's steps may be too slow to be timed; that there are enough is certain.
    assert "alone" in record or record["not_measured"].startswith("a step takes")


def test_an_option_of_fabric_run_that_contradicts_the_config_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LT_CLI_USED", "1")
    monkeypatch.setenv("LT_PRECISION", "16-mixed")
    with pytest.raises(InputError, match=r"^fabric run: .*--precision=16-mixed"):
        build_fabric(torch.device("cpu"), "fp32", World())
