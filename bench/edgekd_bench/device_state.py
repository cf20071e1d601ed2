"""What machine a figure was measured on, and in what mood it was.

A latency without its processor, governor, load and versions cannot be compared with any other. A
fact that this machine does not offer is left out, never guessed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from edgekd_bench.manifest import library_versions

_LIBRARIES = (
    "numpy",
    "pillow",
    "hotcoco",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "torchvision",
    "ultralytics",
)
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_BOARD = Path("/proc/device-tree/model")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)


def describe_environment(threads: int | None = None) -> dict[str, Any]:
    """The machine and the software, as JSON-ready values.

    Args:
        threads: CPU threads the networks were limited to; None: the backend's own choice.
    """
    facts: dict[str, Any] = {
        "os": platform.platform(),
        "board": _first_line(_BOARD),
        "cpu": _cpu_model(),
        "cpu_cores": os.cpu_count(),
        "cpu_cores_usable": _usable_cores(),
        "cpu_governor": _first_line(_GOVERNOR),
        "load_average": _load_average(),
        "memory_gb": _memory_gb(),
        "gpus": _gpus(),
        "python": platform.python_version(),
        "libraries": library_versions(*_LIBRARIES),
        "threads": threads,
        "thread_variables": {
            name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ
        },
    }
    return {key: value for key, value in facts.items() if value is not None}


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip("\x00 \n").splitlines()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        return None


def _cpu_model() -> str | None:
    """The processor's name; ARM kernels give none, and then the architecture must do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine() or None


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _load_average() -> list[float] | None:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return None


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (OSError, ValueError):
        return None


def _gpus() -> list[str]:
    """Names and drivers of NVIDIA GPUs; a Jetson's is named by its board instead."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
