"""Whether the machine runs on its battery: a laptop that does is slower, and no clock says why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd_bench.device.source import Finding, Reading
from edgekd_bench.device.sysfs import read_line


class BatterySource:
    """Reads the machine's batteries; those of mice and headphones do not count."""

    name = "battery"

    def __init__(self, batteries: Sequence[Path]) -> None:
        self._batteries = batteries

    @classmethod
    def find(cls, sys: Path = Path("/sys")) -> BatterySource | None:
        """The batteries; None: none."""
        folders = sorted((sys / "class/power_supply").glob("*"))
        batteries = [
            folder
            for folder in folders
            if read_line(folder / "type") == "Battery" and read_line(folder / "scope") != "Device"
        ]
        return cls(batteries) if batteries else None

    def read(self) -> dict[str, float]:
        """1 where a battery is being emptied."""
        states = [read_line(battery / "status") for battery in self._batteries]
        return {"discharging": float("Discharging" in states)}

    def describe(self) -> dict[str, Any]:
        """Each battery's state."""
        return {battery.name: read_line(battery / "status") for battery in self._batteries}

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Flag a battery that was being emptied."""
        if any(reading.values.get("discharging") for reading in readings):
            return Finding(flags=("the machine ran on its battery",))
        return Finding()

    def close(self) -> None:
        """Nothing is held."""
