"""What each tensor of a packed file takes, against what it would take otherwise."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from frugalseg.artifact.reading import Opened, StoredWeight, open_content, read_content
from frugalseg.quant.packing import code_entropy, packed_size

_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class TensorSize:
    """One tensor of one member.

    Attributes
    ----------
    member, name
        Which.
    shape
        Its sizes.
    n_values
        Weights.
    bits
        Bits of a code; None for a tensor of floats.
    coding
        ``plain`` or ``zstd`` for codes, ``F32`` or ``F16`` for floats.
    levels
        Method whose levels the codes number, ``stored`` for levels of its own; None for floats.
    stored_bytes
        In the file, scales and levels included.
    plain_bytes
        The same without compression.
    entropy
        Bits a code holds (:func:`frugalseg.quant.packing.code_entropy`); None for floats.
    """

    member: int
    name: str
    shape: tuple[int, ...]
    n_values: int
    bits: int | None
    coding: str
    levels: str | None
    stored_bytes: int
    plain_bytes: int
    entropy: float | None

    @property
    def float32_bytes(self) -> int:
        """What the tensor takes as float32."""
        return _FLOAT32_BYTES * self.n_values


@dataclass(frozen=True)
class ArtifactSizes:
    """A whole file: `file_bytes` = `header_bytes` (with the length before it) + `graph_bytes` + those of `tensors`."""

    file_bytes: int
    header_bytes: int
    graph_bytes: int
    tensors: tuple[TensorSize, ...]

    @property
    def n_values(self) -> int:
        """Weights of all members, float ones included."""
        return sum(tensor.n_values for tensor in self.tensors)

    @property
    def ratio_to_float32(self) -> float:
        """How many times smaller the file is than its weights in float32."""
        return _FLOAT32_BYTES * self.n_values / self.file_bytes


def read_sizes(path: Path) -> ArtifactSizes:
    """Sizes of a packed file, which is checked as :func:`frugalseg.artifact.read_artifact` does."""
    return measure_artifact(read_content(path), os.fspath(path))


def measure_artifact(content: bytes, name: str) -> ArtifactSizes:
    """As :func:`read_sizes`, from bytes; errors call them `name`."""
    opened = open_content(content, name)
    tensors = tuple(size for index in range(len(opened.document.members)) for size in _member_sizes(opened, index))
    stored = sum(tensor.stored_bytes for tensor in tensors) + opened.graph_bytes
    return ArtifactSizes(len(content), len(content) - stored, opened.graph_bytes, tensors)


def _member_sizes(opened: Opened, member: int) -> list[TensorSize]:
    sizes = [_weight_size(member, stored) for stored in opened.weights[member].values()]
    for name, array in opened.floats[member].items():
        sizes.append(
            TensorSize(
                member=member,
                name=name,
                shape=array.shape,
                n_values=array.size,
                bits=None,
                coding=f"F{8 * array.itemsize}",
                levels=None,
                stored_bytes=array.nbytes,
                plain_bytes=array.nbytes,
                entropy=None,
            )
        )
    return sizes


def _weight_size(member: int, stored: StoredWeight) -> TensorSize:
    entry = stored.entry
    plain = stored.n_bytes - len(stored.codes) + packed_size(entry.space.n_codes, entry.space.bits)
    return TensorSize(
        member=member,
        name=entry.name,
        shape=entry.layout.shape,
        n_values=entry.space.n_codes,
        bits=entry.space.bits,
        coding=entry.coding.name,
        levels=entry.levels or "stored",
        stored_bytes=stored.n_bytes,
        plain_bytes=plain,
        entropy=code_entropy(entry.coding.decode(stored.codes, entry.space)),
    )
