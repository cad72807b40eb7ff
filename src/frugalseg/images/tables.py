"""The CSV files beside images: patients and grades (GlaS), groups, classes of objects."""

from __future__ import annotations

import csv
import io
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from frugalseg.errors import InputError, Problem
from frugalseg.images.guard import system_reason
from frugalseg.images.names import tabled_name

_LONGEST_LABEL = 10
"""Digits of the largest label, 2,147,483,647."""


@dataclass(frozen=True)
class Grade:
    """What Grade.csv says of one image."""

    patient: str
    category: str | None


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, as :func:`read_columns` reads it; by the names of its columns.

    Raises
    ------
    InputError
        Unreadable, not text, or without a line of column names.
    """
    names, rows = read_columns(path)
    return [dict(zip(names, row, strict=False)) for row in rows]


def read_columns(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of columns and rows of a CSV file (comma, semicolon or tab).

    Names in lower case, blanks around fields removed, empty lines left out.

    Raises
    ------
    InputError
        Unreadable, not text, or without a line of column names.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not UTF-8 text") from error
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        lines = [[field.strip() for field in line] for line in csv.reader(io.StringIO(text), delimiter=delimiter)]
    except csv.Error as error:
        raise InputError(path, f"is not a CSV file ({error})") from error
    lines = [line for line in lines if any(line)]
    if not lines:
        raise InputError(path, "is empty")
    return [name.lower() for name in lines[0]], lines[1:]


def label_number(text: str) -> int | None:
    """The number of an object, 0 included; None where the text is none, or one that no label map can hold."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_LABEL else None


def read_grades(path: Path) -> dict[str, Grade]:
    """GlaS' Grade.csv: patient and grade of each image name.

    Raises
    ------
    InputError
        Unreadable, or without the columns ``name`` and ``patient ID``.
    """
    grades = {}
    for row in _with_columns(path, ("name", "patient id")):
        grade = next((value for column, value in row.items() if column.startswith("grade (glas")), "")
        grades[row["name"]] = Grade(row["patient id"], grade.lower() or None)
    return grades


def read_groups(path: Path, known: Container[str]) -> dict[str, str]:
    """Table with columns image and group: the group of each image name; `known` are the images' names.

    Raises
    ------
    InputError
        Unreadable, a column missing, or an image in two groups.
    """
    groups: dict[str, str] = {}
    problems = []
    for row in _with_columns(path, ("image", "group")):
        name, group = tabled_name(row["image"], known), row["group"]
        if groups.setdefault(name, group) != group:
            problems.append(Problem(str(path), f"{name} is in two groups, {groups[name]} and {group}"))
    if problems:
        raise InputError.of(problems)
    return groups


def read_classes(path: Path, known: Container[str]) -> tuple[tuple[str, ...], dict[str, dict[int, int]]]:
    """Table with columns image, label and class; `known` are the images' names.

    Returns
    -------
    tuple
        Class names in alphabetical order, and for each image name the class index of each label.

    Raises
    ------
    InputError
        Unreadable, a column missing, a label that is no positive integer, or an object with two classes.
    """
    rows = _with_columns(path, ("image", "label", "class"))
    names = tuple(sorted({row["class"] for row in rows}))
    table: dict[str, dict[int, int]] = {}
    problems = []
    for row in rows:
        image, label = tabled_name(row["image"], known), row["label"]
        number = label_number(label)
        if not number:
            problems.append(Problem(str(path), f"label {label!r} of {image} is not a positive integer"))
            continue
        index = names.index(row["class"])
        if table.setdefault(image, {}).setdefault(number, index) != index:
            problems.append(Problem(str(path), f"object {label} of {image} has two classes"))
    if problems:
        raise InputError.of(problems)
    return names, table


def _with_columns(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    rows = read_table(path)
    if not rows:
        raise InputError(path, "has no rows")
    for number, row in enumerate(rows, 1):
        missing = [column for column in columns if not row.get(column)]
        if missing:
            where = "has no column" if missing[0] not in rows[0] else f"row {number} has no value for"
            raise InputError(path, f"{where} {missing[0]!r}, needed are: {', '.join(columns)}")
    return rows
