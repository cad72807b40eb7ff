"""How the C library hands out memory: arrays of megabytes come and go by the hundred while a slide is segmented."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # glibc's malloc.h
_LARGE_BYTES = 4 * 2**20


def return_large_blocks() -> None:
    """Let this process give large arrays back to the system as soon as they go; where there is no glibc, nothing.

    By itself glibc raises the size from which it does so with every array that goes, to 32 MiB, and each thread keeps
    what it had: 200 MiB more at the end of a slide than at its beginning.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, 2)
