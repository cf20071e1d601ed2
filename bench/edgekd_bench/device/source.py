"""What every source of device state offers, so that the monitor need not know any of them.

A source reads a few numbers quickly and often (``read``), describes itself slowly and seldom
(``describe``), and knows what its own numbers say about a stretch of time (``judge``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Reading:
    """What a source read at one moment; a value the machine does not offer is left out."""

    time_s: float  # time.monotonic()
    values: Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """What a source has to say about a stretch of time."""

    flags: tuple[str, ...] = ()  # one sentence each; nothing wrong: none
    facts: dict[str, Any] = field(default_factory=dict)  # JSON-ready
    power_w: float | None = None  # mean over the stretch


class StateSource(Protocol):
    """One place that facts about the machine are read from."""

    name: str

    def read(self) -> dict[str, float]:
        """Numbers of this moment, in a millisecond or less."""

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts; may take a moment, so never called while something is timed."""

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """What the readings of one stretch of time mean.

        Args:
            readings: oldest first; the first may lie before the stretch, as the zero of counters.
        """

    def close(self) -> None:
        """Release what the source holds."""


def increase_of(readings: Sequence[Reading], name: str) -> float | None:
    """By how much a counter grew over the readings; None: fewer than two readings have it."""
    found = [reading.values[name] for reading in readings if name in reading.values]
    return found[-1] - found[0] if len(found) > 1 else None


def levels_of(readings: Sequence[Reading], name: str) -> list[float]:
    """All levels called ``name`` within the stretch, oldest first.

    The first reading counts only where it is the only one: it may lie before the stretch.
    """
    within = readings[1:] if len(readings) > 1 else readings
    return [reading.values[name] for reading in within if name in reading.values]
