"""One field of a document at a time: what it must be, or a fault that says where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from frugalseg.artifact.faults import FormatError, quoted, require

MAX_TEXT = 256
"""Characters of a name."""


def record(value: Any, keys: Iterable[str], where: str) -> dict[str, Any]:
    """An object with exactly these keys."""
    require(isinstance(value, dict), f"has {quoted(value)} for {where}")
    expected = list(keys)
    for key in expected:
        require(key in value, f"has no {key} in {where}")
    for key in value:
        require(key in expected, f"has {quoted(key)} in {where}, where its format has no such key")
    return dict(value)


def listed(value: Any, where: str) -> list[Any]:
    """A list."""
    require(isinstance(value, list), f"has {quoted(value)} for {where}")
    return list(value)


def number(value: Any, where: str, low: float, high: float) -> float:
    """A number from `low` to `high`."""
    if type(value) not in (int, float) or not low <= value <= high:
        raise FormatError(f"has {quoted(value)} for {where}, which goes from {low:g} to {high:g}")
    return float(value)


def integer(value: Any, where: str, low: int, high: int) -> int:
    """An integer from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise FormatError(f"has {quoted(value)} for {where}, which goes from {low} to {high}")
    return int(value)


def counts(value: Any, where: str) -> tuple[int, ...]:
    """A list of integers from 0."""
    items = listed(value, where)
    require(all(type(item) is int and item >= 0 for item in items), f"has impossible sizes for {where}")
    return tuple(items)


def line(value: Any, where: str) -> str:
    """A printable text, not empty and at most :data:`MAX_TEXT` characters long."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise FormatError(f"has {quoted(value)} for {where}, a printable text of 1 to {MAX_TEXT} characters")
    return value


def choice(value: Any, where: str, choices: Iterable[str]) -> str:
    """One of several words."""
    options = list(choices)
    if not isinstance(value, str) or value not in options:
        raise FormatError(f"has {quoted(value)} for {where}; there are {', '.join(options)}")
    return value
