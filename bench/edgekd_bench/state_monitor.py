"""Watch the machine while it is timed, at a cost too small to be seen in what is timed.

A latency taken while the processor throttled or a neighbour was at work is not the model's. The
monitor reads counters a few times a second in a background thread, and answers afterwards what
happened between two moments. Use it around everything that is measured::

    with StateMonitor(device="cpu") as monitor:
        before = monitor.snapshot()
        start = monitor.mark()
        ...                                   # the timing
        window = monitor.window(start, monitor.mark())
        after = monitor.snapshot()
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from edgekd_bench.device.source import Reading, StateSource

DEFAULT_INTERVAL_S = 0.5


@dataclass(frozen=True)
class StateWindow:
    """What the machine did between two moments."""

    power_w: float | None  # mean; None: no sensor that covers the device the networks ran on
    flags: tuple[str, ...] = ()  # what was wrong, one sentence each
    facts: dict[str, Any] = field(default_factory=dict)  # JSON-ready, by source


class StateMonitor:
    """Samples every source of device state until it is closed."""

    def __init__(
        self,
        device: str = "cpu",
        *,
        interval_s: float = DEFAULT_INTERVAL_S,
        sources: Sequence[StateSource] | None = None,
    ) -> None:
        """Nothing runs before the context is entered.

        Args:
            device: where the networks run, ``cpu`` or ``cuda``; decides whose power is reported.
            interval_s: seconds between samples.
            sources: what to watch; None: whatever this machine offers.
        """
        self._device = device
        self._interval_s = interval_s
        self._given = sources
        self._sources: list[StateSource] = []
        self._readings: dict[str, list[Reading]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._own_cpu_s = 0.0
        self._started_s = 0.0

    def __enter__(self) -> StateMonitor:
        self._sources = list(self._given) if self._given is not None else _find(self._device)
        self._readings = {source.name: [] for source in self._sources}
        self._started_s = self.mark()
        self._thread = threading.Thread(target=self._sample_on, name="state-monitor", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        for source in self._sources:
            source.close()

    def mark(self) -> float:
        """Sample at once; returns the moment (``time.monotonic()``) for use as a window's end."""
        with self._lock:
            for source in self._sources:
                try:
                    values = source.read()
                except (OSError, ValueError):  # a sensor failed; the measurement goes on
                    values = {}
                self._readings[source.name].append(Reading(time.monotonic(), values))
        return time.monotonic()

    def snapshot(self) -> dict[str, Any]:
        """Facts of this moment, JSON-ready, by source; takes longer than a sample."""
        with self._lock:
            facts = {source.name: source.describe() for source in self._sources}
        share = {"interval_s": self._interval_s, "cpu_share": round(self.cpu_share(), 5)}
        return {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts, "monitor": share}

    def window(self, start_monotonic_s: float, end_monotonic_s: float) -> StateWindow:
        """What happened between two moments.

        Args:
            start_monotonic_s: as ``mark`` returned it, or any ``time.monotonic()``.
            end_monotonic_s: the same, later.
        """
        flags: list[str] = []
        facts: dict[str, Any] = {}
        power_w: float | None = None
        for source in self._sources:
            finding = source.judge(self._between(source.name, start_monotonic_s, end_monotonic_s))
            flags += finding.flags
            if finding.facts:
                facts[source.name] = finding.facts
            if power_w is None:
                power_w = finding.power_w
        return StateWindow(power_w, tuple(flags), facts)

    def cpu_share(self) -> float:
        """Share of one core that sampling itself has taken so far."""
        return self._own_cpu_s / max(time.monotonic() - self._started_s, 1e-9)

    def _between(self, name: str, start_s: float, end_s: float) -> list[Reading]:
        """Readings of a window, and the last one before it: counters grow from there."""
        with self._lock:
            readings = list(self._readings[name])
        inside = [r for r in readings if start_s <= r.time_s <= end_s]
        before = [r for r in readings if r.time_s < start_s]
        return before[-1:] + inside

    def _sample_on(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.mark()
            self._own_cpu_s = time.thread_time()


def _find(device: str) -> list[StateSource]:
    from edgekd_bench.device.sources import find_sources

    return find_sources(device)
