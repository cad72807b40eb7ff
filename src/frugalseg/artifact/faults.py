"""What is wrong with a packed file, before it is known which file it is."""

from __future__ import annotations

_SHOWN = 80


class FormatError(ValueError):
    """Content that is not what the format says; its text is the reason, one line, to follow the file's name."""


def require(condition: bool, reason: str) -> None:
    """Raise a :class:`FormatError` with this reason unless `condition` holds."""
    if not condition:
        raise FormatError(reason)


def quoted(value: object) -> str:
    """`value` as it may stand in a message: one printable line, cut where it is long."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
