"""edgekd's measuring wing: what a detector is worth, in mAP and milliseconds.

It runs on the device itself, so importing it pulls in neither torch nor Ultralytics nor the other
two wings; ``run`` and ``BenchSettings`` are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd_bench.benchmark import run
    from edgekd_bench.settings import BenchSettings

__all__ = ["BenchSettings", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from edgekd_bench.benchmark import run

        return run
    if name == "BenchSettings":
        from edgekd_bench.settings import BenchSettings

        return BenchSettings
    raise AttributeError(f"module 'edgekd_bench' has no attribute '{name}'")
