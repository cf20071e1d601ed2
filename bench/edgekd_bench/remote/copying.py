"""Bring a bundle to the other machine, and only what is not there yet.

Files over there are held against their SHA-256, so a copy that broke off goes on where it was, and
a bundle that changed in one model sends that model alone. What arrived in part has the wrong hash
and is sent again. The only tools needed over there are ``sha256sum`` and ``tar``.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from edgekd_bench.bundle import DESCRIPTION_NAME, Bundle
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of
from edgekd_bench.remote.ssh import last_line, quoted
from edgekd_bench.remote.workplace import Findings, Workplace

_RESERVE_BYTES = 64 << 20  # for the record and what the run itself writes


def missing_files(bundle: Bundle, there: Mapping[str, str]) -> list[str]:
    """Files of the bundle that are not there, or not the same; the description comes last.

    Engines that lie in the local folder were built for this machine and are not listed; those
    built over there stay.

    Args:
        bundle: the bundle here.
        there: SHA-256 by path of what lies over there.
    """
    wanted = {file.path: file.sha256 for file in bundle.description.files}
    wanted[DESCRIPTION_NAME] = sha256_of(bundle.path(DESCRIPTION_NAME))
    return [path for path, sha256 in wanted.items() if there.get(path) != sha256]


def copy_bundle(
    bundle: Bundle, place: Workplace, findings: Findings, say: Callable[[str], None]
) -> None:
    """Send what is missing.

    Args:
        bundle: the bundle here.
        place: where it goes.
        findings: of a look at that place.
        say: told how much is sent.

    Raises:
        InputError: no space, no right to write, or the connection broke.
    """
    files = missing_files(bundle, findings.hashes)
    if not files:
        say(f"{place.host.name} has the bundle already")
        return
    size = sum(bundle.path(name).stat().st_size for name in files)
    if size + _RESERVE_BYTES > findings.free_bytes:
        raise InputError(
            f"{place.host.name}: {_mb(findings.free_bytes)} free, {_mb(size + _RESERVE_BYTES)} "
            "needed; free some space, or name another disk with --remote-dir"
        )
    say(f"sending {len(files)} files, {_mb(size)}, to {place.host.name}")
    target = quoted(place.bundle)
    # Not -p, not the owner: the files belong to whoever receives them.
    script = place.script(f"mkdir -p {target}", f"exec tar -xof - -C {target}")
    answer = place.host.feed(script, lambda pipe: _write_tar(pipe, bundle, files))
    if answer.code:
        raise InputError(
            f"{place.host.name}: the bundle could not be written there: "
            f"{last_line(_cause(answer.err))}; see --remote-dir"
        )


def _write_tar(pipe: IO[bytes], bundle: Bundle, files: Sequence[str]) -> None:
    with tarfile.open(fileobj=pipe, mode="w|") as tar:
        for name in files:
            tar.add(bundle.path(name), arcname=name, recursive=False)


def _cause(text: str) -> str:
    """The line that says why; tar ends with one that says only that."""
    lines = [line for line in text.splitlines() if "Exiting with failure" not in line]
    full = [line for line in lines if "No space left" in line or "Permission denied" in line]
    return "\n".join(full or lines)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def extract_files(archive: Path, names: Sequence[str], host: str) -> dict[str, bytes]:
    """The named files of a tar that came from the other machine; what is not in it is left out.

    Raises:
        InputError: not a tar.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                content = tar.extractfile(member) if member.isreg() and name in names else None
                if content is not None:
                    found[name] = content.read()
    except (tarfile.TarError, EOFError) as error:
        raise InputError(
            f"{host}: its answer is not what was asked for ({error}); does a login there print "
            "something?"
        ) from error
    return found
