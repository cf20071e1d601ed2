"""The tools that are compared: how each is called, and how its answer is read.

All are black boxes: a command, what it printed, and its exit code. What a tool's number is, in
words, is written here from its documentation; whether that is so is measured elsewhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peer_case import PEERS, Case

Figures = dict[str, float]

EDGEKD = "edgekd bench"
BENCHMARK = "Ultralytics benchmark"
PROFILE = "Ultralytics ProfileModels"
LOOP = "plain ORT loop"
LIGHTLY = "LightlyTrain benchmark"

MS = "ms"  # of every tool's own number
FIRST_CALL = "first call, ms"
MAP = "mAP50-95"
FPS = "FPS"
_MAP_COLUMN = "metrics/mAP50-95(B)"


@dataclass(frozen=True)
class Effort:
    """How long tools that can be told measure."""

    edgekd_seconds: float = 1.0
    profile_seconds: float = 2.0
    loop_calls: int = 100


@dataclass(frozen=True)
class Tool:
    """A tool with its command and the meaning of its answer."""

    name: str
    number: str  # what its number is, in words
    command: Callable[[Case], list[str]]
    figures: Callable[[Any, str], Figures]  # from its JSON and all that it printed
    words: Callable[[Any], Sequence[str]] = lambda _: ()  # its remarks inside that JSON
    exact: frozenset[str] = frozenset()  # figures that only another file can change
    follows: frozenset[str] = frozenset()  # figures that say the same as its number
    environment: Mapping[str, str] = field(default_factory=dict)


def all_tools(effort: Effort, lightly_python: Path | None) -> list[Tool]:
    """edgekd first; LightlyTrain only where an interpreter that has it is given."""
    tools = [_edgekd(effort), _benchmark(), _profile(effort), _loop(effort)]
    return tools if lightly_python is None else [*tools, _lightly(lightly_python)]


def edgekd_command(case: Case, model: Path, seconds: float, data: Path | None = None) -> list[str]:
    """``edgekd bench`` on one file and one backend, latency and mAP only."""
    backend = "pytorch" if model.suffix == ".pt" else "onnxruntime"
    options = ["--data", data or case.data, "--out", case.folder / "edgekd", "--backend", backend]
    options += ["--no-throughput", "--energy-seconds", 0, "--min-seconds", seconds, "--json"]
    return [sys.executable, "-m", "edgekd", "bench", str(model), *map(str, options)]


def benchmark_command(case: Case, row: str, data: Path | None = None) -> list[str]:
    """Ultralytics' ``benchmark``, one row: ``onnx`` or ``-`` (PyTorch)."""
    script = str(PEERS / "ultralytics_benchmark.py")
    asked = [case.files.weights, data or case.data, case.image_size, row]
    return [sys.executable, script, *map(str, asked)]


def loop_command(case: Case, calls: int, *options: str) -> list[str]:
    """The tutorial's loop."""
    return [sys.executable, str(PEERS / "ort_loop.py"), str(case.files.onnx), str(calls), *options]


def lightly_command(python: Path, case: Case, *options: str) -> list[str]:
    """LightlyTrain's benchmark on the ONNX file, wrapped."""
    script, out = PEERS / "lightly" / "benchmark.py", case.folder / "lightly"
    asked = [script, case.files.onnx, case.data, case.image_size, out]
    return [str(python), *map(str, asked), *options]


def edgekd_figures(record: Any, _: str = "") -> Figures:
    """Of the one row of a record."""
    (row,) = record["rows"]
    return {
        MS: row["latency_p50_ms"],
        "p90, ms": row["latency_p90_ms"],
        "p99, ms": row["latency_p99_ms"],
        "end to end p50, ms": row["end_to_end_p50_ms"],
        FIRST_CALL: row["first_call_ms"],
        MAP: row["map50_95"],
    }


def benchmark_figures(answer: Any, _: str = "") -> Figures:
    """Of the one row that `benchmark` returned, whose cells are text; a dash is no figure."""
    (row,) = answer["rows"]
    columns = {MS: "Inference time (ms/im)", FPS: "FPS", MAP: _MAP_COLUMN, "MB": "Size (MB)"}
    return {name: float(row[column]) for name, column in columns.items() if row[column] != "-"}


def profile_figures(answer: Any, text: str) -> Figures:
    """What it returned, and the ± of the table that it printed."""
    spread = re.search(r"\| *[\d.]+±([\d.]+) ms *\|", text)
    return {MS: answer["milliseconds"]} | ({"±, ms": float(spread[1])} if spread else {})


def lightly_figures(answer: Any, _: str = "") -> Figures:
    """Its statistics of one image; it names no one of them first, tables show the mean."""
    others = {f"{name}, ms": answer[name] for name in ("median", "min", "max", "std")}
    return {MS: answer["mean"]} | others


def _edgekd(effort: Effort) -> Tool:
    return Tool(
        EDGEKD,
        "p50 of the calls on letterboxed images of the set, after a warm-up that settled",
        lambda case: edgekd_command(case, case.files.onnx, effort.edgekd_seconds),
        edgekd_figures,
        words=lambda record: [flag for row in record["rows"] for flag in row["flags"]],
        exact=frozenset({MAP}),
    )


def _benchmark() -> Tool:
    return Tool(
        BENCHMARK,
        "mean over the val images, no warm-up; network only",
        lambda case: benchmark_command(case, "onnx"),
        benchmark_figures,
        exact=frozenset({MAP, "MB"}),
        follows=frozenset({FPS}),
    )


def _profile(effort: Effort) -> Tool:
    script = str(PEERS / "ultralytics_profile.py")

    def command(case: Case) -> list[str]:
        asked = [case.files.onnx, case.image_size, effort.profile_seconds]
        return [sys.executable, script, *map(str, asked)]

    number = "mean after σ-clipping, random numbers as input, after a warm-up, 8 threads"
    return Tool(PROFILE, number, command, profile_figures)


def _loop(effort: Effort) -> Tool:
    number = f"mean of {effort.loop_calls} calls, random numbers as input, no warm-up"
    return Tool(
        LOOP,
        number,
        lambda case: loop_command(case, effort.loop_calls),
        lambda answer, _: {MS: answer["milliseconds"]},
    )


def _lightly(python: Path) -> Tool:
    return Tool(
        LIGHTLY,
        "mean over the val images, no warm-up unless asked for; network only",
        lambda case: lightly_command(python, case),
        lightly_figures,
        environment={"LIGHTLY_TRAIN_EVENTS_DISABLED": "1"},
    )
