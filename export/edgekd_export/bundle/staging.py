"""Put a bundle in its place whole, or not at all.

A bundle takes minutes to pack and is then carried away; one that was half written when the power
went must not look like one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd_bench.bundle import DESCRIPTION_NAME
from edgekd_bench.errors import InputError


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A hidden folder next to ``target``, on the same disk, that is gone afterwards.

    Raises:
        InputError: ``target`` is something else than a bundle, cannot be made, or the disk is full.
    """
    if target.is_dir() and not (target / DESCRIPTION_NAME).is_file():
        raise InputError(f"{target}: is a folder but no bundle; give another --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            yield Path(name)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); give another --out, or free "
            "some space"
        ) from error


def publish(staged: Path, target: Path, replaced: Path) -> None:
    """Move a finished file or folder to ``target``.

    Args:
        staged: the new one, on the same disk.
        target: where it goes.
        replaced: where an earlier one at ``target`` is moved to, to be deleted with its folder.

    Raises:
        OSError: nothing has changed.
    """
    for path in sorted(staged.rglob("*")) if staged.is_dir() else [staged]:
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    earlier = target.exists()
    if earlier:
        target.rename(replaced)
    try:
        staged.rename(target)
    except OSError:
        if earlier:
            replaced.rename(target)
        raise
