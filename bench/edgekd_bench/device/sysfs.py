"""Reading one value from the kernel's files, where a file that is not there is no surprise."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str | None:
    """A file's text; None: no such file, not readable, or refused by its driver just now.

    Drivers do refuse: a Jetson's gpu-thermal answers EAGAIN while the GPU is powered down.
    Device-tree strings end in a zero byte, which is not part of the text.
    """
    try:
        return path.read_text(encoding="utf-8").strip("\x00 \n")
    except (OSError, UnicodeDecodeError):
        return None


def read_line(path: Path) -> str | None:
    """The first line of a file; None: none."""
    lines = (read_text(path) or "").splitlines()
    return lines[0] if lines else None


def read_number(path: Path) -> float | None:
    """The number a file holds; None: none."""
    line = read_line(path)
    try:
        return None if line is None else float(line)
    except ValueError:
        return None
