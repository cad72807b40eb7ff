"""Which process a row speaks of: its number and when it began, for numbers are given out again."""

from __future__ import annotations

import contextlib
import os

import psutil

CLOCK_S = 2.0
"""Beginnings that differ by less are the same: the system derives them from a clock that is set now and then."""


def this_process() -> tuple[int, float]:
    """Number of this process, and when it began in seconds."""
    return os.getpid(), float(psutil.Process().create_time())


def is_alive(pid: int | None, started: float | None) -> bool:
    """Whether the process that had this number and began then still runs; one that nobody has waited for does not."""
    if pid is None or started is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        same = abs(float(process.create_time()) - started) < CLOCK_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False
