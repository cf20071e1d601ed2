"""Read the runs a page is made of, and give each machine a name.

A results file says what it ran on in many fields; tables and panels need one short name, the same
everywhere on the page and different for different runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of
from edgekd_bench.record import BenchRecord, read_record
from edgekd_bench.report_svg import shortened

_SHORT_LENGTH = 20


@dataclass(frozen=True)
class Run:
    """A record, where it came from, and what it is called on the page."""

    name: str
    source: Path  # the results file
    record: BenchRecord
    machine: str
    sha256: str
    shares_machine: bool = False  # with another run of the page

    @property
    def title(self) -> str:
        """The machine, and the run's name where that does not tell runs apart."""
        return f"{self.machine} ({self.name})" if self.shares_machine else self.machine

    @property
    def short_title(self) -> str:
        """The same for a narrow column."""
        machine = self.machine.removeprefix("NVIDIA ").removesuffix(" Developer Kit")
        return shortened(self.name if self.shares_machine else machine, _SHORT_LENGTH)

    @property
    def folder(self) -> Path | None:
        """Where predictions, histories and configuration lie; None: the record stands alone.

        Records that were put together under names of their own share a folder, and what else lies
        there belongs to none of them for certain.
        """
        return self.source.parent if self.source.name == "results.json" else None

    def file(self, name: str) -> Path | None:
        """What the run folder holds under ``name``, or None."""
        path = self.folder / name if self.folder is not None else None
        return path if path is not None and path.exists() else None


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read every run, with names and machines that tell them apart.

    Args:
        paths: run folders, or files in the format of ``results.json``.

    Raises:
        InputError: a run is missing, unreadable, foreign, or given twice.
    """
    runs: list[Run] = []
    for path in paths:
        run = read_run(path)
        if any(other.source.resolve() == run.source.resolve() for other in runs):
            raise InputError(f"{path}: given twice; name each run once")
        runs.append(run)
    return _told_apart(runs)


def read_run(path: Path) -> Run:
    """Read one run from its folder or its results file.

    Raises:
        InputError: missing, empty, not text, or not a record of edgekd.
    """
    source = path / "results.json" if path.is_dir() else path
    if not path.exists():
        raise InputError(f"{path}: no such run folder; give the folder that holds results.json")
    if source.is_file() and not source.read_bytes().strip():
        raise InputError(f"{source}: is empty; run `edgekd bench` again")
    try:
        record = read_record(source)
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 text; run `edgekd bench` again") from error
    name = source.resolve().parent.name if path.is_dir() else source.stem
    return Run(name, source, record, machine_name(record.environment), sha256_of(source))


def machine_name(environment: dict[str, Any]) -> str:
    """The board's name, else processor and GPUs: ``AMD EPYC, 2 cores, NVIDIA H100``."""
    board = environment.get("board")
    if isinstance(board, str) and board.strip():
        return board.strip()
    cores = environment.get("cpu_cores_usable", environment.get("cpu_cores"))
    parts = [
        _name_in(environment.get("cpu")),
        f"{cores} cores" if isinstance(cores, int) else "",
        *dict.fromkeys(map(_name_in, environment.get("gpus") or [])),
    ]
    return ", ".join(part for part in parts if part) or "unknown machine"


def data_hash(data: dict[str, Any]) -> str | None:
    """What identifies the evaluation set of a record; None where the record does not say."""
    found = data.get("hash") or data.get("sha256")
    return str(found) if found else None


def _name_in(value: object) -> str:
    """A device's name, whether the record holds a text or a mapping with a name."""
    if isinstance(value, dict):
        value = value.get("name")
    return value.partition(",")[0].strip() if isinstance(value, str) else ""


def _told_apart(runs: list[Run]) -> list[Run]:
    """Equal run names become paths, and runs on equal machines know of it."""
    names = Counter(run.name for run in runs)
    runs = [replace(run, name=str(run.source)) if names[run.name] > 1 else run for run in runs]
    machines = Counter(run.machine for run in runs)
    return [replace(run, shares_machine=machines[run.machine] > 1) for run in runs]
