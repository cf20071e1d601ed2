"""Whether a Jetson's clocks are fixed, as ``jetson_clocks --show`` reports it.

The tool wants root. Without it the same question is answered by the limits in ``cpufreq`` and
``devfreq``, which everybody may read (``cpu.py``, ``devfreq.py``), for the CPU and the GPU alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from edgekd_bench.device.tool import output_of

_CLOCK = re.compile(
    r"^\s*([\w-]+?):?\s+(?:Online=(\d)\s+)?(?:Governor=\S+\s+)?"
    r"MinFreq=(\d+)\s+MaxFreq=(\d+)\s+CurrentFreq=(\d+)(?:\s+FreqOverride=(\d))?",
    re.MULTILINE,
)
_MACHINE = re.compile(r"SOC family:(\S+)\s+Machine:(.+)")


@dataclass(frozen=True)
class Clock:
    """One clock's limits; the tool prints kHz for CPUs and Hz for all else."""

    name: str
    min_mhz: float
    max_mhz: float
    now_mhz: float
    online: bool = True
    override: bool = False  # EMC: fixed by another switch than its limits

    @property
    def fixed(self) -> bool:
        """True: it cannot move."""
        return self.override or self.min_mhz == self.max_mhz


def parse_jetson_clocks(text: str) -> list[Clock]:
    """Every clock of ``jetson_clocks --show``; empty: not its output."""
    return [_clock(*found) for found in _CLOCK.findall(text)]


def describe_jetson_clocks() -> dict[str, Any]:
    """Which clocks are fixed; empty where the tool may not be run."""
    # Not through sudo: for a user who may not, that is reported to the administrator.
    text = output_of(["jetson_clocks", "--show"]) if os.geteuid() == 0 else None
    return summarise(text or "")


def summarise(text: str) -> dict[str, Any]:
    """JSON-ready facts of the tool's output; the GPU's clock and the CPUs' decide ``fixed``."""
    clocks = [clock for clock in parse_jetson_clocks(text) if clock.online]
    if not clocks:
        return {}
    cpus = [clock for clock in clocks if clock.name.startswith("cpu")]
    others = [clock for clock in clocks if not clock.name.startswith("cpu")]
    computing = cpus + [clock for clock in others if clock.name.lower().startswith("gpu")]
    machine = _MACHINE.search(text)
    facts: dict[str, Any] = {"soc": machine[1]} if machine else {}
    facts["fixed"] = all(clock.fixed for clock in computing)
    if cpus:
        facts["cpu"] = _range(min(c.min_mhz for c in cpus), max(c.max_mhz for c in cpus))
    return facts | {clock.name: _limits(clock) for clock in others}


def _clock(name: str, online: str, low: str, high: str, now: str, override: str) -> Clock:
    unit = 1e3 if name.startswith("cpu") else 1e6
    return Clock(
        name=name,
        min_mhz=int(low) / unit,
        max_mhz=int(high) / unit,
        now_mhz=int(now) / unit,
        online=online != "0",
        override=override == "1",
    )


def _range(low: float, high: float) -> dict[str, Any]:
    return {"min_mhz": round(low), "max_mhz": round(high)}


def _limits(clock: Clock) -> dict[str, Any]:
    return {
        **_range(clock.min_mhz, clock.max_mhz),
        "now_mhz": round(clock.now_mhz),
        "fixed": clock.fixed,
    }
