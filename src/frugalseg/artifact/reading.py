"""From the bytes of a packed file to a packed model, every byte checked before anything is returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from frugalseg.artifact import container
from frugalseg.artifact.coding import MAX_CONTENT_BYTES, content_size, decompress
from frugalseg.artifact.container import StoredTensor
from frugalseg.artifact.document import Document, WeightEntry, check_name, parse_document
from frugalseg.artifact.faults import FormatError, quoted, require
from frugalseg.artifact.model import Artifact, FloatTensor, Member
from frugalseg.errors import InputError
from frugalseg.quant.spec import level_table
from frugalseg.quant.tensors import QuantizedTensor

GRAPH = "graph"
ROLES = ("codes", "scale", "negative_scale", "levels")
"""Stored tensors of a quantized weight; their names are ``MEMBER/WEIGHT#ROLE``."""


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """A quantized weight as it lies in the file, checked.

    Attributes
    ----------
    entry
        What the description says of it.
    codes
        The bytes of its codes.
    levels, scale, negative_scale
        As in :class:`~frugalseg.quant.tensors.QuantizedTensor`.
    n_bytes
        All its stored bytes.
    """

    entry: WeightEntry
    codes: memoryview
    levels: NDArray[np.float32]
    scale: NDArray[np.float32]
    negative_scale: NDArray[np.float32] | None
    n_bytes: int

    def load(self) -> QuantizedTensor:
        """Decode the codes."""
        codes = self.entry.coding.decode(self.codes, self.entry.space)
        return QuantizedTensor(
            bits=self.entry.space.bits,
            codes=codes.reshape(self.entry.layout.shape),
            levels=self.levels,
            scale=self.scale,
            layout=self.entry.layout,
            negative_scale=self.negative_scale,
        )


@dataclass(frozen=True, eq=False)
class Opened:
    """A checked file: its description, and for each member the stored weights and the float tensors."""

    document: Document
    weights: tuple[dict[str, StoredWeight], ...]
    floats: tuple[dict[str, FloatTensor], ...]
    graph: bytes | None
    graph_bytes: int


class _Weights(Mapping[str, QuantizedTensor]):
    """Quantized weights that are decoded at each access."""

    def __init__(self, stored: dict[str, StoredWeight]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> QuantizedTensor:
        return self._stored[name].load()

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def read_artifact(path: Path) -> Artifact:
    """The packed model in a file, wholly checked.

    A file that is refused costs at most its own size twice plus 64 MiB of memory. One that is read keeps its bytes in
    memory; codes are decoded when a weight is asked for.

    Raises
    ------
    InputError
        `path` is no file, cannot be read, or is not a whole and consistent packed model of a format known here.
    """
    return parse_artifact(read_content(path), str(path))


def parse_artifact(content: bytes, name: str) -> Artifact:
    """As :func:`read_artifact`, from bytes; errors call them `name`."""
    opened = open_content(content, name)
    document = opened.document
    return Artifact(
        card=document.card,
        stride=document.stride,
        halo_px=document.halo_px,
        licence=document.licence,
        members=tuple(
            Member(_Weights(weights), MappingProxyType(floats), MappingProxyType(entry.activations))
            for entry, weights, floats in zip(document.members, opened.weights, opened.floats, strict=True)
        ),
        graph=opened.graph,
        provenance=document.provenance,
        mean=document.mean,
        divisor=document.divisor,
    )


def read_content(path: Path) -> bytes:
    """The bytes of a file; one whose start and size no packed model can have is refused before it is read."""
    try:
        if not path.is_file():
            raise InputError(path, "is not a file" if path.exists() else "there is no such file")
        with path.open("rb") as stream:
            n_bytes = path.stat().st_size
            start = stream.read(container.PREFIX_BYTES)
            container.check_start(start, n_bytes)
            stream.seek(0)
            return stream.read(n_bytes)
    except FormatError as fault:
        raise InputError(path, str(fault)) from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or type(error).__name__})") from error


def open_content(content: bytes, name: str) -> Opened:
    """Check all of a file's bytes.

    Raises
    ------
    InputError
        With the first fault found.
    """
    try:
        text, tensors = container.parse_container(content)
        document = parse_document(text)
        del text
        graph, graph_bytes = _take_graph(document, tensors)
        weights = tuple(_take_weights(document, index, tensors) for index in range(len(document.members)))
        floats = _take_floats(document, tensors)
        _check_alike(weights, floats)
    except FormatError as fault:
        raise InputError(name, str(fault)) from None
    return Opened(document, weights, floats, graph, graph_bytes)


