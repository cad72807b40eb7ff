"""A safetensors file with one text and a SHA-256 of itself: bytes ⇄ named tensors.

Layout of a safetensors file: 8 bytes, little-endian, the header's length; the header, a JSON object; the tensors'
bytes without gaps. Here the header is canonical JSON, its ``__metadata__`` holds exactly ``frugalseg``, a text, and
``sha256``, 64 lower-case hexadecimal digits: the SHA-256 of the whole file with those digits replaced by zeros.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.artifact import strict_json
from frugalseg.artifact.faults import FormatError, quoted, require

PREFIX_BYTES = 8
MAX_HEADER_BYTES = 4 * 2**20
MAX_HEADER_NODES = 300_000
"""Brackets, commas and colons of a header: parsed, each costs up to 90 bytes of memory (measured)."""

MAX_FILE_BYTES = 4 * 2**30
MAX_DIMENSIONS = 8
MAX_VALUES = 2**40
"""Product of a tensor's sizes, counting 0 as 1, so that no shape overflows an index."""

DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "U8": np.dtype("u1")}
"""Types of stored tensors, in the order in which they are stored: what needs alignment first."""

_METADATA = "__metadata__"
_TEXT = "frugalseg"
_DIGEST = "sha256"
_NO_DIGEST = "0" * 64
_DIGEST_PLACE = re.compile(rb'"sha256":"([0-9a-f]{64})"')


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """One tensor in a file.

    Attributes
    ----------
    dtype
        A key of :data:`DTYPES`.
    shape
        Its sizes.
    data
        Its bytes, a view of the file's.
    """

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def array(self) -> NDArray[Any]:
        """The tensor, read-only, sharing the file's bytes."""
        return np.frombuffer(self.data, dtype=DTYPES[self.dtype]).reshape(self.shape)


def check_start(start: bytes, n_bytes: int) -> int:
    """Length of the header, from the first 8 bytes of a file and the file's size.

    Raises
    ------
    FormatError
        The file is too short, too long, or has another kind of start.
    """
    require(n_bytes > 0, "is empty (0 bytes)")
    require(n_bytes <= MAX_FILE_BYTES, f"is too large ({n_bytes:,} bytes, limit {MAX_FILE_BYTES:,})")
    require(n_bytes > PREFIX_BYTES, f"is too short for a model file ({n_bytes} bytes)")
    length = int.from_bytes(start[:PREFIX_BYTES], "little")
    kind = "is not a frugalseg model file, or is damaged"
    require(0 < length <= MAX_HEADER_BYTES and length % 8 == 0, f"{kind} (its header's length cannot be)")
    require(length <= n_bytes - PREFIX_BYTES, f"{kind} (its header is longer than the file)")
    return length


def parse_container(content: bytes) -> tuple[str, dict[str, StoredTensor]]:
    """The text and the tensors, in the order of their bytes, of a file that is whole.

    Memory beside `content`: at most 48 MiB, whatever the header says.

    Raises
    ------
    FormatError
        Any byte is not what was written, or the header does not describe the bytes exactly.
    """
    header_end = PREFIX_BYTES + check_start(content[:PREFIX_BYTES], len(content))
    digest = _check_digest(content, header_end)
    header = _parse_header(content[PREFIX_BYTES:header_end])
    metadata = header.pop(_METADATA, None)
    require(
        isinstance(metadata, dict) and metadata.keys() == {_TEXT, _DIGEST} and metadata[_DIGEST] == digest,
        "is not a frugalseg model file (its metadata are others)",
    )
    text = metadata[_TEXT]
    require(isinstance(text, str) and text.isascii(), "has a description that is not ASCII text")
    return text, _tensors(header, memoryview(content)[header_end:])


