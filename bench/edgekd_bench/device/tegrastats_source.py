"""Running tegrastats beside a measurement: rails, temperatures and GPU load of a Jetson.

The tool runs as a child, so its small load counts as ours and not as a neighbour's. It writes a
line every half second into a pipe; each sample takes the newest whole line and drops the rest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from edgekd_bench.device.rail_findings import judge_rails
from edgekd_bench.device.source import Finding, Reading, levels_of
from edgekd_bench.device.tegrastats import TegrastatsLine, parse_tegrastats

_INTERVAL_MS = 500
_STOP_SECONDS = 2.0


class TegrastatsSource:
    """Reads a running tegrastats."""

    name = "tegrastats"

    def __init__(self, command: Sequence[str]) -> None:
        """Start the tool.

        Raises:
            OSError: it cannot be started.
        """
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._pending = b""
        self._newest: TegrastatsLine | None = None

    @classmethod
    def find(cls) -> TegrastatsSource | None:
        """Start the tool where it is installed; None: this is no Jetson."""
        program = shutil.which("tegrastats")
        if program is None:
            return None
        try:
            return cls([program, "--interval", str(_INTERVAL_MS)])
        except OSError:
            return None

    def read(self) -> dict[str, float]:
        """Milliwatts by rail and the GPU's load; empty before the first line and after the end."""
        line = self._newest_line()
        if line is None or self._process.poll() is not None:
            return {}
        values = dict(line.rails_mw)
        if line.gpu_percent is not None:
            values["gpu_percent"] = line.gpu_percent
        return values

    def describe(self) -> dict[str, Any]:
        """All that the newest line says."""
        line = self._newest_line()
        return (
            {} if line is None else {k: v for k, v in asdict(line).items() if v not in (None, {})}
        )

    def judge(self, readings: Sequence[Reading]) -> Finding:
        """Mean power by rail and of the whole, and the GPU's mean load."""
        names = {name for reading in readings for name in reading.values}
        finding = judge_rails(readings, sorted(names - {"gpu_percent"}))
        loads = levels_of(readings, "gpu_percent")
        if not loads:
            return finding
        facts = finding.facts | {"gpu_percent": round(fmean(loads))}
        return Finding(finding.flags, facts, finding.power_w)

    def close(self) -> None:
        """Stop the tool; only the one started here, others' go on."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _newest_line(self) -> TegrastatsLine | None:
        """Empty the pipe; a line that is not complete yet waits for the next sample."""
        while chunk := self._chunk():
            self._pending += chunk
        *lines, self._pending = self._pending.split(b"\n")
        for line in reversed(lines):
            parsed = parse_tegrastats(line.decode("utf-8", "replace"))
            if parsed is not None:
                self._newest = parsed
                break
        return self._newest

    def _chunk(self) -> bytes:
        try:
            return os.read(self._pipe, 1 << 16)
        except BlockingIOError:  # nothing there yet
            return b""
