"""Mean power over a stretch of time from samples of rails, for every source that samples rails."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from edgekd_bench.device.power_rails import total_power
from edgekd_bench.device.source import Finding, Reading, levels_of


def judge_rails(readings: Sequence[Reading], rails: Sequence[str]) -> Finding:
    """Mean milliwatts by rail, and the power of board or module where the rails tell it.

    Args:
        readings: milliwatts by rail.
        rails: which values of the readings are rails.
    """
    means = {rail: fmean(found) for rail in rails if (found := levels_of(readings, rail))}
    if not means:
        return Finding()
    total = total_power(means)
    facts = {
        "rails_mw": {rail: round(value) for rail, value in means.items()},
        "power_of": None if total is None else total.scope,
        "num_samples": max(len(levels_of(readings, rail)) for rail in means),
    }
    return Finding(facts=facts, power_w=None if total is None else total.watts)
