"""``import edgekd`` is free, and every command is one call below it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgekd


def test_importing_edgekd_loads_nothing_heavy() -> None:
    code = "import sys, edgekd; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "stage", ["distill", "train", "export", "bench", "report", "pipeline", "doctor"]
)
def test_every_command_is_a_documented_call(stage: str) -> None:
    run = getattr(edgekd, stage).run
    assert run.__doc__
    assert "return" in run.__annotations__


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        _ = edgekd.distil
