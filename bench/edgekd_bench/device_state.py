"""What machine a figure was measured on: hardware, software, and how both were set.

A latency without its processor, power mode and versions cannot be compared with any other. A fact
that this machine does not offer is left out, never guessed. What changes while one measures is in
``state_monitor``.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from edgekd_bench.device.cpu import usable_cores
from edgekd_bench.device.cpu_model import cpu_model
from edgekd_bench.device.jetson_clocks import describe_jetson_clocks
from edgekd_bench.device.jetson_release import describe_jetson_release
from edgekd_bench.device.nvpmodel import describe_power_mode
from edgekd_bench.device.sysfs import read_line
from edgekd_bench.device.tool import output_of
from edgekd_bench.manifest import library_versions

_LIBRARIES = (
    "numpy",
    "pillow",
    "hotcoco",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "pycuda",
    "tensorrt",
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
    board, cpu, gpus = read_line(_BOARD), cpu_model(), _gpus()
    facts: dict[str, Any] = {
        "device_name": device_name(board, cpu, gpus),
        "os": platform.platform(),
        "board": board,
        "jetson": _jetson(),
        "cpu": cpu,
        "cpu_cores": os.cpu_count(),
        "cpu_cores_usable": len(usable_cores()),
        "cpu_governor": read_line(_GOVERNOR),
        "load_average": _load_average(),
        "memory_gb": _memory_gb(),
        "gpus": gpus,
        "python": platform.python_version(),
        "libraries": library_versions(*_LIBRARIES),
        "threads": threads,
        "thread_variables": {
            name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ
        },
    }
    return {key: value for key, value in facts.items() if value is not None}


def device_name(board: str | None, cpu: str | None, gpus: list[str]) -> str:
    """What to call this machine in a table of several: its board, else its GPU and processor."""
    if board is not None:
        return board
    gpu = gpus[0].split(",")[0] if gpus else None
    return ", ".join(name for name in (gpu, cpu) if name) or "unknown device"


def _jetson() -> dict[str, Any] | None:
    """Jetson Linux, JetPack, power mode and fixed clocks; None: this is no Jetson."""
    release = describe_jetson_release()
    if not release:
        return None
    facts = {"power_mode": describe_power_mode(), "clocks": describe_jetson_clocks()}
    return release | {key: value for key, value in facts.items() if value}


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
    """Names and drivers of NVIDIA GPUs, as the driver's own tool lists them."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    lines = (output_of(query) or "").splitlines()
    return [line.strip() for line in lines if line.strip()]
