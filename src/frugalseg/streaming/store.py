"""Arrays in a work folder: one compressed file a tile, whole or not there; a damaged one counts as not there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialise

from frugalseg.atomic import write_bytes

Arrays = dict[str, NDArray[Any]]

_LEVEL = 1
_SUFFIX = ".zst"


class ArrayStore:
    """Named sets of arrays in a folder.

    Parameters
    ----------
    folder
        Where the files lie; made with the first of them.
    cache_bytes
        How much of what was read last is kept in memory, at least one set.
    """

    def __init__(self, folder: Path, *, cache_bytes: int = 0) -> None:
        self.folder = folder
        self._cache: OrderedDict[str, Arrays] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()

    def has(self, name: str) -> bool:
        """Whether there is a file of this name; it is not read."""
        return self.path(name).exists()

    def names(self) -> set[str]:
        """Of all files that are there."""
        return {path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"*{_SUFFIX}")}

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a set of arrays; the same arrays make the same bytes."""
        content = serialise({key: np.ascontiguousarray(arrays[key]) for key in sorted(arrays)})
        write_bytes(self.path(name), zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(content))

    def get(self, name: str) -> Arrays | None:
        """A set of arrays, not to be changed; None where there is none, or a damaged one."""
        with self._lock:
            if name in self._cache:
                self._cache.move_to_end(name)
                return self._cache[name]
        try:
            content = zstandard.ZstdDecompressor().decompress(self.path(name).read_bytes())
            arrays: Arrays = parse(content)
        except (FileNotFoundError, zstandard.ZstdError, SafetensorError):
            return None
        if self._cache_bytes:
            self._keep(name, arrays)
        return arrays

    def _keep(self, name: str, arrays: Arrays) -> None:
        with self._lock:
            self._cache[name] = arrays
            while len(self._cache) > 1 and sum(map(_n_bytes, self._cache.values())) > self._cache_bytes:
                self._cache.popitem(last=False)

    def path(self, name: str) -> Path:
        """The file of this name."""
        return self.folder / f"{name}{_SUFFIX}"


def _n_bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
