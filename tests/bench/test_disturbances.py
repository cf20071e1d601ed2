"""What goes wrong while one measures must be seen in the record, or there must be no record."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bench.conftest import TinyModels, manifest
from rich.console import Console

import edgekd_bench
from edgekd_bench import backend_measurement, benchmark, onnxruntime_runner
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_manifest
from edgekd_bench.record import BenchRecord
from edgekd_bench.runner import Runner, RunnerInfo, open_runner
from edgekd_bench.settings import BenchSettings
from edgekd_bench.table import results_table

QUICK = BenchSettings(
    min_seconds=0,
    min_count=24,
    warmup=1,
    bootstrap=200,
    num_latency_images=2,
    threads=1,
    throughput=False,
)
BURSTS = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    burst = time.monotonic() + 0.4
    while time.monotonic() < burst:
        pass
    time.sleep(0.1)
"""


def _copy(source: Path, target: Path, **facts: object) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    write_manifest(target, manifest(**facts))
    return target


def _printed(record: BenchRecord) -> str:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(results_table(record))
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_neighbour_that_burns_cpu_in_bursts_is_flagged(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path
) -> None:
    # Started through a shell that ends at once: the burner is nobody's child, as a neighbour is.
    command = f"'{sys.executable}' -c '{BURSTS}' 30 >/dev/null 2>&1 & echo $!"
    answer = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=True)
    try:
        record = edgekd_bench.run(
            [tiny_models.onnx],
            data=yolo_set,
            settings=QUICK.model_copy(update={"min_seconds": 0.8, "p90_within": 9.0}),
            out=tmp_path / "out",
        )
    finally:
        subprocess.run(["kill", answer.stdout.strip()], check=True)
    assert any("busy machine: other processes used" in flag for flag in record.rows[0].flags)
    assert record.device_state["while timing on onnxruntime"]["cpu"]["foreign_share"] > 0
    assert "! busy machine" in _printed(record)


def test_a_slow_first_run_is_recorded_and_touches_no_figure(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SlowOnce:
        """An ONNX Runtime session whose first call builds something for a long time."""

        def __init__(self, session: Any) -> None:
            self._session = session

        def run(self, *arguments: Any) -> Any:
            time.sleep(0.5)
            return self._session.run(*arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

    real = onnxruntime_runner._create_session
    monkeypatch.setattr(onnxruntime_runner, "_create_session", lambda *a: SlowOnce(real(*a)))
    record = edgekd_bench.run(
        [tiny_models.onnx], data=yolo_set, settings=QUICK, out=tmp_path / "out"
    )
    row = record.rows[0]
    assert row.first_call_ms is not None and row.first_call_ms >= 500
    assert max(row.latency_quantiles_ms) < row.first_call_ms
    assert row.num_warmup >= 1


@pytest.mark.parametrize("moment", ["before it is opened again", "while it is timed"])
def test_a_model_swapped_under_its_name_leaves_no_record(
    tiny_models: TinyModels,
    yolo_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    model = Path(shutil.copy(tiny_models.onnx, tmp_path / "m.onnx"))
    module, name = (
        (benchmark, "pair_models")
        if moment == "before it is opened again"
        else (backend_measurement, "measure_latency")
    )
    real = getattr(module, name)

    def swap_and_go_on(*arguments: Any, **options: Any) -> Any:
        # Another file with the same behaviour: nothing but its bytes could tell.
        model.write_bytes(model.read_bytes() + b"\x7a\x01x")  # an unknown protobuf field
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, swap_and_go_on)
    with pytest.raises(InputError, match=r"m\.onnx: another file took its place") as caught:
        edgekd_bench.run([model], data=yolo_set, settings=QUICK, out=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


class _Fixed(Runner):
    """A runner whose every call takes the same time, whatever its network does."""

    def __init__(self, runner: Runner, seconds: float) -> None:
        self._runner, self._seconds = runner, seconds
        self._output: Any = None

    @property
    def info(self) -> RunnerInfo:
        return self._runner.info

    def forward(self, batch: Any) -> Any:
        if self._output is None:
            self._output = self._runner.forward(batch)
        time.sleep(self._seconds)
        return self._output

    def close(self) -> None:
        self._runner.close()


def test_a_harness_that_favours_one_side_decides_no_latency(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [
        _copy(tiny_models.onnx, tmp_path / f"{init}{seed}/m.onnx", init=init, seed=seed)
        for init in ("baseline", "distilled")
        for seed in (0, 1, 2)
    ]
    opened: list[Path] = []

    def open_biased(path: Path, *options: Any) -> Runner:
        """Whatever is opened after the first three is slower: candidates and the twin."""
        opened.append(path)
        runner = open_runner(path, *options)
        return _Fixed(runner, 0.004 if len(opened) <= 3 else 0.012)

    monkeypatch.setattr(backend_measurement, "open_runner", open_biased)
    more = QUICK.model_copy(update={"min_count": 40})
    record = edgekd_bench.run(models, data=yolo_set, settings=more, out=tmp_path / "out")
    (check,) = record.self_checks
    assert check.model == "baseline0/m.onnx" and check.backend == "onnxruntime"
    assert not check.passed and check.latency_p50_ratio.low > 1
    comparison = record.verdict.comparisons[0]
    assert comparison.latency_p50_ratio.outcome == "undecided"
    assert "the self-check failed on onnxruntime" in comparison.text
    assert "a difference where there is none" in _printed(record)


def test_the_self_check_is_in_every_record(
    tiny_models: TinyModels, yolo_set: Path, tmp_path: Path
) -> None:
    record = edgekd_bench.run(
        [tiny_models.onnx], data=yolo_set, settings=QUICK, out=tmp_path / "out"
    )
    (check,) = record.self_checks
    assert (check.model, check.backend) == ("tiny.onnx", "onnxruntime")
    assert "self-check on onnxruntime, tiny.onnx against itself" in _printed(record)
    state = record.device_state
    assert {"before", "while timing on onnxruntime", "after"} <= set(state)
    assert record.command
