"""Errors that frugalseg raises on purpose.

::

    FrugalsegError          exit code 1   something went wrong that a user can understand
    ├── InputError          exit code 2   files or arguments that cannot be used, each with its reason
    │   ├── ConfigError     exit code 2   a setting that does not exist or has an impossible value
    │   └── StorageError    exit code 2   what may go well when it is tried again: disk full, database in use
    ├── TrainingError       exit code 1   training cannot go on (diverged, locked, incompatible resume)
    ├── TaskError           exit code 1   one of many tasks failed, or its worker died again and again
    └── StoppedError        exit code 130 somebody asked the work to stop
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with one file: where and why, in a line."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class FrugalsegError(Exception):
    """Base of all errors that are reported as one line, without a traceback."""

    exit_code = 1


class InputError(FrugalsegError):
    """Input that cannot be used; holds every problem found, so that all are shown at once.

    Parameters
    ----------
    where
        The file, folder or argument at fault.
    reason
        Why, in a few words, without a final full stop.
    """

    exit_code = 2

    def __init__(self, where: str | Path, reason: str) -> None:
        self.problems: tuple[Problem, ...] = (Problem(str(where), reason),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> InputError:
        """Gather several problems into one error; its text has one line for each."""
        listed = tuple(problems)
        if not listed:
            raise ValueError("an InputError needs at least one problem")
        error = cls(listed[0].where, listed[0].reason)
        error.problems = listed
        error.args = ("\n".join(map(str, listed)),)
        return error


class ConfigError(InputError):
    """A setting that does not exist, or whose value is impossible."""


class StorageError(InputError):
    """What is asked for is right, but cannot be read or written now: the disk is full, another process is at it."""


class TrainingError(FrugalsegError):
    """Training cannot go on."""


class StoppedError(FrugalsegError):
    """Somebody asked the work to stop."""

    exit_code = 130


class TaskError(FrugalsegError):
    """One of many tasks cannot be done; its text names the task in every line.

    Parameters
    ----------
    label
        The task, in the words of whoever asked for it.
    reason
        Why, in a few words; unused where there are problems.
    problems
        What an :class:`InputError` in the task told: the files at fault stay named.
    """

    def __init__(self, label: str, reason: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(label, reason, problems)  # all of them, so that the error can cross processes
        self.label = label
        self.reason = reason
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"{self.label}: {line}" for line in (self.problems or (self.reason,)))
