"""A folder that appears with all its files, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from frugalseg.errors import InputError


def check_new_folder(out: Path) -> None:
    """Refuse a folder that holds something; hidden files count, too."""
    if out.is_dir():
        if any(out.iterdir()):
            raise InputError(out, "is not empty; name a folder that is empty or not there yet")
    elif out.exists() or out.is_symlink():
        raise InputError(out, "is a file, a folder is needed")


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder near `out`; when the block ends well it is moved into place, else removed.

    Raises
    ------
    InputError
        `out` is there and holds something.
    """
    out = Path(out)
    check_new_folder(out)
    place = out.absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    workplace = place.parent / f".{place.name[:40]}-{secrets.token_hex(6)}.partial"
    workplace.mkdir()
    try:
        yield workplace
        if place.is_dir():
            place.rmdir()  # Windows moves no folder onto another one, even an empty one
        os.replace(workplace, place)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
