"""Keep measurements between runs, for the machine and software they were made on and no other.

A latency is worth nothing without its machine: the file's name holds a hash of everything that
changes it (processor, GPU, power mode, versions, threads), and a change of any starts a new file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekd_bench.manifest import write_text_atomically
from edgekd_bench.suggestion.result import Choice, Timing

# Of the environment; load and the like change from minute to minute and are no part of it.
_IDENTITY = (
    "device_name",
    "board",
    "jetson",
    "cpu",
    "cpu_cores_usable",
    "cpu_governor",
    "gpus",
    "os",
    "libraries",
    "threads",
    "thread_variables",
)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    choice: Choice
    timing: Timing


class _CacheFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int = 1
    machine: dict[str, Any]
    entries: list[_Entry]


class TimingCache:
    """The measurements of one machine."""

    def __init__(self, folder: Path, environment: Mapping[str, Any], **details: Any) -> None:
        """
        Args:
            folder: of all machines' files.
            environment: see `describe_environment`.
            details: what else changes a latency: the device, the number of classes.
        """
        self._machine = {key: environment[key] for key in _IDENTITY if key in environment} | details
        text = json.dumps(self._machine, sort_keys=True)
        name = re.sub(r"[^a-z0-9]+", "-", str(environment.get("device_name", "")).lower())
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        self.path = folder / f"{name.strip('-') or 'machine'}-{digest}.json"

    def read(self) -> dict[Choice, Timing]:
        """What is known; a file that cannot be read counts as none, it is only a cache."""
        try:
            found = _CacheFile.model_validate_json(self.path.read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return {}
        if found.machine != json.loads(json.dumps(self._machine)):
            return {}
        return {entry.choice: entry.timing for entry in found.entries}

    def write(self, timings: Mapping[Choice, Timing]) -> None:
        """Keep all of these, atomically."""
        entries = [_Entry(choice=choice, timing=timing) for choice, timing in timings.items()]
        text = _CacheFile(machine=self._machine, entries=entries).model_dump_json(indent=1)
        write_text_atomically(self.path, text + "\n")
