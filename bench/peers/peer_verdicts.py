"""Did a tool's own output show that something was wrong? Rules, the same for every tool.

A tool *notices* when it ends with an error, makes a remark that it does not usually make, or names
another file by its hash. It *shows* a disturbance when a figure beside its own number gives it away
to an attentive reader. Otherwise it is *silent*, and then it matters whether its number moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from peer_runs import Report, new_remarks
from peer_tools import MS, Tool

Outcome = Literal["notices", "shows", "silent", "unmoved"]

MOVED = 0.10  # beyond the undisturbed runs, as a share of the number
GAVE_AWAY = 2.0  # a further figure is this many times what it was at most
_SHOWN = 200  # characters of a remark or an error


@dataclass(frozen=True)
class Observation:
    """One tool under one disturbance."""

    outcome: Outcome
    evidence: str  # what it said or showed; empty where it is silent
    usual_ms: tuple[float, float, float]  # its number undisturbed: lowest, median, highest
    disturbed_ms: float | None  # None: it gave none
    change: float | None  # against the median, as a share

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def observe(
    tool: Tool, usual: Sequence[Report], disturbed: Report, *, other_file: bool
) -> Observation:
    """Judge one disturbed run.

    Args:
        tool: whose run it was.
        usual: its undisturbed runs.
        disturbed: the run.
        other_file: the disturbance is another file: then an unmoved number is silence too, for it
            is the number of another file than its reader believes.
    """
    known = [report.figures[MS] for report in usual]
    lowest, median, highest = min(known), float(np.median(known)), max(known)
    number = disturbed.figures.get(MS)
    change = None if number is None else number / median - 1
    said, shown = _said(usual, disturbed), _shown(tool, usual, disturbed)
    outcome: Outcome
    if said or shown:
        outcome = "notices" if said else "shows"
    else:
        moved = number is not None and moved_out(number, lowest, highest)
        outcome = "silent" if moved or other_file else "unmoved"
    evidence = "; ".join([*said, *shown])[:_SHOWN]
    return Observation(outcome, evidence, (lowest, median, highest), number, change)


def moved_out(number: float, lowest: float, highest: float) -> bool:
    """Whether a number lies outside the undisturbed ones by more than `MOVED`."""
    return number > highest * (1 + MOVED) or number < lowest * (1 - MOVED)


def _said(usual: Sequence[Report], disturbed: Report) -> list[str]:
    """An error, remarks that are not usual, another hash."""
    if disturbed.exit_code:
        return [f"exit {disturbed.exit_code}: {last_words(disturbed)}"]
    said = new_remarks(usual, disturbed)
    always = frozenset.intersection(*(report.hashes for report in usual))
    if disturbed.hashes and not always <= disturbed.hashes:
        said.append("names another SHA-256")
    return said


def _shown(tool: Tool, usual: Sequence[Report], disturbed: Report) -> list[str]:
    """Figures beside its number that give it away."""
    found = []
    for name, value in disturbed.figures.items():
        known = [report.figures[name] for report in usual if name in report.figures]
        if name == MS or name in tool.follows or not known:
            continue
        middle = float(np.median(known))
        if name in tool.exact:
            if all(value != each for each in known):
                found.append(f"{name} {middle:.4g} → {value:.4g}")
        elif value > max(known) * GAVE_AWAY:
            found.append(f"{name} {middle:.1f} → {value:.1f}")
    return found


def last_words(report: Report) -> str:
    """The last line that a failed run printed."""
    lines = [line.strip() for line in report.text.splitlines() if line.strip()]
    return lines[-1][:_SHOWN] if lines else "without a word"
