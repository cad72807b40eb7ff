"""One training at a time on a machine: two that share its cores slow each other threefold."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import platformdirs
import psutil

from frugalseg.atomic import write_json
from frugalseg.errors import TrainingError

FOLDER_VARIABLE = "FRUGALSEG_RUNTIME_DIR"
"""Environment variable that names another folder for the lock, so that tests do not wait for real trainings."""


def _print_on_stderr(line: str) -> None:
    print(f"frugalseg: {line}", file=sys.stderr)


def lock_folder() -> Path:
    """Folder of the lock: `FOLDER_VARIABLE`'s, else the user's runtime folder, else one in the temporary folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        folder = Path(named)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    try:
        with warnings.catch_warnings():  # where there is no runtime folder, its stand-in is good enough
            warnings.simplefilter("ignore")
            folder = Path(platformdirs.user_runtime_dir("frugalseg", appauthor=False))
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:  # containers and services often have no runtime folder, or one that cannot be written
        pass
    folder = Path(tempfile.gettempdir()) / f"frugalseg-{_user()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def training_lock(
    run_folder: Path, wait: bool = True, announce: Callable[[str], None] = _print_on_stderr
) -> Iterator[None]:
    """Hold this user's training lock while the block runs.

    The operating system frees the lock when its holder ends, however it ends: a killed training leaves none behind.

    Parameters
    ----------
    run_folder
        Where this training writes; told to those who wait.
    wait
        Wait until the lock is free; otherwise give up at once.
    announce
        Called once with a line saying who holds the lock, if there is a need to wait.

    Raises
    ------
    TrainingError
        If another training holds the lock and `wait` is false.
    """
    folder = lock_folder()
    lock, holder = filelock.FileLock(folder / "training.lock"), folder / "training.json"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if not wait:
            raise TrainingError(f"{_holder_in_words(holder)} has this machine; --no-wait was given") from None
        announce(f"waiting for {_holder_in_words(holder)} (--no-wait gives up instead)")
        lock.acquire(poll_interval=0.25)
    try:
        write_json(holder, {"pid": os.getpid(), "run": str(run_folder.absolute())})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder_in_words(holder: Path) -> str:
    """Who holds the lock, as far as its note tells; a note is missing for an instant after the lock was taken."""
    try:
        note = json.loads(holder.read_text(encoding="utf-8"))
        if psutil.pid_exists(note["pid"]):
            return f"another training (process {note['pid']}, {note['run']})"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return "another training"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as containers have
        return str(os.getuid()) if hasattr(os, "getuid") else "user"
