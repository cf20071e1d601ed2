"""The processor: its clock, what throttled it, and who else used it.

Everything comes from ``/proc`` and ``/sys`` as the kernel documents them (proc(5), cpufreq and
cgroup-v2 in the kernel's admin guide). A virtual machine shows no clock and no throttling; then
steal time and foreign load are all that can be said.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from edgekd_bench.device.clock_flag import judge_clock
from edgekd_bench.device.proc_stat import read_cpu_times, tree_seconds
from edgekd_bench.device.source import Finding, Reading, increase_of, levels_of
from edgekd_bench.device.sysfs import read_line, read_number, read_text

BUSY_SHARE = 0.05  # of the cores, by other processes over the whole stretch
BURST_SHARE = 0.25  # of the cores, by other processes in one interval between samples
BURST_INTERVALS = 0.1  # share of such intervals that is too many
STEAL_SHARE = 0.02
_MIN_STEP_S = 0.25  # the kernel counts in steps of 10 ms: shorter stretches are all noise
_MAX_PATHS = 16  # of one kind read at each sample: a server has hundreds of cores


class CpuSource:
    """Reads the processor this process may use."""

    name = "cpu"

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        cores: Collection[int] | None = None,
        pid: int | None = None,
    ) -> None:
        """Find what there is to read.

        Args:
            proc: the kernel's process folder; another one in tests.
            sys: the kernel's device folder.
            cores: which cores count; None: those this process may run on.
            pid: whose tree of processes is not foreign; None: this one's.
        """
        self._proc = proc
        self._cores = usable_cores() if cores is None else frozenset(cores)
        self._pid = os.getpid() if pid is None else pid
        cpus = sys / "devices/system/cpu"
        self._policies = sorted((cpus / "cpufreq").glob("policy*"))[:_MAX_PATHS]
        self._throttle_counts = [
            path
            for core in sorted(self._cores)[:_MAX_PATHS]
            for path in (cpus / f"cpu{core}/thermal_throttle").glob("*_throttle_count")
        ]
        self._cgroup = _own_cgroup(proc, sys) / "cpu.stat"

    def read(self) -> dict[str, float]:
        """CPU seconds, the fastest core's clock and throttling counters."""
        times = read_cpu_times((self._proc / "stat").read_text(encoding="utf-8"), self._cores)
        values = {
            "total_s": times.total,
            "busy_s": times.busy,
            "steal_s": times.steal,
            "own_s": tree_seconds(self._proc, self._pid),
        }
        clocks = [c for p in self._policies if (c := read_number(p / "scaling_cur_freq"))]
        if clocks:
            values["clock_mhz"] = max(clocks) / 1000
        counts = [read_number(path) or 0.0 for path in self._throttle_counts]
        if counts:
            values["throttle_count"] = sum(counts)
        throttled_us = _cgroup_throttled_us(self._cgroup)
        if throttled_us is not None:
            values["cgroup_throttled_s"] = throttled_us / 1e6
        return values

    def describe(self) -> dict[str, Any]:
        """Load, governor and clocks, core cluster by core cluster."""
        facts: dict[str, Any] = {
            "load_average": [round(value, 2) for value in os.getloadavg()],
            "cores_usable": len(self._cores),
            "policies": [_describe_policy(path) for path in self._policies],
        }
        counts = [read_number(path) or 0.0 for path in self._throttle_counts]
        if counts:
            facts["throttle_count"] = int(sum(counts))
        return facts

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Flag foreign load, steal time, throttling, and clocks that moved."""
        flags: list[str] = []
        facts: dict[str, Any] = {}
        for check in (self._judge_load, self._judge_steal, self._judge_throttling, _judge_clock):
            flag, found = check(readings)
            flags += [flag] if flag else []
            facts |= found
        return Finding(tuple(flags), facts)

    def close(self) -> None:
        """Nothing is held."""

    def _judge_load(self, readings: Sequence[Reading]) -> tuple[str | None, dict[str, Any]]:
        mean = _foreign_share(readings)
        if mean is None:
            return None, {}
        steps = itertools.pairwise(_at_least_apart(readings, _MIN_STEP_S))
        shares = [share for pair in steps if (share := _foreign_share(pair)) is not None] or [mean]
        bursts = sum(share > BURST_SHARE for share in shares)
        facts = {"foreign_share": round(mean, 4), "foreign_share_max": round(max(shares), 4)}
        too_short = readings[-1].time_s - readings[0].time_s < _MIN_STEP_S
        if too_short or (mean <= BUSY_SHARE and bursts <= BURST_INTERVALS * len(shares)):
            return None, facts
        return (
            f"busy machine: other processes used {mean:.0%} of the {len(self._cores)} cores, "
            f"up to {max(shares):.0%} at a time",
            facts,
        )

    def _judge_steal(self, readings: Sequence[Reading]) -> tuple[str | None, dict[str, Any]]:
        stolen, total = increase_of(readings, "steal_s"), increase_of(readings, "total_s")
        if stolen is None or not total:
            return None, {}
        share = stolen / total
        facts = {"steal_share": round(share, 4)}
        if share <= STEAL_SHARE:
            return None, facts
        return f"the hypervisor gave {share:.0%} of the processor to other machines", facts

    def _judge_throttling(self, readings: Sequence[Reading]) -> tuple[str | None, dict[str, Any]]:
        events = increase_of(readings, "throttle_count")
        quota = increase_of(readings, "cgroup_throttled_s")
        facts: dict[str, Any] = {}
        flags = []
        if events is not None:
            facts["throttle_events"] = int(events)
            if events > 0:
                flags.append(f"the processor throttled for heat {int(events)} times")
        if quota is not None:
            facts["cgroup_throttled_s"] = round(quota, 3)
            if quota > 0:
                flags.append(f"the container's CPU limit held processes back for {quota:.2f} s")
        return "; ".join(flags) or None, facts


def usable_cores() -> frozenset[int]:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _at_least_apart(readings: Sequence[Reading], seconds: float) -> list[Reading]:
    """Readings without those that follow the one before too soon."""
    kept: list[Reading] = []
    for reading in readings:
        if not kept or reading.time_s - kept[-1].time_s >= seconds:
            kept.append(reading)
    return kept


def _foreign_share(readings: Sequence[Reading]) -> float | None:
    """Share of the cores' time that processes outside our tree used; None: no time passed."""
    busy, own = increase_of(readings, "busy_s"), increase_of(readings, "own_s")
    total = increase_of(readings, "total_s")
    if busy is None or own is None or not total:
        return None
    # The two sides are counted by different clocks, so a quiet machine can come out below zero.
    return max(0.0, busy - own) / total


def _judge_clock(readings: Sequence[Reading]) -> tuple[str | None, dict[str, Any]]:
    return judge_clock("the processor's clock", levels_of(readings, "clock_mhz"))


def _describe_policy(path: Path) -> dict[str, Any]:
    """One group of cores that share a clock."""
    facts: dict[str, Any] = {
        "cores": read_line(path / "affected_cpus"),
        "governor": read_line(path / "scaling_governor"),
        "driver": read_line(path / "scaling_driver"),
    }
    for key, file in (("clock_mhz", "cur"), ("min_mhz", "min"), ("max_mhz", "max")):
        clock = read_number(path / f"scaling_{file}_freq")
        facts[key] = None if clock is None else round(clock / 1000)
    return {key: value for key, value in facts.items() if value is not None}


def _own_cgroup(proc: Path, sys: Path) -> Path:
    """The folder of this process's control group, version 2."""
    for line in (read_text(proc / "self/cgroup") or "").splitlines():
        if line.startswith("0::"):
            return sys / "fs/cgroup" / line[3:].lstrip("/")
    return sys / "fs/cgroup"


def _cgroup_throttled_us(path: Path) -> float | None:
    for line in (read_text(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == "throttled_usec":
            return float(value)
    return None
