"""``edgekd bench BUNDLE --ssh HOST``: the same benchmark, on the machine the figures are for.

The run does not hang on the connection. Whoever repeats the command finds the copy where it broke
off, the run where it is, or its result where it lies; only a result that has arrived here is
forgotten over there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgekd_bench.bundle import DESCRIPTION_NAME, Bundle, open_bundle
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import library_versions, sha256_of, write_text_atomically
from edgekd_bench.record import BenchRecord
from edgekd_bench.remote.copying import copy_bundle
from edgekd_bench.remote.job import Outcome, attach, collect, job_id, remove, start
from edgekd_bench.remote.ssh import ConnectionFailedError, SshHost, home_path, quoted
from edgekd_bench.remote.workplace import (
    DEFAULT_EDGEKD,
    DEFAULT_FOLDER,
    Findings,
    Workplace,
    look,
)

_RECONNECT_AFTER_S = (1.0, 2.0, 5.0, 10.0, 20.0)
_LAST_WORDS = ("error: ", "gate failed: ")  # how edgekd ends badly: in the result, not said twice


@dataclass(frozen=True)
class RemoteOptions:
    """Where and how to run over there."""

    host: SshHost
    folder: str = DEFAULT_FOLDER
    edgekd: str = DEFAULT_EDGEKD  # program name or path
    reconnect_after_s: Sequence[float] = _RECONNECT_AFTER_S


@dataclass(frozen=True)
class RemoteResult:
    """What came back."""

    code: int  # exit code of edgekd over there
    failure: str | None  # why it is not 0, in one line
    record: BenchRecord | None  # None: it failed before there was one


def run(
    bundle: Path,
    *,
    options: RemoteOptions,
    arguments: Sequence[str],
    out: Path,
    say: Callable[[str], None],
) -> RemoteResult:
    """Measure a bundle on another machine and bring the record back.

    Args:
        bundle: folder or tar.
        options: the machine.
        arguments: further arguments of ``edgekd bench`` over there, free of local paths.
        out: folder for ``results.json`` and ``predictions.json`` here.
        say: told what happens, a line at a time.

    Raises:
        ConnectionFailedError: not reachable, or lost for good; says whether the run goes on.
        InputError: the bundle is not whole, edgekd is not there, no space, another run is going on.
    """
    opened = open_bundle(bundle)
    place = Workplace.on(
        options.host, options.folder, opened.folder.name, home_path(options.edgekd)
    )
    findings = look(place)
    _require_edgekd(place, findings, options, say)
    content = sha256_of(opened.path(DESCRIPTION_NAME))
    job = job_id([place.bundle, content, findings.program, *arguments])
    _begin(opened, place, findings, job, arguments, say)
    try:
        _follow(place, job, options.reconnect_after_s, say)
        outcome = collect(place, job)
        if outcome is None:
            raise _no_result(place, job)
        record = _write(outcome, out, place.host.name)
        remove(place, job)
    except ConnectionFailedError as error:
        raise ConnectionFailedError(
            f"{error}. The run needs no connection: repeat the command to follow it, or to fetch "
            "its result"
        ) from error
    return RemoteResult(outcome.code, _failure(outcome), record)


def _require_edgekd(
    place: Workplace, findings: Findings, options: RemoteOptions, say: Callable[[str], None]
) -> None:
    host = place.host.name
    if findings.version is None:
        raise InputError(
            f"{host}: no program '{options.edgekd}' there; install it with `pip install edgekd`, "
            "or say where it is: --remote-edgekd '~/venv/bin/edgekd'"
        )
    own = library_versions()["edgekd"]
    if findings.version != own:
        say(f"note: edgekd {findings.version} on {host}, {own} here")


def _begin(
    bundle: Bundle,
    place: Workplace,
    findings: Findings,
    job: str,
    arguments: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Copy and start, unless the run is there already."""
    own = findings.jobs.get(job)
    if own is not None and own.state == "running":
        say(f"the run goes on on {place.host.name}; following it")
        return
    if own is not None and own.state == "ended":
        say(f"the run on {place.host.name} has ended; fetching its result")
        return
    _refuse_second_run(place, findings)
    copy_bundle(bundle, place, findings, say)
    command = ["bench", place.bundle, "--out", f"jobs/{job}/out", *arguments, "--json"]
    start(place, job, findings.program, command)
    say(f"measuring on {place.host.name}")


def _refuse_second_run(place: Workplace, findings: Findings) -> None:
    """Two benchmarks at once would both be wrong.

    Raises:
        InputError: one is measuring there.
    """
    for found in findings.jobs.values():
        if found.state == "running":
            pid = f"{place.folder}/{quoted(found.folder)}pid"
            raise InputError(
                f"{place.host.name}: another run is measuring there, and two at once would both be "
                f"wrong; wait for it, or stop it over there with: kill -- -$(cat {pid})"
            )


def _follow(
    place: Workplace, job: str, delays_s: Sequence[float], say: Callable[[str], None]
) -> None:
    """Show what the run says until it ends, through broken connections.

    Raises:
        ConnectionFailedError: the last attempt failed too.
    """
    known = 0

    def on_line(line: str) -> None:
        nonlocal known
        known += 1
        if not line.startswith(_LAST_WORDS):
            say(line)

    for delay in delays_s:
        error = _try_to_attach(place, job, on_line, known)
        if error is None:
            return
        say(f"{error}. Connecting again in {delay:g} s; the run goes on")
        time.sleep(delay)
    attach(place, job, on_line, skip=known)


def _try_to_attach(
    place: Workplace, job: str, on_line: Callable[[str], None], known: int
) -> ConnectionFailedError | None:
    try:
        attach(place, job, on_line, skip=known)
    except ConnectionFailedError as error:
        return error
    return None


def _no_result(place: Workplace, job: str) -> InputError:
    """Why there is no exit code."""
    host = place.host.name
    found = look(place).jobs.get(job)
    if found is not None and found.state == "running":
        return InputError(f"{host}: the run goes on; repeat the command to follow it")
    remove(place, job)
    return InputError(
        f"{host}: the run ended without a result (killed, out of memory, or power lost?); repeat "
        "the command to start again"
    )


def _failure(outcome: Outcome) -> str | None:
    if outcome.code == 0:
        return None
    if outcome.message.startswith(_LAST_WORDS):
        return outcome.message
    return f"edgekd ended there with exit code {outcome.code}, after: {outcome.message}"


def _write(outcome: Outcome, out: Path, host: str) -> BenchRecord | None:
    """Put the files in place; the record last, for it says that all is there."""
    text = outcome.files.get("results.json")
    if text is None:
        return None
    try:
        record = BenchRecord.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"{host}: its results.json is not in this edgekd's format; install the same version "
            "on both"
        ) from error
    for name in sorted(outcome.files):  # predictions.json before results.json
        write_text_atomically(out / name, outcome.files[name].decode("utf-8"))
    return record
