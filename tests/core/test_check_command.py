"""`edgekd check`: exit codes, messages and JSON for a finished run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROW = {
    "model": "m.onnx",
    "init": "other",
    "precision": "fp32",
    "backend": "onnxruntime",
    "device": "cpu",
    "image_size": 64,
    "batch": 1,
    "map50_95": 0.4,
    "map50": 0.6,
    "latency_p50_ms": 5.0,
    "latency_p90_ms": 6.0,
    "latency_p99_ms": 7.0,
    "end_to_end_p50_ms": 6.0,
    "end_to_end_p90_ms": 6.0,
    "end_to_end_p99_ms": 6.0,
    "num_warmup": 1,
    "num_timed": 9,
    "size_mb": 5.0,
    "num_params": 1000,
    "parity": "pass",
    "sha256": "0",
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished benchmark that was run with one condition."""
    record = {
        "environment": {},
        "settings": {"fail_if": ["latency_p90_ms > 5"]},
        "data": {"classes": ["one", "two"]},
        "rows": [ROW],
        "verdict": {"headline": "h", "outcome": "no baseline", "num_seeds": 0},
    }
    (tmp_path / "results.json").write_text(json.dumps(record))
    return tmp_path


def _check(*arguments: str | Path) -> tuple[int, str, str]:
    program = [sys.executable, "-c", "from edgekd.cli import main; main()", "check"]
    done = subprocess.run(
        [*program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_exit_codes_and_messages(run_dir: Path) -> None:
    code, out, err = _check(run_dir, "--fail-if", "latency_p90_ms > 8")
    assert (code, err) == (0, "") and out.startswith("ok")
    code, out, err = _check(
        run_dir / "results.json", "--fail-if", "map50 < 0.7", "--fail-if", "map50_95 < 0.1"
    )
    assert code == 1 and out.splitlines()[0].startswith("FAIL map50 < 0.7")
    assert err.startswith("gate failed: map50 < 0.7: m.onnx on onnxruntime has 0.6")
    assert "map50_95" not in err and len(err.splitlines()) == 1


def test_without_conditions_those_of_the_run_count(run_dir: Path) -> None:
    code, _, err = _check(run_dir)
    assert code == 1 and "latency_p90_ms > 5" in err


def test_json_is_complete_even_when_the_gate_fails(run_dir: Path) -> None:
    code, out, _ = _check(run_dir, "--json", "--fail-if", "size_mb > 3")
    outcomes: list[dict[str, Any]] = json.loads(out)
    assert code == 1
    assert (outcomes[0]["value"], outcomes[0]["limit"], outcomes[0]["violated"]) == (5.0, 3.0, True)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("map50_59 < 1", "did you mean 'map50_95'"),
        ("map50_95 < baseline", "no comparison with a baseline"),
        ("map50_per_class.on < 1", "did you mean 'one'"),
    ],
)
def test_bad_conditions_exit_with_two(run_dir: Path, condition: str, reason: str) -> None:
    code, _, err = _check(run_dir, "--fail-if", condition)
    assert code == 2 and reason in err and len(err.splitlines()) == 1


def test_no_run_and_nothing_to_check(tmp_path: Path, run_dir: Path) -> None:
    assert _check(tmp_path / "none", "--fail-if", "map50 < 1")[0] == 2
    record = json.loads((run_dir / "results.json").read_text())
    (run_dir / "results.json").write_text(json.dumps(record | {"settings": {}}))
    code, _, err = _check(run_dir)
    assert code == 2 and "--fail-if" in err
