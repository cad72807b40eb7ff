"""Files that are either wholly there or not there at all."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import platform
import secrets
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

_OURS = ".frugalseg-"
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_TOKEN = secrets.token_hex(4)
_ABANDONED_S = 86_400.0


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path near `path`; when the block ends well, sync the file and move it into place.

    If the block raises, or the process is killed, `path` is what it was before. The temporary file bears the name of
    `path`, since many writers choose the format by it, and lies in a folder of its own beside it, since some writers
    (``safetensors``, for one) make further files. A killed process leaves that folder behind; the first write of a
    later process into the same place removes it.

    Raises
    ------
    OSError
        What the system refused (disk full, permission denied), its ``filename`` being `path`, not the temporary one.
    """
    workplace: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent.resolve())
        workplace = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix()))
        temporary = workplace / path.name
        temporary.touch()
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.filename is not None and _OURS not in os.fsdecode(error.filename):
            raise  # about another file or folder, which it names
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        if workplace is not None:
            shutil.rmtree(workplace, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, atomically and synced."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path`, atomically and synced."""
    write_bytes(path, content.encode())


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented JSON to `path`, atomically and synced; NaN and Inf are refused."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _prefix() -> str:
    """Start of a temporary folder's name: machine, process, token (in containers many processes are number 1)."""
    return f"{_OURS}{_HOST}-{os.getpid()}-{_TOKEN}-"


@functools.lru_cache(maxsize=256)
def _remove_abandoned(folder: Path) -> None:
    """Remove temporary folders of dead writers from `folder`; once a folder and process, for listing takes time.

    One from another machine may belong to a living writer there: it goes only when untouched for a day.
    """
    for leftover in folder.glob(f"{_OURS}*"):
        host, _, rest = leftover.name.removeprefix(_OURS).partition("-")
        pid, _, rest = rest.partition("-")
        token = rest.partition("-")[0]
        with contextlib.suppress(OSError, ValueError, OverflowError):
            if host != _HOST:
                abandoned = time.time() - leftover.stat().st_mtime > _ABANDONED_S
            elif int(pid) == os.getpid():
                abandoned = token != _TOKEN
            else:
                abandoned = not psutil.pid_exists(int(pid))
            if abandoned:
                shutil.rmtree(leftover)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; Windows cannot open folders and needs no such step."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
