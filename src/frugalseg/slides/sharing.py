"""Memory in which a reader process leaves pixels, sealed so that it cannot be cut short under its reader's hands."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from frugalseg.arrays import Image

_KEPT_BYTES = 16 * 2**20


class SharedPixels:
    """A block of memory that two processes see: anonymous on Linux, a temporary file elsewhere.

    The pages exist only where something was written. On Linux the block's size is sealed: a reader process that has
    been taken over cannot shrink it, by which reading it would become a crash.
    """

    def __init__(self, n_bytes: int) -> None:
        self._file: Path | None = None
        if sys.platform == "linux":
            import fcntl

            handle = os.memfd_create("frugalseg", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(handle, n_bytes)
            fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        else:
            handle, name = tempfile.mkstemp(prefix="frugalseg-")
            self._file = Path(name)
            os.ftruncate(handle, n_bytes)
        self._handle = handle
        self._memory = mmap.mmap(handle, n_bytes)

    @property
    def place(self) -> str:
        """What :func:`attach` needs: the number of an inherited file, or a path."""
        return str(self._handle) if self._file is None else str(self._file)

    @property
    def inherited(self) -> tuple[int, ...]:
        """Files that the other process must inherit."""
        return (self._handle,) if self._file is None else ()

    def take(self, height: int, width: int) -> Image:
        """A copy of the picture (height, width, 3) at the beginning; large ones leave no memory behind."""
        n_bytes = height * width * 3
        view = np.frombuffer(self._memory, dtype=np.uint8, count=n_bytes)
        picture = view.reshape(height, width, 3).copy()
        del view
        if n_bytes > _KEPT_BYTES and hasattr(mmap, "MADV_REMOVE"):
            self._memory.madvise(mmap.MADV_REMOVE)
        return picture

    def close(self) -> None:
        """Give the memory back; the other process should have ended."""
        with contextlib.suppress(BufferError):
            self._memory.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def attach(place: str) -> mmap.mmap:
    """The memory of :attr:`SharedPixels.place`, in the other process."""
    if place.isdigit():
        return mmap.mmap(int(place), 0)
    with open(place, "r+b") as stream:
        return mmap.mmap(stream.fileno(), 0)
