"""Results that survive a kill: one JSON file for each cell of a study, named by what was computed."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from frugalseg import __version__
from frugalseg.atomic import write_bytes, write_json
from frugalseg.errors import InputError, Problem
from frugalseg.processor import model_and_features, usable_threads

FORMAT = 1

Key = Mapping[str, str | int | float | bool | None]
"""What a cell is about; 1, 1.0 and True are three different values."""

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "key": dict,
    "result": object,
    "environment": dict,
    "seconds": (int, float),
    "finished_at": str,
}
_SLUG_LENGTH = 80


class Cell(NamedTuple):
    """What was computed, what came out, and on which machine with which software."""

    key: dict[str, Any]
    result: Any
    environment: dict[str, Any]


class Ledger:
    """Results by key, in a folder.

    Several processes may write different cells at once. A cell is written once: the same result again is skipped, and a
    different one is refused.

    Parameters
    ----------
    folder
        Where the files lie; made with the first of them. Other files than ``*.json`` are left alone.

    Raises
    ------
    InputError
        `folder` is a file.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(folder, "is not a folder")
        self.folder = folder

    def path(self, key: Key) -> Path:
        """The file of a cell: its key in readable words, and a hash of all of it."""
        return self.folder / _file_name(_checked_key(key))

    def has(self, key: Key) -> bool:
        """Whether there is a file for `key`; it is not read."""
        return self.path(key).exists()

    def get(self, key: Key) -> Any:
        """The result of a cell.

        Raises
        ------
        KeyError
            There is none.
        InputError
            The file is damaged or not ours.
        """
        path = self.path(key)
        if not path.exists():
            raise KeyError(path.stem)
        return _read(path).result

    def seconds(self, key: Key) -> float:
        """How long a cell took; errors as :meth:`get`."""
        path = self.path(key)
        if not path.exists():
            raise KeyError(path.stem)
        return float(_read_document(path)["seconds"])

    def put(self, key: Key, result: Any, seconds: float) -> None:
        """Write a result, with what it was computed with and when.

        Parameters
        ----------
        key
            What was computed.
        result
            JSON: dicts with strings for keys, lists (tuples become lists), strings, numbers, true, false, None.
        seconds
            How long it took.

        Raises
        ------
        InputError
            A number is NaN or infinite, or the cell has a different result already.
        TypeError
            `result` holds something that JSON cannot express.
        """
        path = self.path(key)
        plain = _plain(result, path, "result")
        if path.exists():
            if _canonical(_read(path).result) != _canonical(plain):
                raise InputError(path, "holds a different result for this key already")
            return
        document = {
            "format": FORMAT,
            "key": dict(key),
            "result": plain,
            "environment": environment(),
            "seconds": _plain(seconds, path, "seconds"),
            "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(path, document)

    def run(self, key: Key, function: Callable[[], Any]) -> Any:
        """The result of `key`; if it is not there yet, `function` computes it and it is written.

        What is returned is always what the file holds, so that the first run and a resumed one go on with the same.
        """
        if not self.has(key):
            start = time.perf_counter()
            result = function()
            self.put(key, result, time.perf_counter() - start)
        return self.get(key)

    def cells(self) -> Iterator[Cell]:
        """All cells, in the order of their files' names; none for a folder that is not there.

        Raises
        ------
        InputError
            Files are damaged or not ours; all of them are named, before the first cell is handed out.
        """
        return iter(_read_all([self.folder]).values())

    def merge(self, other_folder: Path) -> int:
        """Copy the cells of another machine's folder; returns how many were not here yet.

        Cells with equal results are skipped, whatever machine computed them.

        Raises
        ------
        InputError
            A cell has different results here and there, or a file is damaged; nothing was copied then.
        """
        if not other_folder.is_dir():
            raise InputError(other_folder, "is not a folder")
        cells = _read_all([self.folder, other_folder])
        new: list[Path] = []
        conflicts: list[Problem] = []
        for theirs in _files(other_folder):
            ours = self.folder / theirs.name
            if ours not in cells:
                new.append(theirs)
            elif _canonical(cells[ours].result) != _canonical(cells[theirs].result):
                conflicts.append(Problem(str(theirs), f"has a different result for the same key than {ours}"))
        if conflicts:
            raise InputError.of(conflicts)
        for theirs in new:
            write_bytes(self.folder / theirs.name, theirs.read_bytes())
        return len(new)


def environment() -> dict[str, Any]:
    """What results may depend on beside the key; torch is told only where it is loaded already."""
    torch = sys.modules.get("torch")
    return {
        "frugalseg": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": model_and_features()[0] or platform.processor() or platform.machine(),
        "threads": usable_threads() if torch is None else torch.get_num_threads(),
        "torch": None if torch is None else str(torch.__version__),
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.is_file())


def _read_all(folders: list[Path]) -> dict[Path, Cell]:
    """Every cell of the folders; every file that is none is a problem."""
    cells: dict[Path, Cell] = {}
    problems: list[Problem] = []
    for folder in folders:
        for path in _files(folder):
            try:
                cells[path] = _read(path)
            except InputError as error:
                problems.extend(error.problems)
    if problems:
        raise InputError.of(problems)
    return cells


def _read(path: Path) -> Cell:
    """The cell that a file holds."""
    document = _read_document(path)
    return Cell(document["key"], document["result"], document["environment"])


def _read_document(path: Path) -> dict[str, Any]:
    """All that a file holds; its name must be the one of its key, so that no cell passes for another."""
    try:
        document = json.loads(path.read_bytes().decode(), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"is damaged: not JSON ({error})") from None
    if not isinstance(document, dict) or "format" not in document:
        raise InputError(path, "is not a cell of a ledger")
    if document["format"] != FORMAT or isinstance(document["format"], bool):
        raise InputError(path, f"has format {document['format']!r}; this version reads format {FORMAT}")
    for name, kinds in _FIELDS.items():
        if name not in document or not isinstance(document[name], kinds):
            raise InputError(path, f"is damaged: {name} is missing or of a wrong kind")
    try:
        name = _file_name(_checked_key(document["key"]))
    except (InputError, TypeError) as error:
        raise InputError(path, f"is damaged: {error}") from None
    if name != path.name:
        raise InputError(path, f"holds the cell of another name, {name}")
    return document


def _finite(text: str) -> float:
    """A number of a file; text like 1e999 stands for infinity, too."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} for a number")
    return number


def _checked_key(key: Key) -> Key:
    """`key` itself, if it is flat, not empty and has finite numbers."""
    if not key:
        raise InputError("key", "is empty")
    for name, value in key.items():
        if not isinstance(name, str) or not isinstance(value, (str, int, float, type(None))):
            raise TypeError(
                f"key: {name!r} is {type(value).__name__}; keys are flat, of strings, numbers, bools and None"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError("key", f"{name} is {value}")
    return key


def _plain(value: Any, path: Path, where: str) -> Any:
    """A copy of `value` that JSON gives back unchanged."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(path, f"not written: {where} is {value}")
        return float(value)
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, path, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        wrong = [name for name in value if not isinstance(name, str)]
        if wrong:
            raise TypeError(f"{where}: the key {wrong[0]!r} is not a string")
        return {name: _plain(item, path, f"{where}.{name}") for name, item in value.items()}
    raise TypeError(f"{where}: {type(value).__name__} is not JSON")


def _canonical(value: Any) -> str:
    """One text for one value: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _file_name(key: Key) -> str:
    canonical = _canonical(dict(key))
    words = "_".join(f"{name}-{json.dumps(value)}" for name, value in sorted(key.items()))
    slug = re.sub(r"[^a-z0-9._+-]+", "", words.lower())[:_SLUG_LENGTH]
    return f"{slug}_{hashlib.sha256(canonical.encode()).hexdigest()[:12]}.json"
