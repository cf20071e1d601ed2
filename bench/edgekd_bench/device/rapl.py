"""Power of Intel and AMD processors, from the energy counters the kernel calls RAPL.

``/sys/class/powercap`` shows them (``Documentation/power/powercap/powercap.rst``), since 2020 to
root alone on most systems: fine-grained energy can leak secrets.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd_bench.device.source import Finding, Reading
from edgekd_bench.device.sysfs import read_line, read_number


@dataclass(frozen=True)
class _Package:
    """One socket's counter."""

    path: Path
    name: str
    range_uj: float  # the counter starts again from 0 beyond it


class RaplSource:
    """Reads the energy counters of all sockets."""

    name = "cpu_power"

    def __init__(self, packages: Sequence[_Package]) -> None:
        self._packages = packages

    @classmethod
    def find(cls, sys: Path = Path("/sys")) -> RaplSource | None:
        """The counters that may be read; None: none."""
        packages = []
        for path in sorted((sys / "class/powercap").glob("intel-rapl:*")):
            name = read_line(path / "name") or ""
            counter = read_number(path / "energy_uj")
            if name.startswith("package") and counter is not None:
                limit = read_number(path / "max_energy_range_uj") or float(1 << 32)
                packages.append(_Package(path, name, limit))
        return cls(packages) if packages else None

    def read(self) -> dict[str, float]:
        """Microjoules by socket."""
        counters = {
            package.name: read_number(package.path / "energy_uj") for package in self._packages
        }
        return {name: value for name, value in counters.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Which sockets are counted."""
        return {"sockets": [package.name for package in self._packages]}

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Mean power of all sockets together."""
        if len(readings) < 2:
            return Finding()
        seconds = readings[-1].time_s - readings[0].time_s
        joules = sum(_increase_uj(readings, package) for package in self._packages) / 1e6
        if seconds <= 0:
            return Finding()
        facts = {"power_w": round(joules / seconds, 2), "power_of": "processor packages (RAPL)"}
        return Finding(facts=facts, power_w=joules / seconds)

    def close(self) -> None:
        """Nothing is held."""


def _increase_uj(readings: Sequence[Reading], package: _Package) -> float:
    """Sum of the steps, each modulo the counter's range."""
    values = [r.values[package.name] for r in readings if package.name in r.values]
    steps = [later - earlier for earlier, later in itertools.pairwise(values)]
    return sum(step if step >= 0 else step + package.range_uj for step in steps)
