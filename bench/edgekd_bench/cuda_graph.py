"""Record the kernel launches of one call into a CUDA graph and replay them with a single launch.

A small detector is a few hundred kernels of some microseconds each; launched one by one, the CPU
may take longer to launch them than the GPU to run them. Pycuda has no stream capture, so the driver
is called directly; functions and constants are those of the CUDA Driver API
(https://docs.nvidia.com/cuda/cuda-driver-api/), the graph functions since CUDA 11.4.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

_LIBRARY = "libcuda.so.1"
_SUCCESS = 0
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on using CUDA
_FUNCTIONS = (
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
)


def load_driver() -> Any | None:
    """The driver's library; None: not here, or too old for graphs."""
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    return driver if all(hasattr(driver, name) for name in _FUNCTIONS) else None


class CudaGraph:
    """What one call launches, ready to be launched again."""

    def __init__(self, driver: Any, graph: ctypes.c_void_p, executable: ctypes.c_void_p) -> None:
        self._driver = driver
        self._graph = graph
        self._executable = executable

    def launch(self, stream: int) -> None:
        """Enqueue the recorded work on a stream.

        Raises:
            RuntimeError: the driver refuses.
        """
        code = self._driver.cuGraphLaunch(self._executable, ctypes.c_void_p(stream))
        if code != _SUCCESS:
            raise RuntimeError(f"cuGraphLaunch failed with CUDA error {code}")

    def close(self) -> None:
        """Free the graph; the memory it reads and writes must outlive it until here."""
        self._driver.cuGraphExecDestroy(self._executable)
        self._driver.cuGraphDestroy(self._graph)


def capture(driver: Any, stream: int, enqueue: Callable[[], bool]) -> CudaGraph | None:
    """Record what ``enqueue`` puts on a stream, without running it.

    Args:
        driver: as `load_driver` gives it.
        stream: handle of the stream; not the default one, and with nothing under way.
        enqueue: returns False where it could not enqueue everything.

    Returns:
        The graph; None where the work cannot be captured. The stream can be used in either case.
    """
    handle = ctypes.c_void_p(stream)
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    if driver.cuStreamBeginCapture_v2(handle, _THREAD_LOCAL) != _SUCCESS:
        return None
    complete = False
    try:
        complete = enqueue()
    finally:
        ended = driver.cuStreamEndCapture(handle, ctypes.byref(graph))
    if not complete or ended != _SUCCESS:
        _destroy(driver, graph)
        return None
    flags = ctypes.c_ulonglong(0)
    code = driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, flags)
    if code != _SUCCESS:
        _destroy(driver, graph)
        return None
    return CudaGraph(driver, graph, executable)


def _destroy(driver: Any, graph: ctypes.c_void_p) -> None:
    if graph.value:
        driver.cuGraphDestroy(graph)
