"""Which NVIDIA GPU this machine has, asked of the driver itself.

An engine fits one compute capability, so both who builds one and who loads one must know it. The
driver library is the one thing that every machine that can run an engine has: a Jetson with the
base install has no torch, and older JetPacks no ``nvidia-smi``. Functions and attribute numbers
are those of the CUDA Driver API (https://docs.nvidia.com/cuda/cuda-driver-api/).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

_LIBRARY = "libcuda.so.1"
_SUCCESS = 0
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NAME_LENGTH = 256


@dataclass(frozen=True)
class CudaGpu:
    """One GPU, as the driver describes it."""

    name: str
    compute_capability: str  # "8.7"
    memory_gb: float  # 10^9 bytes; on a Jetson shared with the CPU


def find_gpu() -> CudaGpu | None:
    """The first GPU that ``CUDA_VISIBLE_DEVICES`` lets this process see; None: no driver or none.

    No context is made, so no memory is taken and nothing else in the process is disturbed.
    """
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    return read_gpu(driver)


def read_gpu(driver: Any) -> CudaGpu | None:
    """Ask a loaded driver library; None: it does not start or sees no GPU."""
    count, device = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuInit(0) != _SUCCESS or driver.cuDeviceGetCount(ctypes.byref(count)) != _SUCCESS:
        return None
    if count.value < 1 or driver.cuDeviceGet(ctypes.byref(device), 0) != _SUCCESS:
        return None
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    memory = ctypes.c_size_t(0)
    driver.cuDeviceGetName(name, _NAME_LENGTH, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    major, minor = (_attribute(driver, number, device) for number in (_MAJOR, _MINOR))
    return CudaGpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major}.{minor}",
        memory_gb=round(memory.value / 1e9, 1),
    )


def _attribute(driver: Any, number: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int(0)
    driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value
