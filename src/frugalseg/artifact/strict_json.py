"""JSON with one meaning: no repeated keys, no NaN or infinity, no integers beyond 64 bits, no deep nesting."""

from __future__ import annotations

import json
import math
from typing import Any

from frugalseg.artifact.faults import FormatError, quoted, require

MAX_DEPTH = 32
_MAX_INT = 2**63 - 1
_MAX_DIGITS = len(str(_MAX_INT)) + 1  # and a sign


def loads(text: str) -> Any:
    """The value that `text` stands for.

    Raises
    ------
    FormatError
        `text` is not JSON, or uses what is excluded here.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )
    except FormatError:
        raise
    except RecursionError:
        raise FormatError("has a header that is nested too deeply") from None
    except ValueError as error:
        raise FormatError(f"has a header that is not JSON ({error})") from None


def dumps(value: Any) -> str:
    """The canonical text of a JSON value: ASCII, keys sorted, no spaces.

    Raises
    ------
    ValueError, TypeError, RecursionError
        `value` cannot be written as JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def check_values(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what a free part of a document may not hold: deep nesting and text that is not Unicode.

    The numbers have been judged by :func:`loads`.
    """
    require(depth < MAX_DEPTH, f"has {where} nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        require(is_unicode(value), f"has text in {where} that is not Unicode: {quoted(value)}")
    elif isinstance(value, list):
        for item in value:
            check_values(item, where, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            require(is_unicode(key), f"has text in {where} that is not Unicode: {quoted(key)}")
            check_values(item, where, depth + 1)


def is_unicode(text: str) -> bool:
    """Whether `text` has no lone surrogates, which JSON's escapes allow and UTF-8 does not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError(f"has the key {quoted(repeated)} twice")
    return result


def _constant(text: str) -> Any:
    raise FormatError(f"has {text} for a number")


def _float(text: str) -> float:
    value = float(text)
    require(math.isfinite(value), f"has a number that is too large: {quoted(text)}")
    return value


def _integer(text: str) -> int:
    value = int(text) if len(text) <= _MAX_DIGITS else _MAX_INT + 1
    require(-_MAX_INT <= value <= _MAX_INT, f"has a number that is too large: {quoted(text)}")
    return value
