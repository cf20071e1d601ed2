"""The clock of a Jetson's GPU, which NVML does not give there and tegrastats only to root.

The kernel's devfreq class shows it to everybody (``Documentation/ABI/testing/sysfs-class-devfreq``
in the kernel); the device is called ``17000000.gpu`` on an Orin and ``gpu-gpc-0`` on a Thor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd_bench.device.clock_flag import judge_clock
from edgekd_bench.device.source import Finding, Reading, levels_of
from edgekd_bench.device.sysfs import read_line, read_number

_PATTERNS = ("*.gpu", "*.ga10b", "*.gv11b", "gpu-gpc-0")


class GpuDevfreqSource:
    """Reads the GPU's devfreq device."""

    name = "gpu_clock"

    def __init__(self, device: Path) -> None:
        self._device = device

    @classmethod
    def find(cls, sys: Path = Path("/sys")) -> GpuDevfreqSource | None:
        """The GPU's device; None: there is none, as on every machine but a Jetson."""
        folder = sys / "class/devfreq"
        found = [path for pattern in _PATTERNS for path in sorted(folder.glob(pattern))]
        return cls(found[0]) if found else None

    def read(self) -> dict[str, float]:
        """The clock of this moment."""
        clock = read_number(self._device / "cur_freq")
        return {} if clock is None else {"clock_mhz": clock / 1e6}

    def describe(self) -> dict[str, Any]:
        """Limits and governor; equal limits are what ``jetson_clocks`` sets."""
        facts: dict[str, Any] = {"device": self._device.name}
        for key, file in (("clock_mhz", "cur"), ("min_mhz", "min"), ("max_mhz", "max")):
            clock = read_number(self._device / f"{file}_freq")
            facts[key] = None if clock is None else round(clock / 1e6)
        facts["governor"] = read_line(self._device / "governor")
        return {key: value for key, value in facts.items() if value is not None}

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Flag a clock that moved."""
        flag, facts = judge_clock("the GPU's clock", levels_of(readings, "clock_mhz"))
        return Finding(() if flag is None else (flag,), facts)

    def close(self) -> None:
        """Nothing is held."""
