"""Each backend has a process of its own, whose results, refusals and death all arrive here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from bench.conftest import TinyModels

from edgekd_bench import backend_process
from edgekd_bench.backend_measurement import BackendJob, ModelFile
from edgekd_bench.backend_process import measure_in_fresh_process
from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of
from edgekd_bench.settings import BenchSettings

QUICK = BenchSettings(
    min_seconds=0, min_count=3, warmup=1, num_latency_images=2, threads=1, throughput=False
)
PARENT = """
import pickle, sys
from edgekd_bench.backend_process import measure_in_fresh_process
measure_in_fresh_process(pickle.load(open(sys.argv[1], "rb")), None)
"""


@pytest.fixture
def job(tiny_models: TinyModels, yolo_set: Path, tmp_path: Path) -> BackendJob:
    return BackendJob(
        backend="onnxruntime",
        models=(ModelFile(tiny_models.onnx, "tiny.onnx", sha256_of(tiny_models.onnx)),),
        dataset=load_detection_set(yolo_set, "val"),
        settings=QUICK,
        has_power_sensor=True,
        build_cache=tmp_path,
    )


def test_results_come_back_whole(job: BackendJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(*_: object) -> None:
        raise AssertionError(f"measured in process {os.getpid()}")

    monkeypatch.setattr(backend_process, "measure_backend", here)
    quick_power = replace(job, settings=QUICK.model_copy(update={"energy_seconds": 0.01}))
    start = time.monotonic()
    result = measure_in_fresh_process(quick_power, None)
    (model,) = result.models
    assert len(model.latency.host.milliseconds) >= 3 and model.accuracy.score.matches
    assert model.info.path == job.models[0].path
    # Both processes read the same clock, or windows of device state would be of another time.
    assert start < result.timed_s[0] < result.timed_s[1] < time.monotonic()
    assert model.busy is not None and start < model.busy.start_s < time.monotonic()


def test_a_refusal_crosses_the_border(job: BackendJob) -> None:
    stale = replace(job, models=(replace(job.models[0], sha256="0" * 64),))
    with pytest.raises(InputError, match=r"tiny\.onnx: another file took its place"):
        measure_in_fresh_process(stale, None)


@pytest.mark.parametrize(
    ("script", "cause"),
    [("kill -9 $$", "was killed by SIGKILL"), ("exit 3", "ended with exit code 3")],
)
def test_a_process_that_dies_is_one_line(
    job: BackendJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, cause: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=f"measuring on onnxruntime {cause}") as caught:
        measure_in_fresh_process(job, None)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_it_does_not_outlive_its_parent(job: BackendJob, tmp_path: Path) -> None:
    import pickle

    endless = replace(job, settings=QUICK.model_copy(update={"min_seconds": 3600.0}))
    (tmp_path / "job").write_bytes(pickle.dumps(endless))
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "job")])
    try:
        child = _first_child(parent.pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    for _ in range(600):
        if not _is_running(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process went on measuring for nobody")


def _first_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(600):
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.1)
    raise AssertionError("no process was started")


def _is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
