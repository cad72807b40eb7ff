"""Slides decoded by a process of their own, so that a file that crashes a decoder costs that file and nothing else.

The process starts from nothing (a fork would hold this one's memory and locks), may have a limited amount of memory,
and has a limited time for every answer. It talks through pipes in JSON: nothing it sends is executed here.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from frugalseg.arrays import Image
from frugalseg.errors import ConfigError, InputError, Problem
from frugalseg.slides.base import Level, Slide
from frugalseg.slides.bounds import MAX_REGION_PIXELS, check_region, checked_levels, overlap
from frugalseg.slides.sharing import SharedPixels

MEMORY_BYTES = 2**30
"""What a reader process may use beyond what it has when it is ready."""

TIME_LIMIT_S = 120.0
"""For opening a slide, and for each region."""

_START_S = 120.0
_CLOSING_S = 2.0
_MAX_ANSWER = 2**20


class _DiedError(Exception):
    """The process ended before it answered; its text says how."""


class _StuckError(Exception):
    """No answer in time."""


class _Worker:
    """One process, its pipes, and a thread that waits for its answers (pipes have no time-outs on Windows)."""

    def __init__(self, pixels: SharedPixels, memory_bytes: int) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "ZARR_ASYNC__CONCURRENCY": "2",
            "ZARR_THREADING__MAX_WORKERS": "1",
            "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "frugalseg.slides.reading", pixels.place, str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=pixels.inherited,
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._is_ready = False

    def ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer to a request."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request | {"limit_s": limit_s}).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise _DiedError(self._how_it_died()) from None
        try:
            line = self._answers.get(timeout=limit_s if self._is_ready else limit_s + _START_S)
        except queue.Empty:
            raise _StuckError from None
        self._is_ready = True
        try:
            answer = json.loads(line)
        except ValueError:
            raise _DiedError(self._how_it_died()) from None
        if not isinstance(answer, dict):
            raise _DiedError("it answers nonsense")
        return answer

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def end(self) -> None:
        """End the process in good order, or else kill it."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_CLOSING_S)
        self.kill()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream, contextlib.suppress(OSError, ValueError):
            while line := stream.readline(_MAX_ANSWER):
                self._answers.put(line)
        self._answers.put(b"")  # the end

    def _how_it_died(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_CLOSING_S)
        code = self.process.returncode
        if code is None:
            return "it runs, but answers no more"
        if code >= 0:
            return f"exit code {code}"
        return f"signal {-code}, {signal.strsignal(-code)}{', as when memory runs out' if code == -9 else ''}"


class ReaderProcess:
    """A process that decodes any number of slides, one request at a time; threads wait for each other.

    Parameters
    ----------
    memory_bytes
        What it may use beyond what it has when it is ready. Kept to on Linux; on Windows and macOS there is no such
        limit for a process, and only what headers promise is judged.
    time_limit_s
        For opening a slide and for each region.

    Notes
    -----
    The process starts with the first request. One that dies is replaced, and asked again once; one that is stuck is
    ended, and its request fails. Slides that it had open are opened again when they are next read.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._memory_bytes = memory_bytes
        self._time_limit_s = time_limit_s
        self._lock = threading.RLock()
        self._worker: _Worker | None = None
        self._pixels: SharedPixels | None = None
        self._known: set[int] = set()
        self._numbers = itertools.count()
        self._closed = False

    def open(self, path: Path, *, owned: bool = False) -> ProcessSlide:
        """A slide that this process decodes; an `owned` one ends the process when it is closed.

        Raises
        ------
        InputError
            It cannot be opened; or opening it crashed the process twice, or took too long.
        """
        slide = ProcessSlide(self, Path(path), next(self._numbers), owned=owned)
        try:
            with self._lock:
                slide.settle(self._ask(slide, {"do": "open"}))
        except BaseException:
            if owned:
                self.close()
            raise
        return slide

    @property
    def pid(self) -> int | None:
        """Number of the process, None while there is none."""
        worker = self._worker
        return None if worker is None else worker.process.pid

    def read(self, slide: ProcessSlide, level: int, box: tuple[int, int, int, int]) -> Image:
        """Pixels of a rectangle (x, y, width, height) of a slide's level."""
        with self._lock:
            self._ask(slide, {"do": "read", "level": level, "box": box})
            assert self._pixels is not None
            return self._pixels.take(box[3], box[2])

    def forget(self, slide: ProcessSlide) -> None:
        """Close a slide in the process, where it is open."""
        with self._lock:
            if self._worker is not None and slide.number in self._known:
                self._known.discard(slide.number)
                with contextlib.suppress(InputError):
                    self._ask(slide, {"do": "close"})

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            if self._worker is not None:
                self._worker.end()
                self._worker = None
            if self._pixels is not None:
                self._pixels.close()
                self._pixels = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _ask(self, slide: ProcessSlide, request: dict[str, Any]) -> dict[str, Any]:
        """The answer, where need be from a second process."""
        if self._closed:
            raise ValueError("the reader process is closed")
        how = ""
        for _ in range(2):
            try:
                if request["do"] == "read" and slide.number not in self._known:
                    slide.settle(self._answer(slide, {"do": "open"}))
                return self._answer(slide, request)
            except _DiedError as error:
                how = str(error)
                self._drop()
            except _StuckError:
                self._drop()
                raise InputError(slide.path, f"was not decoded within {self._time_limit_s:g} s") from None
        raise InputError(slide.path, f"cannot be decoded: its reader process died twice ({how})")

    def _answer(self, slide: ProcessSlide, request: dict[str, Any]) -> dict[str, Any]:
        if self._pixels is None:
            self._pixels = SharedPixels(MAX_REGION_PIXELS * 3)
        if self._worker is None:
            self._worker = _Worker(self._pixels, self._memory_bytes)
        message = request | {"slide": slide.number, "path": str(slide.path.absolute())}
        try:
            answer = self._worker.ask(message, self._time_limit_s)
        except (_DiedError, _StuckError):
            raise
        except (
            BaseException
        ):  # Ctrl-C, say: the answer that is still to come would be taken for that of the next request
            self._drop()
            raise
        if answer.get("exhausted"):
            self._drop()
        if "problems" in answer:
            raise _error(slide.path, answer)
        if request["do"] == "open":
            self._known.add(slide.number)
        return answer

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        self._worker = None
        self._known.clear()


