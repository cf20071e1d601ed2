"""A Jetson's power rails from its INA3221 and INA238 sensors, where tegrastats cannot be run.

In a container tegrastats is often missing while ``/sys`` is there. The kernel documents both
drivers (``Documentation/hwmon/ina3221.rst``, ``ina238.rst``): voltage in mV and current in mA by
channel, or power in µW. Numbers of hwmon folders change between boots, so chips are found by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd_bench.device.rail_findings import judge_rails
from edgekd_bench.device.source import Finding, Reading
from edgekd_bench.device.sysfs import read_line, read_number


class InaRailsSource:
    """Reads the power sensors of the board."""

    name = "power_rails"

    def __init__(self, rails: Mapping[str, tuple[Path, str]]) -> None:
        """Take the rails as found.

        Args:
            rails: hwmon folder and channel number by rail.
        """
        self._rails = rails

    @classmethod
    def find(cls, sys: Path = Path("/sys")) -> InaRailsSource | None:
        """All labelled rails; None: no such sensor."""
        rails: dict[str, tuple[Path, str]] = {}
        for folder in sorted((sys / "class/hwmon").glob("hwmon*")):
            if (read_line(folder / "name") or "").startswith("ina"):
                rails |= _rails_of(folder)
        return cls(rails) if rails else None

    def read(self) -> dict[str, float]:
        """Milliwatts by rail."""
        found = {rail: _milliwatts(*where) for rail, where in self._rails.items()}
        return {rail: value for rail, value in found.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Milliwatts by rail."""
        return {rail: round(value) for rail, value in self.read().items()}

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Mean power by rail and of the whole."""
        return judge_rails(readings, list(self._rails))

    def close(self) -> None:
        """Nothing is held."""


def _rails_of(folder: Path) -> dict[str, tuple[Path, str]]:
    """Rails of one chip. Channels without a current are sums and shunt voltages, not rails."""
    labels = {path.name[2:-6]: read_line(path) for path in folder.glob("in*_label")}
    if not labels:  # INA238: one channel, named by the chip's own label
        labels = {"1": read_line(folder / "label")}
    return {
        label: (folder, channel)
        for channel, label in labels.items()
        if label and label != "NC" and _milliwatts(folder, channel) is not None
    }


def _milliwatts(folder: Path, channel: str) -> float | None:
    microwatts = read_number(folder / f"power{channel}_input")
    if microwatts is not None:
        return microwatts / 1000
    millivolts = read_number(folder / f"in{channel}_input")
    milliamperes = read_number(folder / f"curr{channel}_input")
    if millivolts is None or milliamperes is None:
        return None
    return millivolts * milliamperes / 1000
