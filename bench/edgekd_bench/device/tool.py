"""Running a vendor's tool for its output, where a tool that is not there is no surprise."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

_TIMEOUT_S = 10.0


def output_of(command: Sequence[str]) -> str | None:
    """What a tool prints; None: not installed, failed, or did not answer in time.

    Args:
        command: the tool's name, as found in PATH, and its arguments.
    """
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,  # a tool that asks a question gets none
        )
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError):
        return None
    return done.stdout
