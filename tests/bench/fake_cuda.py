"""A CUDA device in Python: it really moves bytes, later, in the order of the stream, or raises.

What the runner asks of pycuda and of the driver is here with the same names and the same traps:
nothing on a stream happens before somebody waits for it, memory can be used after it was freed,
host memory that is not pinned cannot be copied asynchronously, and a context must be current. Time
on the device is simulated: every copy takes ``COPY_MS`` and every network ``NETWORK_MS``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

COPY_MS = 1.0
NETWORK_MS = 5.0


class Error(Exception):
    """pycuda's base class."""


class OutOfMemoryError(Error):
    """pycuda calls it MemoryError."""


class HostAllocation(bytearray):
    """Pinned host memory."""

    freed = False

    def free(self) -> None:
        assert not self.freed, "freed twice"
        self.freed = True


class FakeCuda:
    """State of the device, and what was asked of it in ``journal``."""

    def __init__(self, memory_limit: int = 1 << 30) -> None:
        self.journal: list[str] = []
        self.memory: dict[int, bytearray] = {}
        self.pinned: list[HostAllocation] = []
        self.streams: dict[int, Stream] = {}
        self.contexts: list[Context] = []
        self.retained = 0
        self.clock_ms = 0.0
        self.initialised = False
        self.memory_limit = memory_limit
        self._next_address = 0x1000

    def driver(self) -> ModuleType:
        """What ``import pycuda.driver`` gives."""
        module = ModuleType("pycuda.driver")
        names: dict[str, Any] = {
            "init": self._init,
            "Device": lambda index: Device(self, index),
            "Stream": lambda: Stream(self),
            "Event": lambda: Event(self),
            "mem_alloc": self._mem_alloc,
            "pagelocked_empty": self._pagelocked_empty,
            "memcpy_htod_async": self._htod,
            "memcpy_dtoh_async": self._dtoh,
            "Error": Error,
        }
        for name, value in names.items():
            setattr(module, name, value)
        return module

    def note(self, what: str) -> None:
        self.journal.append(what)

    def need_context(self) -> None:
        if not self.contexts:
            raise Error("invalid device context")

    def read(self, address: int, size: int) -> bytes:
        if address not in self.memory:
            raise Error("illegal address: memory was freed or never allocated")
        return bytes(self.memory[address][:size])

    def write(self, address: int, data: bytes) -> None:
        if address not in self.memory or len(data) > len(self.memory[address]):
            raise Error("illegal address: memory was freed, never allocated, or is too small")
        self.memory[address][: len(data)] = data

    def _init(self) -> None:
        self.initialised = True

    def _mem_alloc(self, size: int) -> Allocation:
        self.need_context()
        if sum(map(len, self.memory.values())) + size > self.memory_limit:
            raise OutOfMemoryError("cuMemAlloc failed: out of memory")
        self._next_address += 0x100000
        self.memory[self._next_address] = bytearray(size)
        return Allocation(self, self._next_address)

    def _pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.need_context()
        allocation = HostAllocation(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        self.pinned.append(allocation)
        return np.ndarray(shape, dtype, buffer=allocation)

    def _htod(self, target: Allocation, source: np.ndarray, stream: Stream) -> None:
        _check_pinned(source)
        self.note("htod")
        stream.put(lambda: self.write(int(target), source.tobytes()), COPY_MS)

    def _dtoh(self, target: np.ndarray, source: Allocation, stream: Stream) -> None:
        _check_pinned(target)
        self.note("dtoh")

        def copy() -> None:
            data = self.read(int(source), target.nbytes)
            target[...] = np.frombuffer(data, target.dtype).reshape(target.shape)

        stream.put(copy, COPY_MS)


def _check_pinned(array: np.ndarray) -> None:
    if not isinstance(array.base, HostAllocation):
        raise Error("asynchronous copies need page-locked host memory")
    if array.base.freed:
        raise Error("page-locked memory was freed")


class Device:
    def __init__(self, cuda: FakeCuda, index: int) -> None:
        if not cuda.initialised:
            raise Error("not initialised")
        assert index == 0
        self._cuda = cuda

    def name(self) -> str:
        return "Fake Orin"

    def retain_primary_context(self) -> Context:
        self._cuda.retained += 1
        return Context(self._cuda)


class Context:
    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda

    def push(self) -> None:
        self._cuda.contexts.append(self)

    def pop(self) -> None:
        self._cuda.contexts.pop()

    def detach(self) -> None:
        self._cuda.retained -= 1


class Allocation:
    def __init__(self, cuda: FakeCuda, address: int) -> None:
        self._cuda, self._address = cuda, address

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._cuda.need_context()
        del self._cuda.memory[self._address]


class Stream:
    """Keeps what it is given until somebody waits."""

    def __init__(self, cuda: FakeCuda) -> None:
        cuda.need_context()
        self._cuda = cuda
        self.handle = 0x50 + len(cuda.streams)
        self.waiting: list[tuple[Callable[[], None], float]] = []
        self.captured: list[tuple[Callable[[], None], float]] | None = None
        cuda.streams[self.handle] = self

    def put(self, work: Callable[[], None], milliseconds: float) -> None:
        (self.waiting if self.captured is None else self.captured).append((work, milliseconds))

    def synchronize(self) -> None:
        self._cuda.need_context()
        if self.captured is not None:
            raise Error("a stream that is being captured cannot be waited for")
        self._cuda.note("synchronize")
        waiting, self.waiting = self.waiting, []
        for work, milliseconds in waiting:
            self._cuda.clock_ms += milliseconds
            work()


class Event:
    def __init__(self, cuda: FakeCuda) -> None:
        cuda.need_context()
        self._cuda = cuda
        self._time_ms: float | None = None

    def record(self, stream: Stream) -> Event:
        self._cuda.note("record")
        self._time_ms = None

        def stamp() -> None:
            self._time_ms = self._cuda.clock_ms

        stream.put(stamp, 0.0)
        return self

    def time_till(self, other: Event) -> float:
        if self._time_ms is None or other._time_ms is None:
            raise Error("device not ready")
        return other._time_ms - self._time_ms


class FakeGraphDriver:
    """The six functions of ``libcuda`` that graphs need; 0 is success."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self._graphs: dict[int, list[tuple[Callable[[], None], float]]] = {}
        self.alive: set[int] = set()

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:  # noqa: N802
        assert mode == 1, "other threads must be left alone"
        target = self._cuda.streams[stream.value]
        if target.waiting:
            return 900
        target.captured = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        target = self._cuda.streams[stream.value]
        recorded, target.captured = target.captured, None
        if not recorded:
            return 901
        graph._obj.value = self._new(recorded)
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        assert flags.value == 0
        executable._obj.value = self._new(self._graphs[graph.value])
        return 0

    def cuGraphLaunch(self, executable: Any, stream: Any) -> int:  # noqa: N802
        if executable.value not in self.alive:
            return 400
        self._cuda.note("launch")
        for work, milliseconds in self._graphs[executable.value]:
            self._cuda.streams[stream.value].put(work, milliseconds)
        return 0

    def cuGraphExecDestroy(self, executable: Any) -> int:  # noqa: N802
        self.alive.remove(executable.value)
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        self.alive.remove(graph.value)
        return 0

    def _new(self, work: list[tuple[Callable[[], None], float]]) -> int:
        number = 0x9000 + len(self._graphs)
        self._graphs[number] = work
        self.alive.add(number)
        return number
