"""Run a tool once, in a fresh process on files of its own, and keep all that it said.

A report is what somebody at a terminal would have: figures, remarks and the exit code. Whether a
file is named by its hash is read from the output too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from peer_case import Case, Files
from peer_tools import Figures, Tool

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of

Disturb = Callable[[Case], AbstractContextManager[Mapping[str, str]]]

_PATIENCE_S = 600
# As it is before any library is loaded here: some leave variables behind that change a tool.
_ENVIRONMENT = dict(os.environ)
_HASH = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{40}\b|\b[0-9a-f]{32}\b")
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROGRESS = re.compile(r"it/s|s/it|━|\d+%\|")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Report:
    """What one run of a tool came to."""

    exit_code: int
    seconds: float
    text: str  # all that it printed, both streams
    answer: Any = None  # its JSON; None: it gave none
    figures: Figures = field(default_factory=dict)
    remarks: tuple[str, ...] = ()  # lines of words, numbers replaced by '#'
    hashes: frozenset[str] = frozenset()
    names_file: bool = False  # the SHA-256 of the file is in what it printed
    onnx_replaced: bool = False  # detector.onnx has other bytes than before the run


class Workbench:
    """Makes a fresh folder for each run, and removes it afterwards."""

    def __init__(self, folder: Path, files: Files, data: Path, image_size: int) -> None:
        self._folder, self._files = folder, files
        self._data, self._image_size = data, image_size
        self._count = 0

    def run(self, tool: Tool, disturb: Disturb = lambda _: nullcontext({})) -> Report:
        """Run a tool to its end, whatever that is."""
        self._count += 1
        folder = self._folder / f"run{self._count:03d}"
        case = Case(self._files.copy_into(folder), self._data, self._image_size)
        given = {sha256_of(path) for path in (case.files.weights, case.files.onnx)}
        try:
            with disturb(case) as environment:
                done, seconds = _call(tool, case, environment)
            report = read_report(tool, done, seconds)
            replaced = sha256_of(case.files.onnx) not in given
            named = bool(report.hashes & given)
            return replace(report, names_file=named, onnx_replaced=replaced)
        finally:
            shutil.rmtree(folder)


def read_report(tool: Tool, done: subprocess.CompletedProcess[str], seconds: float) -> Report:
    """Read what a finished tool printed."""
    text = f"{done.stdout}\n{done.stderr}"
    answer = last_json(done.stdout) if done.returncode == 0 else None
    said = [] if answer is None else list(tool.words(answer))
    printed = _without_json(done.stdout) + "\n" + done.stderr
    return Report(
        exit_code=done.returncode,
        seconds=seconds,
        text=text,
        answer=answer,
        figures={} if answer is None else tool.figures(answer, text),
        remarks=tuple(remarks_of(printed) + remarks_of("\n".join(said))),
        hashes=frozenset(_HASH.findall(text)),
    )


def last_json(stdout: str) -> Any:
    """The whole output, or its last line, as JSON; None: it is not JSON."""
    lines = stdout.strip().splitlines()
    whole = _parsed(stdout)
    return whole if whole is not None or not lines else _parsed(lines[-1])


def remarks_of(text: str) -> list[str]:
    """Lines of words, without colours, progress bars and numbers."""
    plain = _CONTROL.sub("", text).replace("\r", "\n")
    lines = [line for line in plain.splitlines() if not _PROGRESS.search(line)]
    bare = [" ".join(_NUMBER.sub("#", line).split()) for line in lines]
    return [line for line in bare if re.search(r"[A-Za-z]{3}", line)]


def new_remarks(usual: Sequence[Report], disturbed: Report) -> list[str]:
    """Remarks of a disturbed run that fewer than half of the undisturbed ones made."""
    counts = Counter(line for report in usual for line in set(report.remarks))
    fresh = [line for line in disturbed.remarks if counts[line] < len(usual) / 2]
    return list(dict.fromkeys(fresh))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _call(
    tool: Tool, case: Case, environment: Mapping[str, str]
) -> tuple[subprocess.CompletedProcess[str], float]:
    own = {
        "YOLO_CONFIG_DIR": str(case.folder / "settings"),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "true",  # its default
        "COLUMNS": "200",  # so that no line is broken where a path happens to end
    }
    started = time.monotonic()
    try:
        done = subprocess.run(
            tool.command(case),
            cwd=case.folder,
            env={**_ENVIRONMENT, **own, **tool.environment, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{tool.name} was not done after {_PATIENCE_S} s; give less") from error
    seconds = time.monotonic() - started
    done.stdout, done.stderr = (_without_folders(text, case) for text in (done.stdout, done.stderr))
    return done, seconds


def _without_folders(text: str, case: Case) -> str:
    """Records travel, and no two runs have the same folder."""
    for folder in (case.folder, case.data.parent):
        text = text.replace(f"{folder}/", "")
    return text


def _without_json(stdout: str) -> str:
    """What was printed before the answer, if there is one."""
    if _parsed(stdout) is not None:
        return ""
    return stdout if last_json(stdout) is None else stdout.strip().rpartition("\n")[0]
