"""Unpack a bundle that was sent as a tar, without trusting it.

A tar can name files outside the folder it is unpacked into, links and devices. A bundle needs none
of these, so anything but plain files and folders below one folder is refused before a byte is
written. Unpacking is staged: there is a whole, verified bundle afterwards, or nothing.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from edgekd_bench.errors import InputError


def unpack(archive: Path, marker: str, *, verify: Callable[[Path], object]) -> Path:
    """Unpack ``x.bundle.tar`` beside itself as ``x.bundle``, once.

    Args:
        archive: an uncompressed tar with one folder in it.
        marker: file in that folder by which an earlier unpacking is recognised.
        verify: called with the staged folder; raises InputError if it is not sound.

    Returns:
        The folder.

    Raises:
        InputError: not a tar, truncated, unsafe, or no place to unpack it.
    """
    folder = archive.with_suffix("")
    try:
        with tarfile.open(archive, "r:") as tar:
            members = tar.getmembers()
            top = _check(members, archive)
            if folder.exists():
                _refuse_other(tar, f"{top}/{marker}", folder / marker, archive)
                return folder
            _extract(tar, members, folder, top, verify)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: not a whole tar ({error}); copy it again") from error
    except OSError as error:
        raise InputError(
            f"{archive}: cannot be unpacked beside itself ({error.strerror or error}); free some "
            f"space or move it to another folder"
        ) from error
    return folder


def _check(members: list[tarfile.TarInfo], archive: Path) -> str:
    """The one folder everything lies in."""
    for member in members:
        parts = PurePosixPath(member.name).parts
        if not (member.isreg() or member.isdir()):
            raise InputError(f"{archive}: '{member.name}' is a link or device; not unpacked")
        if not parts or member.name.startswith("/") or ".." in parts:
            raise InputError(f"{archive}: '{member.name}' would land outside; not unpacked")
    tops = {PurePosixPath(member.name).parts[0] for member in members}
    if len(tops) != 1:
        raise InputError(f"{archive}: not a bundle, it does not hold exactly one folder")
    return tops.pop()


def _refuse_other(tar: tarfile.TarFile, member: str, there: Path, archive: Path) -> None:
    try:
        packed = tar.extractfile(member)
    except KeyError:
        packed = None
    if packed is None:
        raise InputError(f"{archive}: no bundle, it has no {there.name}")
    if not there.is_file() or there.read_bytes() != packed.read():
        raise InputError(
            f"{archive}: {there.parent} is already there and is not this bundle; "
            "move one of the two elsewhere"
        )


def _extract(
    tar: tarfile.TarFile,
    members: list[tarfile.TarInfo],
    folder: Path,
    top: str,
    verify: Callable[[Path], object],
) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        tar.extractall(name, members, filter="data")
        staged = Path(name) / top
        verify(staged)
        staged.rename(folder)
