"""Look into a bundle that is still a tar, without unpacking it.

Every other command unpacks it beside itself; who only looks may have it on a stick that cannot be
written. Its files are held against their hashes as they stream by.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO

from edgekd_bench.bundle import DESCRIPTION_NAME, BundleDescription, read_description
from edgekd_bench.errors import InputError


def read_bundle_archive(archive: Path) -> BundleDescription:
    """The description in a ``.bundle.tar`` all of whose files are what was packed.

    Raises:
        InputError: not a whole tar, no bundle, or a file is missing or changed.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            members = {_inner(member.name): member for member in tar if member.isreg()}
            description = _description(tar, members, archive)
            for file in description.files:
                member = members.get(file.path)
                if member is None:
                    raise InputError(f"{archive}: {file.path} is missing; copy the bundle again")
                if _sha256(tar, member) != file.sha256:
                    raise InputError(
                        f"{archive}: {file.path} is not the file that was packed (SHA-256 "
                        "differs); copy the bundle again"
                    )
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{archive}: not a whole tar ({error}); copy it again") from error
    return description


def _inner(name: str) -> str:
    """A member's path below the one folder everything lies in."""
    return PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix()


def _description(
    tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], archive: Path
) -> BundleDescription:
    member = members.get(DESCRIPTION_NAME)
    if member is None:
        raise InputError(
            f"{archive}: no bundle, or not the whole of one: it has no {DESCRIPTION_NAME}; "
            "copy it again"
        )
    with tempfile.TemporaryDirectory() as folder, _stream(tar, member) as stream:
        (Path(folder) / DESCRIPTION_NAME).write_bytes(stream.read())
        return read_description(Path(folder), archive)


def _sha256(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    digest = hashlib.sha256()
    with _stream(tar, member) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _stream(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    assert stream is not None, "only regular files are looked at"
    return stream
