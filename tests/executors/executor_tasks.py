"""Tasks that workers import."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from frugalseg.errors import InputError, Problem


def square(number: int) -> int:
    return number * number


def sleep_and_name(task: tuple[float, str]) -> str:
    """Later tasks are ready earlier, if they sleep less."""
    time.sleep(task[0])
    return task[1]


def fail(number: int) -> int:
    if number == 2:
        raise ValueError("two is not allowed")
    return number


def refuse_images(number: int) -> int:
    if number == 1:
        raise InputError.of([Problem("a.png", "is damaged"), Problem("b.png", "is empty")])
    return number


def leave(number: int) -> int:
    sys.exit(number)


def miss_file(name: str) -> str:
    return Path(name).read_text()


def fail_or_mark(task: tuple[str, str]) -> None:
    """Fail at once, or after a while leave a mark."""
    if task[0] == "fail":
        raise ValueError("at once")
    time.sleep(1.5)
    Path(task[1]).touch()


def give_lock(_: int) -> object:
    return threading.Lock()


def process_id(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def threads(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def die_once(task: tuple[str, int]) -> int:
    """Kill the own process at the first run of the task that has a marker."""
    folder, number = task
    marks = Path(folder)
    with (marks / f"runs-{number}").open("a") as stream:
        stream.write("x")
    if number == 1 and not (marks / "died").exists():
        (marks / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return number * number


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def mark_and_wait(task: tuple[str, float]) -> None:
    (Path(task[0]) / f"worker-{os.getpid()}").touch()
    time.sleep(task[1])


def large_result(task: tuple[int, float]) -> bytes:
    """Too large to travel in a message: Ray keeps it on the node that made it."""
    number, seconds = task
    time.sleep(seconds)
    return number.to_bytes(2, "big") * 200_000


def node_of(seconds: float) -> str:
    import ray

    time.sleep(seconds)
    return str(ray.get_runtime_context().get_node_id())
