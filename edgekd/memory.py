"""Keep freed memory inside the process while training on a CPU.

glibc returns every large freed block to the kernel and asks for fresh, zeroed pages a moment later.
A training step allocates and frees hundreds of activations of several megabytes, so on a CPU most
of a step can go into page faults: with a small student it was measured at several times the
arithmetic. Telling malloc to keep what it has costs memory at its peak level, nothing else.
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # <malloc.h>


def keep_freed_memory() -> bool:
    """Stop malloc from giving memory back; True where the C library supports it (glibc)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1))
    return all(mallopt(name, value) for name, value in settings)
