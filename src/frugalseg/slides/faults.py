"""What decoders raise on files that are damaged or made to harm, told as one error with file and reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from frugalseg.errors import FrugalsegError, InputError
from frugalseg.images.guard import system_reason
from frugalseg.images.headers import first_line

MAX_REASON = 300
"""Longest text of a decoder that is passed on."""


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an :class:`InputError` about `path`.

    Raises
    ------
    InputError
        The block failed. Errors of our own pass unchanged.
    """
    try:
        yield
    except FrugalsegError:
        raise
    except MemoryError as error:
        raise InputError(path, "needs more memory to decode than a reader may have") from error
    except OSError as error:
        if error.errno is not None:
            raise InputError(path, system_reason(error)) from error
        raise InputError(path, f"is damaged: {_short(error)}") from error
    except Exception as error:  # decoders have exceptions of their own, which are not worth naming one by one
        raise InputError(path, f"is damaged: {_short(error)}") from error


def _short(error: Exception) -> str:
    return first_line(error)[:MAX_REASON]
