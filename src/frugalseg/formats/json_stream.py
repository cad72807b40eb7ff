"""JSON read piece by piece: members of the outermost object, items of a list in it, never the whole file.

What is in memory at a time is one item. Within an item everything is plain :mod:`json`, except that NaN and infinity
are refused.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from frugalseg.errors import InputError
from frugalseg.images.guard import system_reason

CHUNK = 2**18
MAX_ITEM = 2**28
"""Longest text of one item, in characters."""

MAX_BYTES = 2**32
"""Longest text of a file, unpacked."""

_BLANKS = " \t\r\n"
_DELIMITERS = f"{_BLANKS},:]}}"
_LONGEST_TAIL = 4096
"""A number at the end of what has been read may go on, but not for longer than this."""


class _NotFiniteError(ValueError):
    """A number that JSON does not have."""


def _constant(text: str) -> NoReturn:
    raise _NotFiniteError(f"{text} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_constant)


class JsonStream:
    """A JSON file under a cursor; made by :func:`open_json`. Every complaint is an `InputError` naming the file."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._read_bytes = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is no blank; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANKS:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(CHUNK):
                return ""

    def take(self, expected: str) -> None:
        """Pass the next character, which must be this one."""
        found = self.peek()
        if found != expected:
            self._fail(f"{expected!r} expected, {found!r} found" if found else "it ends too early")
        self._at += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        wanted = CHUNK
        while True:
            try:
                found, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                self._fail("it is nested too deeply")
            except _NotFiniteError as error:
                self._fail(str(error))
            except ValueError as error:
                if len(self._text) - self._at > MAX_ITEM:
                    self._fail("it has an item of more than 256 MiB, or it is damaged")
                if not self._more(wanted):
                    self._fail(_reason(error))
                wanted *= 2
            else:
                whole = self._text[end : end + 1] in _DELIMITERS or len(self._text) - end > _LONGEST_TAIL
                if (whole and end < len(self._text)) or not self._more(CHUNK):
                    self._at = end
                    return found

    def members(self) -> Iterator[str]:
        """Names of the members of an object; each value has to be taken before the next name."""
        self.take("{")
        if self.peek() == "}":
            return self.take("}")
        while True:
            if self.peek() != '"':
                self._fail("a name expected" if self.peek() else "it ends too early")
            name = self.value()
            self.take(":")
            yield str(name)
            if self.peek() != ",":
                return self.take("}")
            self.take(",")

    def items(self) -> Iterator[Any]:
        """Items of a list, one at a time."""
        self.take("[")
        if self.peek() == "]":
            return self.take("]")
        while True:
            yield self.value()
            if self.peek() != ",":
                return self.take("]")
            self.take(",")

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            self._fail("something follows behind its end")

    def _more(self, count: int) -> bool:
        """Read on; False at the end. What is behind the cursor is forgotten."""
        if self._ended:
            return False
        content = self._stream.read(count)
        self._read_bytes += len(content)
        if self._read_bytes > MAX_BYTES:
            self._fail("it is longer than 4 GiB")
        self._ended = len(content) == 0
        self._text = self._text[self._at :] + self._decode.decode(content, final=self._ended)
        self._at = 0
        return not self._ended

    def _fail(self, reason: str) -> NoReturn:
        raise InputError(self.path, f"is not valid JSON: {reason}")


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg[:1].lower() + error.msg[1:]
    return str(error).partition(";")[0]  # of Python's limit on digits


@contextlib.contextmanager
def open_json(path: Path) -> Iterator[JsonStream]:
    """Open a JSON file, unpacked on the way where its name ends with ``.gz``.

    Raises
    ------
    InputError
        The file cannot be read, is no gzip file, or is not UTF-8; also from within the block.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            yield JsonStream(path, stream)  # type: ignore[arg-type]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(path, f"is a damaged gzip file ({str(error)[:80]})") from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not UTF-8 text") from error
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
