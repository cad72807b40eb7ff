"""One writer at a time in a project, where a write spans files and several statements."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

LOCK = "project.lock"


@contextlib.contextmanager
def project_lock(path: Path) -> Iterator[None]:
    """Hold the write lock of the project in this folder while the block runs; waits until it is free.

    Within a thread it may be taken again by whom holds it. The operating system frees it when its holder ends, however
    it ends. Reading needs no lock.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    lock = filelock.FileLock(Path(path).resolve() / LOCK, is_singleton=True)
    with lock:
        yield
