"""Temperatures, how near they are to where the kernel slows the machine down, and whether it does.

From the kernel's thermal class (``Documentation/driver-api/thermal/sysfs-api.rst``). A Jetson
signals a slowed engine by a cooling device named ``cpu-throttle-alert``, ``gpu-throttle-alert`` …
whose state is above 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd_bench.device.source import Finding, Reading, levels_of
from edgekd_bench.device.sysfs import read_line, read_number

NEAR_C = 5.0  # closer than this to the limit is near
_LIMIT_TRIPS = ("passive", "hot", "critical")  # "active" trips start fans: no reason to worry
_ALERT = "-throttle-alert"
_MAX_ZONES = 16


@dataclass(frozen=True)
class _Zone:
    path: Path
    name: str
    limit_c: float | None  # where slowing down begins

    def temperature_c(self) -> float | None:
        """Degrees Celsius; None: the part is powered down or has no sensor."""
        raw = read_number(self.path / "temp")
        return None if raw is None or raw <= 0 else raw / 1000


class ThermalSource:
    """Reads all thermal zones."""

    name = "thermal"

    def __init__(self, zones: Sequence[_Zone], alerts: dict[str, Path]) -> None:
        self._zones = zones
        self._alerts = alerts

    @classmethod
    def find(cls, sys: Path = Path("/sys")) -> ThermalSource | None:
        """The machine's zones; None: it shows none, as most virtual machines."""
        folder = sys / "class/thermal"
        zones = [_zone(path) for path in sorted(folder.glob("thermal_zone*"))[:_MAX_ZONES]]
        devices = {path: read_line(path / "type") or "" for path in folder.glob("cooling_device*")}
        alerts = {
            name.removesuffix(_ALERT): path / "cur_state"
            for path, name in devices.items()
            if name.endswith(_ALERT)
        }
        return cls(zones, alerts) if zones else None

    def read(self) -> dict[str, float]:
        """Degrees Celsius by zone, and the state of each alert."""
        values = {}
        for zone in self._zones:
            celsius = zone.temperature_c()
            if celsius is not None:
                values[zone.name] = celsius
        for engine, path in self._alerts.items():
            values[engine + _ALERT] = read_number(path) or 0.0
        return values

    def describe(self) -> dict[str, Any]:
        """Degrees Celsius and limit by zone."""
        return {
            zone.name: {"celsius": round(celsius, 1), "limit": zone.limit_c}
            for zone in self._zones
            if (celsius := zone.temperature_c()) is not None
        }

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Flag engines that were slowed down, and the zone that came nearest to its limit."""
        flags = [
            f"throttled for heat: {engine} was slowed down"
            for engine in sorted(self._alerts)
            if any(state > 0 for state in levels_of(readings, engine + _ALERT))
        ]
        hottest = {
            zone: max(found) for zone in self._zones if (found := levels_of(readings, zone.name))
        }
        near = [
            (celsius - zone.limit_c, zone, celsius)
            for zone, celsius in hottest.items()
            if zone.limit_c is not None and celsius > zone.limit_c - NEAR_C
        ]
        if near:
            _, zone, celsius = max(near, key=lambda entry: entry[0])
            flags.append(
                f"near its heat limit: {zone.name} at {celsius:.0f} of {zone.limit_c:g} °C"
            )
        facts = {zone.name: round(celsius, 1) for zone, celsius in hottest.items()}
        return Finding(tuple(flags), {"celsius_max": facts} if facts else {})

    def close(self) -> None:
        """Nothing is held."""


def _zone(path: Path) -> _Zone:
    limits = [
        celsius / 1000
        for trip in path.glob("trip_point_*_type")
        if read_line(trip) in _LIMIT_TRIPS
        # A trip that is switched off has a temperature far below freezing.
        and (celsius := read_number(trip.with_name(trip.name.replace("_type", "_temp"))) or 0) > 0
    ]
    name = read_line(path / "type") or path.name
    return _Zone(path, name.removesuffix("-thermal"), min(limits, default=None))
