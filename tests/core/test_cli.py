"""The doorway: exit codes, one-line errors, JSON, and no heavy import for the help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from core.conftest import MakeConfig

COMMANDS = (
    "distill",
    "train",
    "export",
    "targets",
    "inspect",
    "bench",
    "report",
    "run",
    "demo",
    "doctor",
)
EDGEKD = [sys.executable, "-c", "from edgekd.cli import main; main()"]
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
sys.argv = ["edgekd", *{arguments}]
from edgekd.cli import main
main()
"""


def edgekd(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*EDGEKD, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False
    )


def without(blocked: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = BLOCK.format(blocked=blocked, arguments=list(arguments))
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_help_needs_no_heavy_library() -> None:
    heavy = {"torch", "ultralytics", "timm", "numpy", "onnxruntime", "PIL"}
    for arguments in ([], *([c] for c in COMMANDS)):
        answer = without(heavy, *arguments, "--help")
        assert answer.returncode == 0, answer.stderr
        assert "Usage" in answer.stdout


def test_help_lists_every_command() -> None:
    answer = edgekd("--help")
    assert all(command in answer.stdout for command in COMMANDS)


def test_version() -> None:
    from edgekd import __version__

    assert edgekd("--version").stdout.strip() == f"edgekd {__version__}"


def test_base_install_says_what_is_missing() -> None:
    answer = without(
        {"torch", "lightning_fabric"}, "distill", "configs/demo.yaml", "runs_dir=/dev/null/x"
    )
    assert answer.returncode == 2
    assert "pip install 'edgekd[train]'" in answer.stderr


def test_doctor_and_report_work_without_torch(tmp_path: Path) -> None:
    blocked = {"torch", "torchvision", "ultralytics", "timm"}
    findings = json.loads(without(blocked, "doctor", "--json").stdout)
    assert {f["capability"] for f in findings} >= {"processor", "bench, report", "export to ONNX"}
    answer = without(blocked, "report", str(tmp_path))
    assert answer.returncode == 2
    assert "results.json" in answer.stderr


def test_doctor_reads_well() -> None:
    answer = edgekd("doctor")
    assert answer.returncode == 0
    assert "pip install 'edgekd[" in answer.stdout  # the extra survives rich markup


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["distill", "none.yaml"], "no such config file"),
        (["run", "c.yaml", "distil.epochs=1"], "did you mean 'distill'"),
        (["train", "c.yaml"], "no labelled data"),
        (["train", "c.yaml", "data=none.yaml"], "none.yaml"),
        (["export", "none.pt"], "none.pt"),
        (["export", "none.pt", "--opset", "99"], "--opset"),
        (["bench", "none.onnx", "--data", "none.yaml"], "none"),
        (["bench", "none.onnx", "--data", "none.yaml", "--min-seconds", "-1"], "--min-seconds"),
        (["bench", "none.onnx", "--data", "none.yaml", "--backend", "tpu"], "--backend tpu"),
        (["bench", "none.tflite", "--data", "none.yaml"], "no backend runs '.tflite'"),
        (["report", "none"], "none"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"name": "c"}))
    answer = edgekd(*arguments, cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr
    errors = [line for line in answer.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert expected in errors[0]
    assert "Traceback" not in answer.stderr
    assert not list(tmp_path.rglob("*.pt"))


def test_sigterm_saves_says_so_and_resume_continues(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    config = make_config("distill.epochs=400")
    command = [
        *EDGEKD,
        "distill",
        str(tmp_path / "config.yaml"),
        "distill.epochs=400",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = config.run_dir / "distill" / "metrics.jsonl"
    for _ in range(1800):
        if metrics.exists() and metrics.read_text().count("\n") >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 143, errors
    assert "stopped by SIGTERM after step" in errors
    assert "--resume" in errors
    assert (config.run_dir / "distill" / "last.pt").exists()


def test_kill_9_leaves_a_loadable_checkpoint(tmp_path: Path, make_config: MakeConfig) -> None:
    import torch

    from edgekd.distill.checkpoint import CHECKPOINT_FORMAT

    config = make_config()
    command = [
        *EDGEKD,
        "distill",
        str(tmp_path / "config.yaml"),
        "distill.epochs=400",
        "distill.checkpoint_every=1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = config.run_dir / "distill" / "last.pt"
    for _ in range(1800):
        if last.exists():
            break
        time.sleep(0.1)
    time.sleep(0.7)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    for file in last.parent.glob("*.pt"):
        assert torch.load(file, weights_only=True)["format"] == CHECKPOINT_FORMAT
    assert not (config.run_dir / "student_backbone.pt").exists()