def _take_graph(document: Document, tensors: dict[str, StoredTensor]) -> tuple[bytes | None, int]:
    if document.graph is None:
        return None, 0
    data = _take(tensors, GRAPH, "U8").data
    if document.graph == "plain":
        return bytes(data), len(data)
    try:
        n_bytes = content_size(data)
        require(n_bytes <= MAX_CONTENT_BYTES, f"{n_bytes:,} bytes where at most {MAX_CONTENT_BYTES:,} are compressed")
        return decompress(data, n_bytes), len(data)
    except FormatError as fault:
        raise FormatError(f"has a graph that cannot be: {fault}") from None


def _take_weights(document: Document, index: int, tensors: dict[str, StoredTensor]) -> dict[str, StoredWeight]:
    """The quantized weights of one member; what belongs to them is taken from `tensors`."""
    found: dict[str, StoredWeight] = {}
    for entry in document.members[index].weights:
        called = f"{index}/{entry.name}"
        require(entry.name not in found, f"describes weight {quoted(called)} twice")
        parts = {
            role: _take(tensors, f"{called}#{role}", "U8" if role == "codes" else "F32")
            for role in ROLES
            if role in ("codes", "scale")
            or (role == "levels" and entry.levels is None)
            or (role == "negative_scale" and f"{called}#{role}" in tensors)
        }
        try:
            found[entry.name] = _checked_weight(entry, parts)
        except FormatError as fault:
            raise FormatError(f"has a weight {quoted(called)} that cannot be: {fault}") from None
    return found


def _checked_weight(entry: WeightEntry, parts: dict[str, StoredTensor]) -> StoredWeight:
    arrays: dict[str, NDArray[np.float32]] = {
        role: np.asarray(part.array(), dtype=np.float32) for role, part in parts.items() if role != "codes"
    }
    n_groups = entry.layout.n_groups
    for role in ("scale", "negative_scale"):
        if role in arrays:
            require(arrays[role].size == n_groups, f"{arrays[role].size:,} scales for {n_groups:,} groups")
    if entry.levels is not None:
        levels = level_table(entry.levels, entry.space.bits)
    else:
        levels = arrays["levels"]
        require(0 < len(levels) <= 2**entry.space.bits, f"{len(levels):,} levels for {entry.space.bits} bits")
        rising = bool(np.isfinite(levels).all()) and bool((levels[:-1] < levels[1:]).all())
        require(rising, "its levels do not rise")
    entry = replace(entry, space=replace(entry.space, n_levels=len(levels)))
    entry.coding.check(parts["codes"].data, entry.space)
    return StoredWeight(
        entry=entry,
        codes=parts["codes"].data,
        levels=levels,
        scale=arrays["scale"],
        negative_scale=arrays.get("negative_scale"),
        n_bytes=sum(len(part.data) for part in parts.values()),
    )


def _take(tensors: dict[str, StoredTensor], name: str, dtype: str) -> StoredTensor:
    """One stored tensor of a single dimension."""
    require(name in tensors, f"has no tensor {quoted(name)}, which its description needs")
    stored = tensors.pop(name)
    require(
        stored.dtype == dtype and len(stored.shape) == 1, f"has a tensor {quoted(name)} that is not one row of {dtype}"
    )
    return stored


def _take_floats(document: Document, tensors: dict[str, StoredTensor]) -> tuple[dict[str, FloatTensor], ...]:
    """All tensors that are left: ``MEMBER/NAME``, of floats, in the order of the file."""
    members = {str(index): dict[str, FloatTensor]() for index in range(len(document.members))}
    for full_name, stored in tensors.items():
        index, _, name = full_name.partition("/")
        require(
            index in members and stored.dtype in ("F32", "F16") and "#" not in name,
            f"has a tensor {quoted(full_name)} that nothing describes",
        )
        members[index][check_name(name, "a tensor")] = stored.array()
    return tuple(members.values())


def _check_alike(weights: tuple[dict[str, StoredWeight], ...], floats: tuple[dict[str, FloatTensor], ...]) -> None:
    """Members have tensors of the same names and shapes, each name once."""
    first: dict[str, tuple[int, ...]] | None = None
    for index, (coded, plain) in enumerate(zip(weights, floats, strict=True)):
        twice = sorted(coded.keys() & plain.keys())
        require(not twice, f"has weight {quoted(twice[0] if twice else '')} both as codes and as floats")
        shapes = {name: stored.entry.layout.shape for name, stored in coded.items()}
        shapes |= {name: array.shape for name, array in plain.items()}
        if first is None:
            first = shapes
        different = sorted(name for name in first.keys() | shapes.keys() if first.get(name) != shapes.get(name))
        require(not different, f"has another {quoted(different[0] if different else '')} in member {index} than in 0")
