"""What tells one file from another: the hash of a small one, the fingerprint of a large one."""

from __future__ import annotations

import hashlib
from pathlib import Path

SMALL_BYTES = 64 * 2**20
"""Files up to this size are copied into the project, larger ones stay where they are."""

_MIB = 2**20
_PREFIX = "fp:"


def sha256_of(path: Path) -> str:
    """SHA-256 of a whole file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """``fp:`` and the size of a file with the SHA-256 of its first and last MiB: read in no time, however large."""
    with path.open("rb") as stream:
        digest = hashlib.sha256(stream.read(_MIB))
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _MIB))
        digest.update(stream.read(_MIB))
    return f"{_PREFIX}{size}:{digest.hexdigest()}"


def identity(path: Path, *, small_bytes: int = SMALL_BYTES) -> str:
    """Hash of a small file, fingerprint of a large one."""
    return sha256_of(path) if path.stat().st_size <= small_bytes else fingerprint(path)


def is_fingerprint(stored: str) -> bool:
    """Whether this is a fingerprint, not the hash of all."""
    return stored.startswith(_PREFIX)


def same_file(path: Path, stored: str) -> bool:
    """Whether a file is what it was when `stored` was taken of it."""
    return (fingerprint(path) if is_fingerprint(stored) else sha256_of(path)) == stored
