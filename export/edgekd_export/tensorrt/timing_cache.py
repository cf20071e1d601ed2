"""Kernel timings from earlier builds, so that the next one on the same GPU takes seconds.

A cache is bound to GPU, CUDA and TensorRT version. One that does not fit is no error: the build
goes on without it, says so, and the file is replaced by one that fits.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd_bench.errors import InputError
from edgekd_export.tensorrt.api import TensorRTApi
from edgekd_export.tensorrt.build_log import BuildLog


@dataclass(frozen=True)
class TimingCache:
    """A cache in use: attached to a configuration, and the file to save it to."""

    file: Path
    cache: Any  # ``trt.ITimingCache``; it must live until the engine is built


def attach_timing_cache(
    api: TensorRTApi, config: Any, log: BuildLog, file: Path
) -> tuple[TimingCache | None, list[str]]:
    """Read a cache file, or begin a new one, and attach it to a builder configuration.

    Returns:
        The cache, None where the library times nothing; and what the user should know.

    Raises:
        InputError: the file exists and cannot be read.
    """
    if api.builds_without_gpu:  # its calls are no-ops that make it look for a GPU
        return None, [f"{api.title} times no kernels while building, so {file} is not used"]
    saved = _read(file)
    cache, reason = _attach(config, log, saved)
    if cache is not None:
        return TimingCache(file, cache), []
    empty, _ = _attach(config, log, b"")
    note = f"{file} is of another GPU or TensorRT ({reason}); begun anew"
    return (TimingCache(file, empty) if empty is not None else None), [note]


def save_timing_cache(timing: TimingCache) -> list[str]:
    """Write the cache back, whole or not at all.

    Returns:
        A note where it could not be written: the engine is built and worth more than its cache.
    """
    partial = timing.file.with_name(f".{timing.file.name}.{os.getpid()}.partial")
    try:
        timing.file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(memoryview(timing.cache.serialize()))
        partial.replace(timing.file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        return [f"{timing.file}: the timing cache could not be saved ({error.strerror})"]
    return []


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(
            f"{file}: the timing cache cannot be read ({error.strerror}); "
            "give another --timing-cache"
        ) from error


def _attach(config: Any, log: BuildLog, saved: bytes) -> tuple[Any | None, str]:
    """Some releases answer a foreign cache with None, some with False, some only in the log."""
    before = len(log.lines)
    cache = config.create_timing_cache(saved)
    accepted = cache is not None and config.set_timing_cache(cache, False)
    complaints = [line.text for line in log.lines[before:]]
    if accepted and not complaints:
        return cache, ""
    return None, complaints[-1] if complaints else "TensorRT does not accept it"