class ProcessSlide(Slide):
    """A slide that a reader process decodes; made by :meth:`ReaderProcess.open`."""

    def __init__(self, reader: ReaderProcess, path: Path, number: int, *, owned: bool) -> None:
        self.number = number
        self.reader = reader
        self._path = path
        self._owned = owned
        self._about: tuple[tuple[Level, ...], float | None] | None = None

    def settle(self, answer: dict[str, Any]) -> None:
        """Keep what the process says of the slide, which must be what it said before.

        Raises
        ------
        InputError
            It says something else: the file was changed.
        """
        try:
            sizes = [(int(width), int(height)) for width, height, _ in answer["levels"]]
            size = answer["pixel_size_um"]
            about = (checked_levels(self._path, sizes), None if size is None else float(size))
        except (LookupError, TypeError, ValueError):
            raise InputError(self._path, "cannot be decoded: its reader process answers nonsense") from None
        if self._about is not None and about != self._about:
            raise InputError(self._path, "was changed while it was read")
        self._about = about

    @property
    def path(self) -> Path:
        """The file or folder."""
        return self._path

    @property
    def levels(self) -> tuple[Level, ...]:
        """Finest first."""
        assert self._about is not None
        return self._about[0]

    @property
    def pixel_size_um(self) -> float | None:
        """As the file says, where that can be."""
        assert self._about is not None
        return self._about[1]

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Image:
        """Pixels of a rectangle; see :meth:`Slide.read_region`. Errors say, too, what became of the process."""
        check_region(self, level, width, height)
        if overlap(self.levels[level], x, y, width, height) is None:
            return np.full((height, width, 3), 255, dtype=np.uint8)
        return self.reader.read(self, level, (x, y, width, height))

    def close(self) -> None:
        """Close the file, and the process if it is the slide's own."""
        if self._owned:
            self.reader.close()
        else:
            self.reader.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def _error(path: Path, answer: dict[str, Any]) -> InputError:
    """The process's error; whatever it sends, an error of one line or more about a file."""
    try:
        problems = [Problem(_as_given(path, str(where)), str(reason)[:1000]) for where, reason in answer["problems"]]
    except (TypeError, ValueError):
        problems = []
    if not problems:
        return InputError(path, "cannot be decoded")
    return (ConfigError if answer.get("is_setting") else InputError).of(problems)


def _as_given(path: Path, where: str) -> str:
    """The process knows absolute paths; messages name files as they were asked for."""
    absolute = str(path.absolute())
    return (str(path) + where.removeprefix(absolute) if where.startswith(absolute) else where)[:1000]
