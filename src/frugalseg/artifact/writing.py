"""From a packed model to the bytes of a file; what was written is read again before it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.artifact import container
from frugalseg.artifact.coding import CodeSpace, compress, encode
from frugalseg.artifact.document import Document, MemberEntry, WeightEntry, format_document
from frugalseg.artifact.faults import FormatError, quoted, require
from frugalseg.artifact.model import Artifact, Member
from frugalseg.artifact.reading import GRAPH, open_content
from frugalseg.atomic import write_bytes
from frugalseg.errors import InputError
from frugalseg.quant.spec import METHODS, Method, level_table
from frugalseg.quant.tensors import QuantizedTensor

_FLOATS = (np.dtype("<f4"), np.dtype("<f2"))


def write_artifact(path: Path, artifact: Artifact) -> int:
    """Write a packed model atomically; gives the file's size in bytes.

    The same model gives the same bytes with the same version of the ``zstandard`` package.

    Raises
    ------
    InputError
        `artifact` holds what the format cannot; nothing is written.
    OSError
        What the system refused.
    """
    content = artifact_bytes(artifact, str(path))
    write_bytes(path, content)
    return len(content)


def artifact_bytes(artifact: Artifact, name: str) -> bytes:
    """The bytes of a packed model's file; errors call it `name`.

    They are checked by the reader before they are given out: one place judges what the format allows.

    Raises
    ------
    InputError
        As :func:`write_artifact`.
    """
    try:
        content = _build(artifact)
    except FormatError as fault:
        raise InputError(name, str(fault)) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(name, f"has a description that cannot be written as JSON ({error})") from None
    open_content(content, name)
    return content


def _build(artifact: Artifact) -> bytes:
    tensors: dict[str, NDArray[Any]] = {}
    spec = artifact.card.quantization
    methods = list(METHODS) if spec is None else [spec.method, *METHODS]
    members = tuple(_add_member(tensors, index, member, methods) for index, member in enumerate(artifact.members))
    document = Document(
        card=artifact.card,
        stride=artifact.stride,
        halo_px=artifact.halo_px,
        licence=artifact.licence,
        provenance=artifact.provenance,
        mean=artifact.mean,
        divisor=artifact.divisor,
        graph=_add_graph(tensors, artifact.graph),
        members=members,
    )
    return container.build_container(format_document(document), tensors)


def _add_graph(tensors: dict[str, NDArray[Any]], graph: bytes | None) -> str | None:
    """Store the graph compressed where that is possible and saves anything."""
    if graph is None:
        return None
    frame = compress(graph)
    smaller = frame is not None and len(frame) < len(graph)
    tensors[GRAPH] = np.frombuffer(frame if smaller and frame is not None else graph, dtype=np.uint8)
    return "zstd" if smaller else "plain"


def _add_member(tensors: dict[str, NDArray[Any]], index: int, member: Member, methods: Sequence[Method]) -> MemberEntry:
    weights = tuple(_add_weight(tensors, index, name, weight, methods) for name, weight in member.quantized.items())
    for name, array in member.floats.items():
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        require(
            little.dtype in _FLOATS, f"has tensor {quoted(name)} of type {array.dtype}; float32 and float16 are stored"
        )
        require(name not in member.quantized, f"has weight {quoted(name)} both as codes and as floats")
        tensors[f"{index}/{name}"] = little
    ranges = {name: (float(low), float(high)) for name, (low, high) in member.activations.items()}
    return MemberEntry(weights, ranges)


def _add_weight(
    tensors: dict[str, NDArray[Any]], index: int, name: str, weight: QuantizedTensor, methods: Sequence[Method]
) -> WeightEntry:
    """Add one weight's stored tensors and describe them."""
    called = f"{index}/{name}"
    space = CodeSpace(weight.bits, len(weight.levels), weight.codes.size)
    coding, data = encode(weight.codes.reshape(-1), space)
    method = _method(weight, methods)
    rows: dict[str, NDArray[np.float32] | None] = {
        "scale": weight.scale,
        "negative_scale": weight.negative_scale,
        "levels": weight.levels if method is None else None,
    }
    for role, row in rows.items():
        if row is not None:
            require(row.dtype == np.float32, f"has {role} of weight {quoted(called)} of type {row.dtype}")
            tensors[f"{called}#{role}"] = row.astype("<f4", copy=False)
    tensors[f"{called}#codes"] = np.frombuffer(data, dtype=np.uint8)
    return WeightEntry(name, space, weight.layout, method, coding)


def _method(weight: QuantizedTensor, methods: Sequence[Method]) -> Method | None:
    """The first of `methods` whose level table is that of `weight`, to the bit; None where there is none."""
    for method in methods:
        rules = METHODS[method]
        if rules.min_bits <= weight.bits <= rules.max_bits:
            table = level_table(method, weight.bits)
            if weight.levels.dtype == table.dtype and weight.levels.tobytes() == table.tobytes():
                return method
    return None
