"""The benchmark stage runs elsewhere, and its refusals arrive here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.console import Console

from edgekd.bench_process import bench_in_fresh_process
from edgekd_bench.errors import InputError
from edgekd_bench.settings import BenchSettings


def test_a_refusal_crosses_the_process_border(labelled_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    missing = tmp_path / "none.onnx"
    with pytest.raises(InputError, match=r"none\.onnx"):
        bench_in_fresh_process(
            [missing], [], labelled_set, BenchSettings(), out, Console(quiet=True)
        )
    assert not out.exists()


def test_it_is_another_process_with_the_same_arguments(
    labelled_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgekd_bench.benchmark

    def here(*_: object, **__: object) -> None:
        raise AssertionError(f"measured in process {os.getpid()}")

    monkeypatch.setattr(edgekd_bench.benchmark, "run", here)
    with pytest.raises(InputError):
        bench_in_fresh_process(
            [tmp_path / "none.onnx"], [], labelled_set, BenchSettings(), tmp_path, Console()
        )
