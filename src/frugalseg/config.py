"""Settings: frozen dataclasses filled in layers, preset < TOML file < flags, every value checked.

A config class lives beside the code that reads it. Its annotations say what a value may be, ``metadata={"help": …}``
says what it is for, and its ``__post_init__`` refuses impossible values with a ``ValueError`` whose text begins with
the field's name. Annotations understood: ``bool``, ``int``, ``float``, ``str``, ``Path``, ``Literal[…]``, ``X | None``,
``tuple[X, ...]`` and ``tuple[X, Y]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from frugalseg.errors import ConfigError, Problem

Config = TypeVar("Config")
_NAMES: dict[type, str] = {int: "a whole number", float: "a number", str: "text", Path: "a path", bool: "true or false"}


class Settings(dict[str, Any]):
    """Some settings and where they come from, for error messages.

    Parameters
    ----------
    values
        Field name → value; any subset of a config class's fields.
    source
        A file's name, ``"command line"``, ``"preset cpu"``…
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        super().__init__(values)
        self.source = source


# ---------------------------------------------------------------------------------------------- command line


def add_config_arguments(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, config_class: type, *, skip: Collection[str] = ()
) -> None:
    """Give `parser` one flag ``--field-name`` for every field of `config_class` except those in `skip`.

    Defaults are told by ``--help`` but not stored, so that :func:`given_settings` finds only what the user wrote. A
    tuple is written with commas (``--rates 0.1,0.2``), the absence of an optional value as ``none``.
    """
    for field, annotation in _typed_fields(config_class):
        if field.name in skip:
            continue
        text = f"{field.metadata.get('help', '')} (default: {_show(_default_of(field))})".strip().replace("%", "%%")
        flag = "--" + field.name.replace("_", "-")
        if annotation is bool:
            parser.add_argument(
                flag, dest=field.name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        else:
            parser.add_argument(
                flag,
                dest=field.name,
                type=_flag_reader(annotation),
                default=argparse.SUPPRESS,
                metavar=_metavar(field.name, annotation),
                help=text,
            )


def add_config_file_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--config FILE.toml``, stored as ``args.config`` (a path or None), to be read by :func:`load_toml`."""
    parser.add_argument(
        "--config", type=Path, default=None, metavar="FILE.toml", help="settings, flags win over it (key = field name)"
    )


def given_settings(args: argparse.Namespace, config_class: type) -> Settings:
    """The fields of `config_class` that the user wrote on the command line, and no others."""
    names = [field.name for field, _ in _typed_fields(config_class)]
    return Settings({name: getattr(args, name) for name in names if hasattr(args, name)}, "command line")


# ---------------------------------------------------------------------------------------------- layers


def load_toml(path: Path) -> Settings:
    """Read a TOML file; the result remembers the file's name.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not UTF-8 or is not TOML.
    """
    try:
        return Settings(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise ConfigError(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, f"is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"is not TOML: {error}") from error


def resolve_config(config_class: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Build a config from its defaults and `layers`; a later layer wins, key by key.

    Parameters
    ----------
    config_class
        A dataclass as the module's docstring describes.
    layers
        Mappings from field name to value, as a TOML file gives them (lists become tuples, strings paths, ``"none"``
        None where None is allowed). A :class:`Settings` names its source in errors.

    Raises
    ------
    ConfigError
        Listing every unknown key (with the nearest known one) and every value of a wrong type, NaN and Inf included; or
        the complaint of the class's ``__post_init__``.
    """
    annotations = {field.name: annotation for field, annotation in _typed_fields(config_class)}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for layer in layers:
        source = getattr(layer, "source", "settings")
        for key, value in layer.items():
            if key not in annotations:
                problems.append(Problem(source, f"unknown setting {key!r}{_nearest(key, annotations)}"))
                continue
            try:
                values[key] = _accept(annotations[key], value)
                sources[key] = source
            except ValueError as error:
                problems.append(Problem(source, f"{key} must be {error}, not {value!r}"))
    if problems:
        raise ConfigError.of(problems)
    try:
        return config_class(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(_source_of(str(error), sources), str(error)) from error


def config_to_dict(config: Any) -> dict[str, Any]:
    """All settings of `config` as plain JSON and TOML types: paths become text, tuples lists; None stays None."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


# ---------------------------------------------------------------------------------------------- one value


def _accept(annotation: Any, value: Any) -> Any:
    """`value` as `annotation` wants it; a ValueError tells what would have been right."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
    elif origin in (Union, types.UnionType):
        if value is None or value == "none":
            return None
        try:
            return _accept(_without_none(annotation), value)
        except ValueError as error:
            raise ValueError(_describe(annotation)) from error
    elif origin is tuple:
        wanted = _elements(arguments, len(value)) if isinstance(value, (list, tuple)) else None
        if wanted is not None:
            return tuple(_accept(each, item) for each, item in zip(wanted, value, strict=True))
    elif annotation is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif annotation is Path:
        if isinstance(value, (str, Path)):
            return Path(value)
    elif isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool)):
        return value
    raise ValueError(_describe(annotation))


