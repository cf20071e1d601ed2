"""A run on the other machine that does not need us: it goes on when the connection breaks.

The run is started in a session of its own, writes into files, and leaves its exit code last. Who
asks later, from whatever connection, reads these files.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd_bench.bench_progress import PROGRESS_VARIABLE
from edgekd_bench.errors import InputError
from edgekd_bench.remote.copying import extract_files
from edgekd_bench.remote.ssh import last_line, quoted
from edgekd_bench.remote.workplace import Workplace

_ID_LENGTH = 16
RESULTS = ("results.json", "predictions.json")


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    message: str  # the last thing it said
    files: dict[str, bytes]  # what it wrote, by name


def job_id(parts: Sequence[str]) -> str:
    """The same for the same command on the same bundle."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:_ID_LENGTH]


def start(place: Workplace, job: str, program: str, arguments: Sequence[str]) -> None:
    """Start ``edgekd`` with arguments, detached.

    Args:
        place: where.
        job: the run's id.
        program: edgekd's path over there.
        arguments: of edgekd, relative to the workplace.

    Raises:
        InputError: it cannot be started.
    """
    command = " ".join(quoted(word) for word in (program, *arguments))
    body = (
        f"echo $$ > jobs/{job}/pid\n"
        f"{PROGRESS_VARIABLE}=lines PYTHONUNBUFFERED=1 {command} > /dev/null 2> jobs/{job}/log\n"
        f"echo $? > jobs/{job}/status.partial\n"
        f"mv jobs/{job}/status.partial jobs/{job}/status\n"
    )
    script = place.script(
        f"rm -rf jobs/{job}",
        f"mkdir -p jobs/{job}/out && cat > jobs/{job}/job.sh && : > jobs/{job}/log || exit 1",
        f"setsid sh jobs/{job}/job.sh < /dev/null > /dev/null 2>&1 &"
        f" until [ -s jobs/{job}/pid ]; do sleep 0.1; done",
    )
    answer = place.host.run(script, body.encode())
    if answer.code:
        raise InputError(f"{place.host.name}: the run does not start: {last_line(answer.err)}")


def attach(place: Workplace, job: str, on_line: Callable[[str], None], *, skip: int = 0) -> None:
    """Hand on what a run says until it ends.

    Args:
        place: where.
        job: the run's id.
        on_line: told each line.
        skip: lines from the run's start that are known already.

    Raises:
        ConnectionFailedError: the connection broke; the run goes on.
        InputError: it cannot be followed there.
    """
    log = f"jobs/{job}/log"
    script = place.script(
        f"if [ -f jobs/{job}/status ]; then exec tail -n +{skip + 1} {log}; fi",
        f'exec tail -n +{skip + 1} -s 0.2 -f --pid="$(cat jobs/{job}/pid)" {log}',
    )
    answer = place.host.follow(script, on_line)
    if answer.code:
        raise InputError(f"{place.host.name}: cannot follow the run: {last_line(answer.err)}")


def collect(place: Workplace, job: str) -> Outcome | None:
    """What a run that has ended left behind; None: it was killed and left no exit code.

    Raises:
        InputError: the answer cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="edgekd-remote-") as name:
        archive = Path(name) / "job.tar"
        with archive.open("wb") as stream:
            place.host.fetch(place.script(f"exec tar -cf - -C jobs/{job} ."), stream)
        wanted = ["status", "log", *(f"out/{result}" for result in RESULTS)]
        files = extract_files(archive, wanted, place.host.name)
    if "status" not in files:
        return None
    results = {name.removeprefix("out/"): data for name, data in files.items() if "out/" in name}
    message = last_line(files.get("log", b"").decode("utf-8", "replace"))
    return Outcome(int(files["status"]), message, results)


def remove(place: Workplace, job: str) -> None:
    """Forget a run, so that the same command measures anew."""
    place.host.run(place.script(f"rm -rf jobs/{job}"))
