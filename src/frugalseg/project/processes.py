"""Which process a row speaks of: its number and when it began, for numbers are given out again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

CLOCK_S = 2.0
"""Times of day that differ by less are the same: the system derives them from a clock that is set now and then."""

_SINCE_BOOT_S = 1e8
"""Smaller numbers count from the system's start, which no clock moves; larger ones are times of day."""


def this_process() -> tuple[int, float]:
    """Number of this process, and when it began: seconds after the system did, or if that is not known, since 1970."""
    return os.getpid(), _after_boot(os.getpid()) or float(psutil.Process().create_time())


def is_alive(pid: int | None, started: float | None) -> bool:
    """Whether the process that had this number and began then still runs; one that nobody has waited for does not."""
    if pid is None or started is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if started < _SINCE_BOOT_S:
            same = _after_boot(pid) == started
        else:
            same = abs(float(process.create_time()) - started) < CLOCK_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False


def _after_boot(pid: int) -> float | None:
    """Seconds from the system's start to the process'; None where there is no /proc, or no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
