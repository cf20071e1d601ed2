"""Single questions to a tool: the same call with one thing changed, to see what that thing does."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peer_case import PEERS, Case, write_data_yaml
from peer_runs import Report
from peer_tools import (
    LIGHTLY,
    MS,
    Effort,
    Figures,
    Tool,
    benchmark_command,
    benchmark_figures,
    edgekd_command,
    edgekd_figures,
    lightly_command,
    lightly_figures,
    loop_command,
)

from edgekd_bench.device.cpu import usable_cores

_THREADS = 8  # what ProfileModels asks for
_QUIETER = {"LIGHTLY_TRAIN_EVENTS_DISABLED": "1"}


def repeated_probes(effort: Effort, lightly_python: Path | None) -> list[Tool]:
    """Questions about times, asked as often as told, in turns."""
    cores = {"OMP_NUM_THREADS": str(len(usable_cores()))}
    probes = [
        _row("PyTorch row", {}),
        _row("PyTorch row, all cores", cores),
        Tool(
            "edgekd PyTorch",
            "",
            lambda case: edgekd_command(case, case.files.weights, effort.edgekd_seconds),
            edgekd_figures,
        ),
        Tool(
            "loop, 8 threads",
            "",
            lambda case: loop_command(case, effort.loop_calls, "--threads", str(_THREADS)),
            lambda answer, _: {MS: answer["milliseconds"]},
        ),
    ]
    if lightly_python is not None:
        probes.append(_no_workers(lightly_python))
    return probes


def single_probes(
    effort: Effort, data: Path, names: dict[int, str], lightly_python: Path | None
) -> list[Tool]:
    """Questions with one answer: what happens on bad input, and what inputs cost.

    Args:
        effort: how many calls.
        data: the data.yaml that all tools share; two bad ones are written beside it.
        names: its classes.
        lightly_python: an interpreter with lightly-train, or None.
    """
    more = write_data_yaml(data.parent, {**names, len(names): "another"}, "more_classes.yaml")
    missing = write_data_yaml(data.parent, names, "no_images.yaml", "images/elsewhere")
    images = [str(path) for path in sorted((data.parent / "images" / "val").iterdir())][:16]
    probes = [_inputs(effort, images)]
    for question, bad in (("no images", missing), ("other classes", more)):
        probes += [_bad_set_benchmark(question, bad), _bad_set_edgekd(question, bad, effort)]
    if lightly_python is not None:
        probes.append(_as_given(lightly_python))
    return probes


def clipping_probe(edgekd: Sequence[Report], folder: Path) -> Tool:
    """ProfileModels' clipping on times that edgekd measured; the last report that has any."""
    measured = [report.answer["rows"][0] for report in edgekd if report.answer]
    times = folder / "times.json"
    times.write_text(json.dumps(measured[-1]["latency_quantiles_ms"]), encoding="utf-8")
    command = [sys.executable, str(PEERS / "ultralytics_profile.py"), "--clip", str(times)]
    return Tool("clipping", "", lambda _: command, _no_figures)


def _no_figures(_: Any, __: str) -> Figures:
    return {}


def _row(name: str, environment: dict[str, str]) -> Tool:
    return Tool(
        name,
        "",
        lambda case: benchmark_command(case, "-"),
        benchmark_figures,
        environment=environment,
    )


def _no_workers(python: Path) -> Tool:
    def command(case: Case) -> list[str]:
        return lightly_command(python, case, "--workers", "0")

    return Tool(f"{LIGHTLY}, no workers", "", command, lightly_figures, environment=_QUIETER)


def _as_given(python: Path) -> Tool:
    def command(case: Case) -> list[str]:
        script, out = PEERS / "lightly" / "benchmark.py", case.folder / "lightly"
        asked = [script, "--as-given", case.files.onnx, case.data, out]
        return [str(python), *map(str, asked)]

    name = f"{LIGHTLY}, file as given"
    return Tool(name, "", command, lightly_figures, environment=_QUIETER)


def _inputs(effort: Effort, images: Sequence[str]) -> Tool:
    def command(case: Case) -> list[str]:
        return loop_command(case, effort.loop_calls, "--inputs", *images)

    return Tool("inputs", "", command, _no_figures)


def _bad_set_benchmark(question: str, data: Path) -> Tool:
    def command(case: Case) -> list[str]:
        return benchmark_command(case, "-", data)

    return Tool(f"Ultralytics, {question}", "", command, benchmark_figures)


def _bad_set_edgekd(question: str, data: Path, effort: Effort) -> Tool:
    def command(case: Case) -> list[str]:
        return edgekd_command(case, case.files.onnx, effort.edgekd_seconds, data)

    return Tool(f"edgekd, {question}", "", command, edgekd_figures)
