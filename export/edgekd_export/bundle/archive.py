"""Write a folder as a tar that depends on nothing but its content.

Owner, time and order of files are fixed, so that the same bundle packed twice is the same file and
its hash can be compared. It is not compressed: weights and JPEG images hardly shrink.
"""

from __future__ import annotations

import tarfile
from pathlib import Path


def write_tar(folder: Path, archive: Path, top: str) -> None:
    """Write the files of ``folder`` into ``archive``, in a folder called ``top``.

    Raises:
        OSError: no space, or no permission.
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"{top}/{path.relative_to(folder).as_posix()}")
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as stream:
                tar.addfile(entry, stream)
