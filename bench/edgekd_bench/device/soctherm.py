"""How often a Jetson's power supply could not follow, which its SoC answers by skipping clocks.

The driver ``soctherm_oc`` counts three events since boot ("OC" in the Platform Power and
Performance chapter of NVIDIA's Jetson Linux Developer Guide). Each slows CPU and GPU for moments
that no clock shows: a latency taken meanwhile is the power supply's, not the model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd_bench.device.source import Finding, Reading, increase_of
from edgekd_bench.device.sysfs import read_line, read_number

_EVENTS = {
    "oc1_event_cnt": "under-voltage",
    "oc2_event_cnt": "average over-current",
    "oc3_event_cnt": "instantaneous over-current",
}


class OverCurrentSource:
    """Reads the event counters."""

    name = "over_current"

    def __init__(self, counters: Mapping[str, Path]) -> None:
        self._counters = counters

    @classmethod
    def find(cls, sys: Path = Path("/sys")) -> OverCurrentSource | None:
        """The counters; None: there are none, as on every machine but a Jetson."""
        for folder in (sys / "class/hwmon").glob("hwmon*"):
            if read_line(folder / "name") == "soctherm_oc":
                return cls({event: folder / file for file, event in _EVENTS.items()})
        return None

    def read(self) -> dict[str, float]:
        """Events since boot."""
        counts = {event: read_number(path) for event, path in self._counters.items()}
        return {event: count for event, count in counts.items() if count is not None}

    def describe(self) -> dict[str, Any]:
        """Events since boot."""
        return {event: int(count) for event, count in self.read().items()}

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Flag events of the stretch."""
        grown = {event: increase_of(readings, event) for event in self._counters}
        facts = {event: int(count) for event, count in grown.items() if count is not None}
        flags = [
            f"throttled by the power supply: {count} × {event}"
            for event, count in facts.items()
            if count > 0
        ]
        return Finding(tuple(flags), facts)

    def close(self) -> None:
        """Nothing is held."""
