"""CPU time by owner, from ``/proc``: the machine's, this process's and its children's.

Whoever times a network must know what share of the cores others used meanwhile. The kernel counts
both sides: ``/proc/stat`` for all, ``/proc/PID/stat`` for each process (see proc(5)). All figures
are seconds since boot or since the process began; only differences mean anything.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds summed over cores."""

    busy: float  # in processes, whoever's: user, nice and system
    steal: float  # the hypervisor ran somebody else while a process here wanted the core
    total: float  # including idle


def read_cpu_times(stat: str, cores: Collection[int]) -> CpuTimes:
    """Add up the lines ``cpuN`` of ``/proc/stat`` for the given cores.

    Time in interrupts is in ``total`` alone: the kernel does not say whose they were.
    """
    busy = steal = total = 0
    for line in stat.splitlines():
        name, *rest = line.split()
        if not name.startswith("cpu"):
            break  # the cores come first
        if name == "cpu" or int(name[3:]) not in cores:
            continue
        user, nice, system, *others = (int(field) for field in rest[:8])
        busy += user + nice + system  # guest time is part of user already
        steal += others[4] if len(others) > 4 else 0
        total += user + nice + system + sum(others)
    return CpuTimes(*(ticks / _TICKS_PER_SECOND for ticks in (busy, steal, total)))


def read_process_seconds(stat: str) -> float:
    """CPU seconds of one process and its reaped children, from ``/proc/PID/stat``.

    The name in brackets may hold spaces and brackets itself, so fields count from the last one.
    """
    fields = stat[stat.rindex(")") + 2 :].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_SECOND


def tree_seconds(proc: Path, pid: int) -> float:
    """CPU seconds of a process and everything it started, living or reaped.

    A process that ends while it is looked at counts as reaped: its parent has its time.
    """
    folder = proc / str(pid)
    try:
        seconds = read_process_seconds((folder / "stat").read_text(encoding="utf-8"))
        threads = os.listdir(folder / "task")  # noqa: PTH208 - twice as fast as iterdir
    except OSError:
        return 0.0
    for thread in threads:
        seconds += sum(tree_seconds(proc, child) for child in _children(folder, thread))
    return seconds


def _children(folder: Path, thread: str) -> list[int]:
    try:
        text = (folder / "task" / thread / "children").read_text(encoding="utf-8")
    except OSError:
        return []  # the thread has ended, or the kernel keeps no such list
    return [int(child) for child in text.split()]


def is_in_tree(proc: Path, pid: int, root: int) -> bool | None:
    """Whether a process is ``root`` or was started by it; None: it cannot be seen from here."""
    current = pid
    while current > 1:
        if current == root:
            return True
        try:
            stat = (proc / str(current) / "stat").read_text(encoding="utf-8")
        except OSError:
            return None
        current = int(stat[stat.rindex(")") + 2 :].split()[1])
    return False