def _parse(annotation: Any, text: str) -> Any:
    """What `text`, a word of the command line, means; checked by :func:`_accept` afterwards."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return next((choice for choice in arguments if str(choice) == text), text)
    if origin in (Union, types.UnionType):
        return None if text == "none" else _parse(_without_none(annotation), text)
    if origin is tuple:
        words = [word.strip() for word in text.split(",")] if text else []
        wanted = _elements(arguments, len(words))
        return tuple(map(_parse, wanted, words)) if wanted is not None else ()
    if annotation is bool:
        return {"true": True, "false": False}.get(text, text)
    return annotation(text)


def _flag_reader(annotation: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return _accept(annotation, _parse(annotation, text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"must be {_describe(annotation)}, not {text!r}") from error

    return read


def _describe(annotation: Any) -> str:
    """`annotation` in words, to follow "must be"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return f"{_describe(_without_none(annotation))} or none"
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list, each {_describe(arguments[0])}"
        return f"a list of {len(arguments)}: " + ", ".join(map(_describe, arguments))
    return _NAMES[annotation]


def _elements(arguments: tuple[Any, ...], count: int) -> tuple[Any, ...] | None:
    """Annotations of a tuple's `count` elements, or None where it may not have that many."""
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return (arguments[0],) * count
    return arguments if len(arguments) == count else None


def _without_none(annotation: Any) -> Any:
    return next(each for each in typing.get_args(annotation) if each is not types.NoneType)


# ---------------------------------------------------------------------------------------------- fields and words


def _typed_fields(config_class: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Fields set by users, with their resolved annotations; one this module cannot check is a programming error."""
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if field.init:
            _check_annotation(hints[field.name], f"{config_class.__name__}.{field.name}")
            yield field, hints[field.name]


def _check_annotation(annotation: Any, where: str) -> None:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType) and len(arguments) == 2 and types.NoneType in arguments:
        _check_annotation(_without_none(annotation), where)
    elif origin is tuple:
        for each in arguments:
            if each is not Ellipsis:
                _check_annotation(each, where)
    elif origin is not Literal and annotation not in _NAMES:
        raise TypeError(f"{where}: config fields cannot be of type {annotation}")


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "required" if field.default is dataclasses.MISSING else field.default


def _metavar(name: str, annotation: Any) -> str:
    inner = _without_none(annotation) if type(None) in typing.get_args(annotation) else annotation
    if typing.get_origin(inner) is Literal:
        return "{" + ",".join(map(str, typing.get_args(inner))) + "}"
    return name.upper()


def _nearest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _source_of(complaint: str, sources: Mapping[str, str]) -> str:
    """Where the field named first in `complaint` was set; every source where no field is named."""
    words = re.findall(r"\w+", complaint)
    named = next((sources[word] for word in words if word in sources), None)
    return named or ", ".join(dict.fromkeys(sources.values())) or "settings"


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _show(value: Any) -> str:
    """A value as a user would write it in a flag; strings unquoted, floats short."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_show, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


__all__ = [
    "Settings",
    "add_config_arguments",
    "add_config_file_argument",
    "config_to_dict",
    "given_settings",
    "load_toml",
    "resolve_config",
]
