"""A disturbed measurement must carry its flag, and a quiet one none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgekd_bench.device.cpu import CpuSource
from edgekd_bench.device.proc_stat import is_in_tree, tree_seconds
from edgekd_bench.device.source import Finding, Reading
from edgekd_bench.state_monitor import StateMonitor, StateWindow

_BURSTS = """
import time
while True:
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        pass
    time.sleep(0.05)
"""


class FakeProc:
    """A /proc and a /sys of two cores, 100 clock ticks a second."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pid = 4242
        self.policy = root / "sys/devices/system/cpu/cpufreq/policy0"
        self.ticks = {"user": 1000, "idle": 5000, "steal": 0, "own": 200}
        self.set_clock(1_728_000)
        self.advance()

    def advance(self, *, own: int = 0, foreign: int = 0, idle: int = 0, steal: int = 0) -> None:
        """Let ticks of both cores pass."""
        for key, value in (("user", own + foreign), ("idle", idle), ("steal", steal), ("own", own)):
            self.ticks[key] += value
        user, idle_now, stolen = (self.ticks[key] for key in ("user", "idle", "steal"))
        half = [value // 2 for value in (user, 0, 0, idle_now, 0, 0, 0, stolen, 0, 0)]
        cores = "".join(f"cpu{core} {' '.join(map(str, half))}\n" for core in (0, 1))
        self._write("proc/stat", f"cpu 0 0 0 0 0 0 0 0 0 0\n{cores}intr 1 2 3\n")
        fields = ["S", "1", *["0"] * 9, str(self.ticks["own"]), "0", "0", "0", "20"]
        self._write(f"proc/{self.pid}/stat", f"{self.pid} (py) thon) {' '.join(fields)}")
        self._write(f"proc/{self.pid}/task/{self.pid}/children", "")

    def set_clock(self, khz: int) -> None:
        self._write(self.policy / "scaling_cur_freq", str(khz))
        self._write(self.policy / "scaling_governor", "schedutil")

    def set_throttled_seconds(self, seconds: float) -> None:
        text = f"usage_usec 1\nthrottled_usec {round(seconds * 1e6)}\n"
        self._write("sys/fs/cgroup/box/cpu.stat", text)
        self._write("proc/self/cgroup", "0::/box\n")

    def source(self) -> CpuSource:
        root = self.root
        return CpuSource(proc=root / "proc", sys=root / "sys", cores={0, 1}, pid=self.pid)

    def _write(self, name: str | Path, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def machine(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


def _judge(source: CpuSource, steps: Sequence[Any]) -> Finding:
    """What the source says of one reading a second, with a step of the machine between them."""
    readings = [Reading(0.0, source.read())]
    for index, step in enumerate(steps):
        step()
        readings.append(Reading(index + 1.0, source.read()))
    return source.judge(readings)


def test_our_own_load_is_no_flag(machine: FakeProc) -> None:
    finding = _judge(machine.source(), [lambda: machine.advance(own=190, foreign=2, idle=8)] * 4)
    assert finding.flags == ()
    assert finding.facts["foreign_share"] == pytest.approx(0.01)


def test_a_neighbour_at_work_is_flagged(machine: FakeProc) -> None:
    finding = _judge(machine.source(), [lambda: machine.advance(own=100, foreign=40, idle=60)] * 4)
    assert finding.flags == (
        "busy machine: other processes used 20% of the 2 cores, up to 20% at a time",
    )


def test_rare_bursts_that_the_mean_would_hide_are_flagged(machine: FakeProc) -> None:
    quiet = [lambda: machine.advance(own=100, idle=100)] * 13
    burst = [lambda: machine.advance(own=100, foreign=60, idle=40)]
    source = machine.source()
    finding = _judge(source, (quiet + burst) + (quiet + burst))
    assert finding.facts["foreign_share"] < 0.05
    assert finding.flags == ()  # two of 28: within what a machine does now and then
    finding = _judge(source, (quiet[:7] + burst) * 4)
    assert finding.facts["foreign_share"] < 0.05
    assert "up to 30% at a time" in finding.flags[0]


def test_stolen_time_is_flagged(machine: FakeProc) -> None:
    finding = _judge(machine.source(), [lambda: machine.advance(own=150, idle=30, steal=20)] * 2)
    assert finding.flags == ("the hypervisor gave 10% of the processor to other machines",)


def test_a_container_at_its_limit_is_flagged(machine: FakeProc) -> None:
    machine.set_throttled_seconds(3.0)
    source = machine.source()
    quiet = _judge(source, [lambda: machine.advance(own=100, idle=100)])
    assert quiet.flags == ()  # what was held back before is not the run's

    def held_back() -> None:
        machine.advance(own=100, idle=100)
        machine.set_throttled_seconds(3.4)

    finding = _judge(source, [held_back])
    assert finding.flags == ("the container's CPU limit held processes back for 0.40 s",)


def test_a_clock_that_moved_is_flagged_and_a_governor_alone_is_not(machine: FakeProc) -> None:
    source = machine.source()
    assert source.describe()["policies"][0]["governor"] == "schedutil"
    still = [lambda: machine.advance(own=100, idle=100)] * 2
    assert _judge(source, still).flags == ()
    flags = _judge(source, [*still, lambda: machine.set_clock(729_600)]).flags
    assert flags == ("the processor's clock moved between 730 and 1728 MHz while timing",)


def test_throttling_counters(machine: FakeProc) -> None:
    counter = machine.root / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    counter.parent.mkdir(parents=True)
    counter.write_text("7\n")
    source = machine.source()
    flags = _judge(source, [lambda: counter.write_text("9\n")]).flags
    assert flags == ("the processor throttled for heat 2 times",)


@contextmanager
def _burning() -> Iterator[None]:
    """A process that burns a core in bursts, started so that it is nobody's child here."""
    code = (
        "import subprocess, sys\n"
        f"burner = [sys.executable, '-c', {_BURSTS!r}]\n"
        "print(subprocess.Popen(burner, stdout=subprocess.DEVNULL).pid)\n"
    )
    started = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    pid = int(started.stdout)
    try:
        yield
    finally:
        os.kill(pid, 9)


def test_a_real_burner_is_flagged() -> None:
    with StateMonitor(interval_s=0.1, sources=[CpuSource()]) as monitor, _burning():
        start = monitor.mark()
        time.sleep(1.5)
        window = monitor.window(start, monitor.mark())
    assert any(flag.startswith("busy machine") for flag in window.flags), window


def test_our_own_child_is_not_foreign() -> None:
    proc, me = Path("/proc"), os.getpid()
    before = tree_seconds(proc, me)
    burner = subprocess.Popen([sys.executable, "-c", _BURSTS])
    try:
        deadline = time.monotonic() + 20
        while (during := tree_seconds(proc, me)) < before + 0.3 and time.monotonic() < deadline:
            time.sleep(0.1)  # the child works while this process sleeps
        assert during >= before + 0.3
        assert is_in_tree(proc, burner.pid, me)
    finally:
        burner.kill()
        burner.wait()
    assert tree_seconds(proc, me) >= during  # reaped, and still counted
    assert is_in_tree(proc, os.getppid(), me) is False
    assert is_in_tree(proc, burner.pid, me) is None


class _Scripted:
    """A source whose readings and findings are known."""

    name = "scripted"

    def __init__(self) -> None:
        self.count = 0
        self.closed = False
        self.judged: list[Reading] = []

    def read(self) -> dict[str, float]:
        self.count += 1
        if self.count == 2:
            raise OSError("the sensor went away")
        return {"count": float(self.count)}

    def describe(self) -> dict[str, Any]:
        return {"count": self.count}

    def judge(self, readings: Sequence[Reading]) -> Finding:
        self.judged = list(readings)
        return Finding(("something happened",), {"readings": len(readings)}, 5.0)

    def close(self) -> None:
        self.closed = True


def test_a_window_holds_its_readings_and_the_one_before() -> None:
    source = _Scripted()
    with StateMonitor(interval_s=60, sources=[source]) as monitor:
        monitor.mark()  # this one fails, and nothing ends
        start = monitor.mark()
        end = monitor.mark()
        monitor.mark()
        window = monitor.window(start, end)
        json.dumps(monitor.snapshot())
    assert source.closed
    assert [reading.values["count"] for reading in source.judged] == [3, 4]
    assert window == StateWindow(5.0, ("something happened",), {"scripted": {"readings": 2}})


def test_watching_costs_next_to_nothing() -> None:
    with StateMonitor() as monitor:
        time.sleep(2.2)
        share = monitor.cpu_share()
        facts = monitor.snapshot()["monitor"]
    assert 0 < share < 0.01
    assert facts["interval_s"] == 0.5
