"""Arithmetics, and which instructions this machine's processor has for them, as far as the system says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

Precision = Literal["int8", "bf16", "fp32"]
"""What convolutions compute in."""

_FEATURES: dict[str, tuple[str, ...]] = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "avx512_vnni": ("avx512_vnni",),
    "avx_vnni": ("avx_vnni",),
    "avx512_bf16": ("avx512_bf16",),
    "amx_bf16": ("amx_bf16",),
    "amx_int8": ("amx_int8",),
    "neon": ("asimd", "neon"),
    "arm_bf16": ("bf16",),
    "arm_i8mm": ("i8mm",),
}
"""Our name of a feature → its names among the flags of ``/proc/cpuinfo``."""


def usable_threads() -> int:
    """Threads worth using: ``OMP_NUM_THREADS`` where it is set, else the cores that this process may run on."""
    return asked_threads() or usable_cores()


def asked_threads() -> int:
    """``OMP_NUM_THREADS``; 0 where it is not set, or not to a number."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() else 0


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def model_and_features() -> tuple[str | None, list[str] | None]:
    """Name of the processor, and those of its features that decide which arithmetic is fast; None where unknown."""
    model, flags = parse_cpuinfo(_read_cpuinfo())
    return model, None if flags is None else [name for name, names in _FEATURES.items() if flags & set(names)]


def parse_cpuinfo(text: str) -> tuple[str | None, frozenset[str] | None]:
    """Model name and flags of the first processor in the text of ``/proc/cpuinfo``; None for what it does not say."""
    model: str | None = None
    flags: frozenset[str] | None = None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and model is None:
            model = value.strip()
        elif key.strip() in ("flags", "Features") and flags is None:
            flags = frozenset(value.split())
    return model, flags


def _read_cpuinfo() -> str:
    """Linux's description of the processors; empty elsewhere."""
    if sys.platform != "linux":
        return ""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
