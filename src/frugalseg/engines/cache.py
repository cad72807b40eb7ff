"""Compiled models on disk, so that a model file is compiled once on a machine."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from pathlib import Path

import platformdirs

from frugalseg.atomic import write_bytes

log = logging.getLogger(__name__)

CACHE_VARIABLE = "FRUGALSEG_CACHE_DIR"
"""Environment variable that moves the cache."""

LARGEST_TOTAL = 1 << 30
"""Bytes that the cache may take; the compiled models used longest ago give way."""

_DIGEST_BYTES = 32
_KEY = re.compile("[0-9a-f]{64}")


def cache_folder() -> Path:
    """Where compiled models lie; safe to delete."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named or platformdirs.user_cache_dir("frugalseg", appauthor=False)) / "compiled"


def cache_key(*parts: object) -> str:
    """A file name that stands for all of `parts`."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def load_compiled(key: str) -> bytes | None:
    """A compiled model, or None where there is none or its bytes are not those that were stored."""
    path = cache_folder() / key
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):  # a cache that another user owns can still be read
        os.utime(path)
    digest, blob = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def store_compiled(key: str, blob: bytes) -> None:
    """Keep a compiled model; a cache that cannot be written is only noted, since nothing needs it."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / key, hashlib.sha256(blob).digest() + blob)
        _prune(folder)
    except OSError as error:
        log.debug("compiled model not kept: %s", error)


def _prune(folder: Path) -> None:
    """Remove what was used longest ago until the rest fits; the newest stays however large it is."""
    own = (path for path in folder.iterdir() if _KEY.fullmatch(path.name) and path.is_file())
    files = sorted(((path.stat(), path) for path in own), key=lambda file: -file[0].st_mtime)
    total = 0
    for index, (facts, path) in enumerate(files):
        total += facts.st_size
        if total > LARGEST_TOTAL and index:
            path.unlink(missing_ok=True)