def build_container(text: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a file with this ASCII text and these tensors, which have types of :data:`DTYPES`."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    places = list(DTYPES)
    header: dict[str, Any] = {_METADATA: {_TEXT: text, _DIGEST: _NO_DIGEST}}
    parts: list[bytes] = []
    end = 0
    for name, array in sorted(tensors.items(), key=lambda item: places.index(names[item[1].dtype])):  # stable
        data = array.tobytes()
        parts.append(data)
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end + len(data)],
        }
        end += len(data)
    line = strict_json.dumps(header).encode("ascii")
    line += b" " * (-len(line) % 8)
    content = b"".join([len(line).to_bytes(PREFIX_BYTES, "little"), line, *parts])
    place = _DIGEST_PLACE.search(content, PREFIX_BYTES, PREFIX_BYTES + len(line))
    assert place is not None  # written above
    digest = hashlib.sha256(content).hexdigest().encode("ascii")
    return b"".join([content[: place.start(1)], digest, content[place.end(1) :]])


def _check_digest(content: bytes, header_end: int) -> str:
    """The digest that the header names, which is that of the file.

    It is looked for before the header is parsed, so that damage is called damage. In a JSON string the quotation marks
    of the pattern would be escaped: only a key can match, and there must be one match.
    """
    places = list(_DIGEST_PLACE.finditer(content, PREFIX_BYTES, header_end))
    require(len(places) == 1, "is not a frugalseg model file, or is damaged (its header names no SHA-256)")
    view = memoryview(content)
    digest = hashlib.sha256(view[: places[0].start(1)])
    digest.update(_NO_DIGEST.encode("ascii"))
    digest.update(view[places[0].end(1) :])
    named = places[0][1].decode("ascii")
    require(digest.hexdigest() == named, "is damaged or incomplete (its content does not have the SHA-256 it names)")
    return named


def _parse_header(header: bytes) -> dict[str, Any]:
    require(header.isascii(), "has a header that is not ASCII")
    n_nodes = sum(header.count(mark) for mark in (b"[", b"{", b",", b":"))
    require(n_nodes <= MAX_HEADER_NODES, f"has a header of more than {MAX_HEADER_NODES:,} parts")
    text = header.decode("ascii").rstrip(" ")
    value = strict_json.loads(text)
    require(isinstance(value, dict), "has a header that is not a JSON object")
    try:
        canonical = strict_json.dumps(value) == text
    except RecursionError:
        raise FormatError("has a header that is nested too deeply") from None
    require(canonical and len(header) - len(text) < 8, "has a header that is not in canonical form")
    return dict(value)


def _tensors(header: Mapping[str, Any], data: memoryview) -> dict[str, StoredTensor]:
    """The tensors in order; their places must follow each other from the first byte of `data` to the last."""
    described = [(*_checked(name, value), name) for name, value in header.items()]
    end = 0
    tensors: dict[str, StoredTensor] = {}
    for begin, stop, dtype, shape, name in sorted(described):
        require(begin == end, f"has a gap or an overlap before tensor {quoted(name)}")
        require(stop <= len(data), f"ends before tensor {quoted(name)} does")
        tensors[name] = StoredTensor(dtype, shape, data[begin:stop])
        end = stop
    require(end == len(data), f"has {len(data) - end:,} bytes behind its last tensor")
    return tensors


def _checked(name: str, value: Any) -> tuple[int, int, str, tuple[int, ...]]:
    """Begin, end, type and shape of one tensor, in agreement with each other."""
    called = f"tensor {quoted(name)}"
    require(
        isinstance(value, dict) and value.keys() == {"dtype", "shape", "data_offsets"},
        f"has no description of {called} as safetensors has them",
    )
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    require(
        isinstance(dtype, str) and dtype in DTYPES,
        f"has {called} of type {quoted(dtype)}; there are {', '.join(DTYPES)}",
    )
    require(_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2, f"has impossible sizes for {called}")
    check_shape(shape, called)
    expected = math.prod(shape) * DTYPES[dtype].itemsize
    require(
        offsets[1] - offsets[0] == expected,
        f"gives {called} {offsets[1] - offsets[0]:,} bytes where its shape takes {expected:,}",
    )
    return offsets[0], offsets[1], dtype, tuple(shape)


def check_shape(shape: list[int] | tuple[int, ...], called: str) -> None:
    """Refuse more sizes, or larger ones, than an array can have."""
    require(len(shape) <= MAX_DIMENSIONS, f"has more than {MAX_DIMENSIONS} sizes for {called}")
    require(math.prod(size or 1 for size in shape) <= MAX_VALUES, f"has impossible sizes for {called}")


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
