"""The folder on the other machine: what is in it, and what the machine has to offer.

One folder a bundle, by the bundle's name, under ``~/.cache/edgekd/remote`` or where the user wants
it::

    <folder>/<name>.bundle/     the bundle, as copied; files are kept from one run to the next
    <folder>/jobs/<id>/         a run: job.sh, pid, log, out/, status (its exit code, at the end)

A run is one command on one content of the bundle, and so is its id: who repeats the command while
the run goes on, or after the connection broke, meets the same folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgekd_bench.errors import InputError
from edgekd_bench.remote.ssh import SshHost, home_path, last_line, quoted

JobState = Literal["running", "ended", "lost"]
DEFAULT_FOLDER = "~/.cache/edgekd/remote"
DEFAULT_EDGEKD = "edgekd"
_MARK = "edgekd-remote:"
_STATES: dict[str, JobState] = {"running": "running", "ended": "ended", "lost": "lost"}
# A number of a process may be somebody else's by now; the job's script is in its command line.
_STATE = (
    f'id=$(basename "$j"); if [ -f "$j/status" ]; then s=ended; '
    'elif [ -f "$j/pid" ] && grep -q "$id" "/proc/$(cat "$j/pid")/cmdline" 2>/dev/null; '
    f'then s=running; else s=lost; fi; [ -d "$j" ] && echo "{_MARK} job $id $s $j"'
)


@dataclass(frozen=True)
class Workplace:
    """Where things lie on a machine."""

    host: SshHost
    folder: str  # quoted for a script
    bundle: str  # name of the bundle's folder
    edgekd: str  # quoted for a script

    @classmethod
    def on(cls, host: SshHost, folder: str, bundle: str, edgekd: str) -> Workplace:
        """The workplace of a bundle.

        Raises:
            InputError: a folder or program that cannot be one.
        """
        place = f"{folder.rstrip('/')}/{bundle.removesuffix('.bundle')}"
        return cls(host, home_path(place), f"{bundle.removesuffix('.bundle')}.bundle", edgekd)

    def script(self, *lines: str) -> str:
        """A script that starts in the folder. On one line: csh would not take several."""
        return "; ".join([f"cd {self.folder} || exit 1", *lines])


@dataclass(frozen=True)
class FoundJob:
    """A run of this or of another bundle on the same machine."""

    state: JobState
    folder: str  # as seen from the workplace


@dataclass(frozen=True)
class Findings:
    """What was found at a workplace."""

    version: str | None  # of edgekd; None: it is not there
    program: str  # edgekd's path
    free_bytes: int
    hashes: dict[str, str] = field(default_factory=dict)  # by path inside the bundle
    jobs: dict[str, FoundJob] = field(default_factory=dict)  # by id, of all bundles


def look(place: Workplace) -> Findings:
    """Make the folder if need be, and see what is there.

    Raises:
        InputError: not reachable, or no such folder can be made.
    """
    answer = place.host.run("; ".join(_looking(place)))
    if answer.code:
        raise InputError(f"{place.host.name}: {last_line(answer.err)}; see --remote-dir")
    return _read(answer.out, place.host)


def _looking(place: Workplace) -> list[str]:
    """The lines of the script; each answer is marked, for a login shell may print things too."""
    # `pip install --user` puts programs where a shell that is no login shell does not look.
    fallback = ' || e=$(command -v "$HOME/.local/bin/edgekd")'
    return [
        f"mkdir -p {place.folder}/jobs && cd {place.folder} || exit 1",
        f"e=$(command -v {place.edgekd})" + (fallback if place.edgekd == DEFAULT_EDGEKD else ""),
        f'echo "{_MARK} program $e"',
        f'if [ -n "$e" ]; then echo "{_MARK} version $("$e" --version | tail -n 1)"; fi',
        f'echo "{_MARK} free $(df -Pk . | tail -n 1 | tr -s " " | cut -d " " -f 4)"',
        f"for j in ../*/jobs/*/; do {_STATE}; done",
        f"if [ -d {quoted(place.bundle)} ]; then cd {quoted(place.bundle)} && "
        f'find . -type f -exec sha256sum {{}} + | sed "s/^/{_MARK} hash /"; fi',
    ]


def _read(text: str, host: SshHost) -> Findings:
    lines = [line[len(_MARK) + 1 :] for line in text.splitlines() if line.startswith(_MARK)]
    pairs = [(key, value) for key, _, value in (line.partition(" ") for line in lines)]
    values = dict(pairs)
    if not values.get("free", "").isdigit():
        raise InputError(f"{host.name}: its answer cannot be understood; is its shell a POSIX one?")
    hashes = [value.partition("  ./") for key, value in pairs if key == "hash"]
    jobs = [value.split(" ", 2) for key, value in pairs if key == "job"]
    return Findings(
        version=values["version"].removeprefix("edgekd ") if values.get("version") else None,
        program=values.get("program", ""),
        free_bytes=int(values["free"]) * 1024,
        hashes={path: sha256 for sha256, _, path in hashes},
        jobs={job: FoundJob(_STATES[word], folder) for job, word, folder in jobs},
    )
