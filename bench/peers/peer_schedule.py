"""In what order the tools run: undisturbed in rounds, then single questions, then disturbed.

All runs are one after the other, each alone on the machine but for the disturbance that is meant.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from disturbances import (
    NotDisturbedError,
    cpu_bursts,
    slow_first_run,
    swapped_before,
    swapped_during,
)
from peer_case import Files
from peer_runs import Disturb, Report, Workbench
from peer_tools import MS, Tool
from peer_verdicts import last_words, observe

from edgekd_bench.bench_progress import BenchProgress
from edgekd_bench.errors import InputError

NEIGHBOUR = "a neighbour burns one core in bursts"
SLOW = "the first run of each session takes 1 s more"
BEFORE = "another detector under the name, before"
DURING = "another detector under the name, half-way"
_HALF_WAY = 0.5

Runs = dict[str, list[Report]]
Disturbed = dict[str, dict[str, Report]]  # by disturbance and tool; what could not be is left out


def run_rounds(bench: Workbench, tools: Sequence[Tool], rounds: int, seed: int) -> Runs:
    """Every tool once a round, undisturbed."""
    runs: Runs = {tool.name: [] for tool in tools}
    orders = np.random.default_rng(seed)
    with _progress(f"{len(tools)} tools, rounds", rounds) as advance:
        for _ in range(rounds):
            for index in orders.permutation(len(tools)):
                tool = tools[index]
                runs[tool.name].append(checked(tool, bench.run(tool)))
            advance()
    return runs


def ask_once(bench: Workbench, probes: Sequence[Tool]) -> Runs:
    """Single questions; a refusal is an answer."""
    runs: Runs = {}
    with _progress("questions", len(probes)) as advance:
        for probe in probes:
            runs[probe.name] = [bench.run(probe)]
            advance()
    return runs


def run_disturbed(
    bench: Workbench, tools: Sequence[Tool], usual: Runs, stranger: Files
) -> Disturbed:
    """Every tool once under every disturbance."""
    found: Disturbed = {}
    names = (NEIGHBOUR, SLOW, BEFORE, DURING)
    with _progress("disturbed runs", len(names) * len(tools)) as advance:
        for name in names:
            found[name] = {}
            for tool in tools:
                usual_s = float(np.median([report.seconds for report in usual[tool.name]]))
                disturb = disturbance(name, stranger, usual_s)
                try:
                    found[name][tool.name] = bench.run(tool, disturb)
                except NotDisturbedError as error:
                    print(f"{tool.name}: {error}", file=sys.stderr)
                advance()
    return found


def disturbance(name: str, stranger: Files, usual_s: float) -> Disturb:
    """What to do to one run that usually takes ``usual_s`` seconds."""
    kinds: dict[str, Disturb] = {
        NEIGHBOUR: lambda _: cpu_bursts(),
        SLOW: lambda _: slow_first_run(),
        BEFORE: partial(swapped_before, stranger=stranger),
        DURING: partial(swapped_during, stranger=stranger, after_s=usual_s * _HALF_WAY),
    }
    return kinds[name]


def judge(tools: Sequence[Tool], usual: Runs, disturbed: Disturbed) -> dict[str, dict[str, Any]]:
    """By disturbance and tool."""
    return {
        name: {
            tool.name: observe(
                tool, usual[tool.name], reports[tool.name], other_file=name in (BEFORE, DURING)
            ).to_json()
            for tool in tools
            if tool.name in reports
        }
        for name, reports in disturbed.items()
    }


def checked(tool: Tool, report: Report, *, needs_number: bool = True) -> Report:
    """An undisturbed run must work, or there is nothing to compare.

    Raises:
        InputError: it failed or gave no number.
    """
    if report.exit_code or (needs_number and MS not in report.figures):
        raise InputError(
            f"{tool.name} gave no number, exit {report.exit_code}: {last_words(report)}"
        )
    return report


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console

    with BenchProgress(Console(stderr=True)) as progress, progress.stage(what, total) as advance:
        yield advance
