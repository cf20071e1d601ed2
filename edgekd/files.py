"""Write tensor files so that a kill at any moment leaves the old file or the new one.

Everything edgekd writes with torch consists of tensors, numbers and strings, so that it loads with
``weights_only=True`` and never needs code to be unpickled.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, cast

import torch

from edgekd_bench.errors import InputError


def save_tensors(content: dict[str, Any], path: Path) -> None:
    """Write ``content`` atomically.

    Raises:
        InputError: the folder cannot be written or the disk is full; an earlier file survives.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write of its zip container as RuntimeError.
        raise InputError(
            f"{path}: cannot be written ({error}); free space or choose another "
            "folder with runs_dir=…"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


class NeedsCodeError(InputError):
    """A file that could only be read by running code stored in it."""


def read_without_code(path: Path) -> Any:
    """Content of a torch file of tensors and plain values.

    Raises:
        NeedsCodeError: the file is a pickle of objects.
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NeedsCodeError(f"{path}: {_reason(error)}") from error
    except Exception as error:
        raise InputError(f"{path}: damaged or not a weights file ({_reason(error)})") from error


def load_tensors(path: Path, expected_format: str) -> dict[str, Any]:
    """Read a file written by `save_tensors`.

    Raises:
        InputError: missing, half-written, or of another format.
    """
    content = read_without_code(path)
    if not isinstance(content, dict) or content.get("format") != expected_format:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: expected format '{expected_format}', found {found!r}")
    return cast(dict[str, Any], content)


def _reason(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:120]}"


def require_writable(folder: Path) -> None:
    """Create ``folder`` and prove that a file can be written there, before any compute is spent.

    Raises:
        InputError: it cannot.
    """
    probe = folder / f".write-test-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"edgekd")
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder with runs_dir=…"
        ) from error
    finally:
        if probe.exists():
            probe.unlink()
