"""What tells one file from another: the hash of a small one, the fingerprint of a large one."""

from __future__ import annotations

import hashlib
from pathlib import Path

SMALL_BYTES = 64 * 2**20
"""Files up to this size are copied into the project, larger ones stay where they are."""

_MIB = 2**20
_PREFIX = "fp:"
_DESCRIPTIONS = frozenset({".zattrs", ".zarray", ".zgroup", ".zmetadata"})
_OF_DESKTOPS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What looking into a folder leaves there."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a whole file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """``fp:`` and the size of a file with the SHA-256 of its first and last MiB: read in no time, however large.

    Of a folder: of the names and sizes of all files below it, and of the content of its descriptions (JSON).
    """
    if path.is_dir():
        return _fingerprint_of_folder(path)
    with path.open("rb") as stream:
        digest = hashlib.sha256(stream.read(_MIB))
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _MIB))
        digest.update(stream.read(_MIB))
    return f"{_PREFIX}{size}:{digest.hexdigest()}"


def _fingerprint_of_folder(folder: Path) -> str:
    digest, total = hashlib.sha256(), 0
    for path in sorted(each for each in folder.rglob("*") if each.name not in _OF_DESKTOPS and each.is_file()):
        size = path.stat().st_size
        total += size
        digest.update(f"{path.relative_to(folder).as_posix()}\n{size}\n".encode())
        if path.suffix == ".json" or path.name in _DESCRIPTIONS:
            digest.update(path.read_bytes()[:_MIB])
    return f"{_PREFIX}{total}:{digest.hexdigest()}"


def identity(path: Path, *, small_bytes: int = SMALL_BYTES) -> str:
    """Hash of a small file, fingerprint of a large one and of a folder."""
    if path.is_dir():
        return fingerprint(path)
    return sha256_of(path) if path.stat().st_size <= small_bytes else fingerprint(path)


def is_fingerprint(stored: str) -> bool:
    """Whether this is a fingerprint, not the hash of all."""
    return stored.startswith(_PREFIX)


def same_file(path: Path, stored: str) -> bool:
    """Whether a file is what it was when `stored` was taken of it."""
    return (fingerprint(path) if is_fingerprint(stored) else sha256_of(path)) == stored
