"""What all executors share: the protocol, what a failed task leaves behind, results brought in order."""

from __future__ import annotations

import contextlib
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeVar

from frugalseg.errors import FrugalsegError, InputError, Problem, TaskError
from frugalseg.processor import usable_cores, usable_threads

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

RETRIES = 3
"""How often a task runs again whose worker died."""


class Executor(Protocol):
    """Runs tasks; to be closed after use, best by ``with``."""

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, label: Callable[[T], str] = str) -> Iterator[R]:
        """Results of `function` for each task, in the order of the tasks; none for no tasks.

        A result comes as soon as it and all before it are ready. Work starts when the first one is asked for. One map
        runs at a time. A task whose worker dies (killed, out of memory, its machine lost) runs again, up to `RETRIES`
        times: a task that writes must bear that. Whoever stops asking, by an error or by ``break``, cancels the rest.

        Parameters
        ----------
        function
            A function of a module, which workers import; no lambda, no closure.
        tasks
            Its arguments; they and the results can be pickled.
        label
            A task's name in error messages.

        Raises
        ------
        TaskError
            A task raised, or its worker died once too often. Other tasks are cancelled; results that were ready but
            waited for an earlier one are lost.
        """
        ...

    def close(self) -> None:
        """Stop the workers; the executor cannot be used after that. Closing twice is fine."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Failure:
    """An exception of a task in words, since not every exception survives pickling (`InputError` does not).

    Attributes
    ----------
    reason
        What went wrong, for people.
    problems
        The problems of an `InputError`.
    trace
        The traceback, if the exception looks like a bug.
    """

    reason: str
    problems: tuple[Problem, ...] = ()
    trace: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Put an exception into words."""
        if isinstance(error, FrugalsegError):
            return cls(str(error), error.problems if isinstance(error, InputError) else ())
        if isinstance(error, OSError) and error.filename is not None:
            return cls(f"{error.filename}: {error.strerror or error}")
        said = "".join(traceback.format_exception_only(error)).strip()
        return cls(said, trace="".join(traceback.format_exception(error)))

    def error(self, label: str) -> TaskError:
        """The error to raise for the task called `label`; a bug's traceback goes to the log."""
        if self.trace:
            log.error("%s:\n%s", label, self.trace.rstrip())
        return TaskError(label, self.reason, self.problems)


def attempt(function: Callable[[T], R], task: T) -> R | Failure:
    """The result, or why there is none; only what interrupts the process itself is raised."""
    try:
        return function(task)
    except (Exception, SystemExit) as error:
        return Failure.of(error)


def in_order(results: Iterable[tuple[int, R]]) -> Iterator[R]:
    """Results in the order of their numbers 0, 1, 2, …, each as soon as all before it are there."""
    waiting: dict[int, R] = {}
    following = 0
    for index, result in results:
        waiting[index] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def threads_each(n_workers: int) -> int:
    """Threads for each of `n_workers` processes: a share of the cores, never more than ``OMP_NUM_THREADS`` asks for."""
    return min(usable_threads(), max(1, usable_cores() // n_workers))


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for processes that the block starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
