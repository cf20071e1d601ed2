"""When a clock moved so much while timing that the timing shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CLOCK_RANGE = 0.10  # of the highest clock seen


def judge_clock(what: str, mhz: Sequence[float]) -> tuple[str | None, dict[str, Any]]:
    """A flag if a clock moved by more than a tenth, and its range as facts.

    Args:
        what: whose clock, for the flag.
        mhz: the clock at each sample; empty: it cannot be read here.
    """
    if not mhz:
        return None, {}
    low, high = min(mhz), max(mhz)
    facts = {"clock_mhz_min": round(low), "clock_mhz_max": round(high)}
    if high - low <= CLOCK_RANGE * high:
        return None, facts
    return f"{what} moved between {low:.0f} and {high:.0f} MHz while timing", facts
