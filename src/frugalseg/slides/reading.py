"""The reader process: ``python -m frugalseg.slides.reading PLACE MEMORY``, started by :mod:`frugalseg.slides.process`.

Requests come as lines of JSON, answers go as such; pixels go into shared memory. Nothing is pickled, so that a process
that a file has taken over can send its parent wrong pixels, and no code.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil

from frugalseg.errors import ConfigError, InputError
from frugalseg.slides.base import Slide
from frugalseg.slides.faults import telling
from frugalseg.slides.opening import open_slide
from frugalseg.slides.sharing import attach


def main() -> None:
    """Answer requests until there are no more."""
    place, memory_bytes = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; one decides
    requests, answers = _own_pipes()
    pixels = np.frombuffer(attach(place), dtype=np.uint8)
    _limit_memory(memory_bytes)
    slides: dict[int, Slide] = {}
    for line in requests:
        request = json.loads(line)
        with _alarm(request["limit_s"]):
            answer = _answer(request, slides, pixels)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
        if answer.get("exhausted"):  # libraries that were refused memory need not be whole any more
            return


def _answer(request: dict[str, Any], slides: dict[int, Slide], pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    path = Path(request["path"])
    try:
        with telling(path):
            return _do(request, path, slides, pixels)
    except InputError as error:
        return {
            "problems": [[problem.where, problem.reason] for problem in error.problems],
            "is_setting": isinstance(error, ConfigError),
            "exhausted": isinstance(error.__cause__, MemoryError),
        }


def _do(request: dict[str, Any], path: Path, slides: dict[int, Slide], pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    number = request["slide"]
    if request["do"] == "open":
        slides[number] = slide = open_slide(path, here=True)
        levels = [[level.width, level.height, level.downsample] for level in slide.levels]
        return {"levels": levels, "pixel_size_um": slide.pixel_size_um}
    if request["do"] == "close":
        if number in slides:
            slides.pop(number).close()
        return {}
    x, y, width, height = request["box"]
    region = slides[number].read_region(request["level"], x, y, width, height)
    pixels[: region.size] = region.ravel()
    return {}


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes that came as standard input and output, which libraries then cannot write into."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    return requests, answers


def _limit_memory(n_bytes: int) -> None:
    """Let this process have `n_bytes` more than now. Windows has no such limit, and macOS does not keep to it."""
    try:
        import resource
    except ImportError:
        return
    limit = psutil.Process().memory_info().vms + n_bytes
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def _alarm(limit_s: float) -> Any:
    """End this process, by the system, where a decoder hangs and nobody is left to end it."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, 2 * limit_s + 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
