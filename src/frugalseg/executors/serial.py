"""Tasks one after another, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from frugalseg.errors import StoppedError
from frugalseg.executors.base import Executor, Failure

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor(Executor):
    """The executor that the others are judged by; it needs nothing and can be debugged."""

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, label: Callable[[T], str] = str) -> Iterator[R]:
        """Results one after another; see :meth:`Executor.map`."""
        for task in tasks:
            try:
                result = function(task)
            except StoppedError:  # it was asked for, so it is no failure of the task
                raise
            except (Exception, SystemExit) as error:
                raise Failure.of(error).error(label(task)) from error
            yield result

    def close(self) -> None:
        """Nothing to stop."""
