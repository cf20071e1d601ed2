"""Write an artefact beside its final place and move it there when all is done.

An artefact and its manifest are two files, and a reader must never see a new one with an old
manifest or half of either. So both are written in a hidden folder on the same disk and renamed,
the artefact first: killed in between, the old manifest names another hash than the new bytes have,
and every reader refuses the pair.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest, manifest_path, write_manifest


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """A hidden folder next to ``target``, on the same disk, that is gone afterwards.

    Raises:
        InputError: the folder cannot be made, or the disk is full.
    """
    if target.is_dir():
        raise InputError(f"{target}: cannot be written, it is a folder; give another --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            yield Path(name)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); "
            "give another --out, or free some space"
        ) from error


def publish(staged: Path, final: Path, manifest: Manifest) -> Manifest:
    """Move an artefact and its manifest into place.

    Returns:
        The manifest as written, with the artefact's hash.
    """
    staged_manifest = write_manifest(staged, manifest)
    complete = Manifest.model_validate_json(staged_manifest.read_text(encoding="utf-8"))
    with staged.open("rb") as stream:
        os.fsync(stream.fileno())
    staged.replace(final)
    staged_manifest.replace(manifest_path(final))
    return complete
