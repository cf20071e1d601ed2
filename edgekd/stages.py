"""Remember which stage of a run is done, so that a second start skips it.

A stage is done when its stamp names the same inputs (a hash over options and the hashes of the
files it read) and every file it made is still there unchanged. Anything else runs the stage again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgekd_bench.manifest import sha256_of, write_text_atomically


class Stamps:
    """Stamps of one run folder, kept in ``.stages/``."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._folder = run_dir / ".stages"

    def is_done(self, stage: str, inputs: str) -> bool:
        """True if ``stage`` ran with these inputs and its files are as it left them."""
        try:
            stamp = json.loads((self._folder / f"{stage}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        if stamp.get("inputs") != inputs:
            return False
        files = {self._run_dir / name: digest for name, digest in stamp["outputs"].items()}
        return all(f.is_file() and sha256_of(f) == digest for f, digest in files.items())

    def begin(self, stage: str, inputs: str) -> bool:
        """Note that ``stage`` starts; True if an earlier start had the same inputs."""
        file = self._folder / f"{stage}.started"
        same = file.exists() and file.read_text(encoding="utf-8") == inputs
        write_text_atomically(file, inputs)
        return same

    def mark_done(self, stage: str, inputs: str, outputs: Sequence[Path]) -> None:
        """Record that ``stage`` made ``outputs`` from ``inputs``."""
        hashes = {str(path.relative_to(self._run_dir)): sha256_of(path) for path in outputs}
        text = json.dumps({"inputs": inputs, "outputs": hashes}, indent=2)
        write_text_atomically(self._folder / f"{stage}.json", text + "\n")
