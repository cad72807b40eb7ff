"""Packed models for the tests, and packed files put together by hand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.artifact import Artifact, Member
from frugalseg.artifact.model import FloatTensor
from frugalseg.familiarity import N_FEATURES, Familiarity
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.quant.spec import METHODS, Granularity, Method, QuantSpec, level_table
from frugalseg.quant.tensors import ChannelLayout, Codes, QuantizedTensor
from frugalseg.rejector import Rejector
from frugalseg.stain import Stain

DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')


def card() -> ModelCard:
    return ModelCard(
        net="lite",
        class_names=("gland", "Drüse, bösartig"),
        scale=0.5,
        pixel_size_um=0.62,
        object_diameter_px=130.25,
        instances=InstanceSettings(
            threshold=0.4,
            border_weight=0.75,
            core_threshold=0.6,
            min_area=20,
            min_confidence=0.25,
            fragment_area=150.5,
            fragment_edge=0.3,
            opening_radius=2.5,
            rejector=Rejector((0.5, -1.0, 8.0, 0.25, -3.0, 2.0, 1.5), -6.5, 0.45),
        ),
        quantization=QuantSpec("inq", 5, float_layers=("head.*",)),
        familiarity=familiarity(),
        stain=Stain((-0.5, 0.25, -1.0), (0.5, 0.625, 0.75)),
    )


def familiarity() -> Familiarity:
    """Invented training images: no two numbers go together, the threshold is twice the usual distance."""
    identity = tuple(tuple(float(row == column) for column in range(N_FEATURES)) for row in range(N_FEATURES))
    mean = tuple(0.125 * place for place in range(N_FEATURES))
    return Familiarity(mean, (0.5,) * N_FEATURES, identity, 2.0)


def artifact(*members: Member, **changes: Any) -> Artifact:
    """A packed model with these members; other fields as given or usual."""
    fields: dict[str, Any] = {
        "card": card(),
        "stride": 32,
        "halo_px": 96,
        "licence": "CC-BY-4.0",
        "members": members,
        "provenance": {"command": ["frugalseg", "train"], "seed": 3, "loss": 0.125, "nested": {"é": None}},
    }
    return Artifact(**{**fields, **changes})


def weight(
    method: Method,
    bits: int,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    granularity: Granularity = "layer",
    **layout: Any,
) -> QuantizedTensor:
    """Random codes, those near the middle being likelier, and random scales."""
    levels = level_table(method, bits)
    place = rng.normal(len(levels) / 2, len(levels) / 8, size=shape).clip(0, len(levels) - 1)
    codes: Codes = np.asarray(place).astype(np.uint16 if bits > 8 else np.uint8)
    arranged = ChannelLayout.of(shape, granularity, **layout)
    scales = rng.uniform(0.1, 2, size=(2, arranged.n_groups)).astype(np.float32)
    return QuantizedTensor(bits, codes, levels, scales[0], arranged, scales[1] if method == "ttq" else None)


def every_method(rng: np.random.Generator) -> dict[str, QuantizedTensor]:
    """A weight for each method and bit width, layouts in turn."""
    layouts: tuple[dict[str, Any], ...] = (
        {"granularity": "layer"},
        {"granularity": "channel"},
        {"granularity": "channel", "transposed": True},
        {"granularity": "channel", "transposed": True, "groups": 2},
    )
    kinds = [(method, bits) for method, rules in METHODS.items() for bits in range(rules.min_bits, rules.max_bits + 1)]
    return {
        f"{method}{bits}.weight": weight(method, bits, (4, 3, 5, 3), rng, **layouts[index % len(layouts)])
        for index, (method, bits) in enumerate(kinds)
    }


def float_tensors(rng: np.random.Generator) -> dict[str, FloatTensor]:
    """Floats that arithmetic would change: negative zero, NaN with payloads, infinities, subnormals."""
    words = np.array([0x80000000, 0x7FC00001, 0xFFA12345, 0x7F800000, 0xFF800000, 1], dtype=np.uint32)
    halves = np.array([0x8000, 0x7E01, 0xFD23, 0x7C00, 1], dtype=np.uint16)
    return {
        "odd": words.view(np.float32),
        "odd.half": halves.view(np.float16),
        "bias": rng.standard_normal(7).astype(np.float32),
        "one": np.array(1.5, dtype=np.float32),
        "none": np.zeros((0, 3), dtype=np.float32),
        "grid": rng.standard_normal((2, 3, 4)).astype(np.float32).transpose(2, 0, 1),
    }


def tiny() -> Artifact:
    """The smallest model that has something of everything."""
    rng = np.random.default_rng(0)
    levels = np.array([-1.5, -0.25, 0.25, 1.0], dtype=np.float32)
    shape = (2, 1, 2, 3)
    own = QuantizedTensor(
        bits=2,
        codes=rng.integers(0, 4, shape, dtype=np.uint8),
        levels=levels,
        scale=np.array([0.5, 2.0], dtype=np.float32),
        layout=ChannelLayout.of(shape, "channel"),
    )
    crowded = np.zeros(300, dtype=np.uint8)
    crowded[::7] = 1
    member = Member(
        quantized={
            "a.weight": own,
            "b.weight": weight("ttq", 2, (3, 2, 1, 1), rng),
            "c.weight": QuantizedTensor(
                2, crowded, level_table("twn", 2), np.ones(1, np.float32), ChannelLayout.of((300,), "layer")
            ),
        },
        floats={"a.bias": np.array([0.5, -0.0], dtype=np.float32), "b.bias": np.array([1.5], dtype=np.float16)},
        activations={"/a/Relu_output_0": (0.0, 3.5)},
    )
    return artifact(member, graph=b"onnx" * 12, provenance={"seed": 1})


def identical(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Same type, shape and bits."""
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def assert_same(left: Artifact, right: Artifact) -> None:
    """Two packed models are the same, tensors bit for bit and in the same order within their kind."""
    for name in ("card", "stride", "halo_px", "licence", "graph", "mean", "divisor"):
        assert getattr(left, name) == getattr(right, name), name
    assert dict(left.provenance) == dict(right.provenance)
    assert len(left.members) == len(right.members)
    for one, other in zip(left.members, right.members, strict=True):
        assert dict(one.activations) == dict(other.activations)
        assert list(one.quantized) == list(other.quantized)
        assert set(one.floats) == set(other.floats)
        for name in one.floats:
            assert identical(one.floats[name], other.floats[name]), name
        for name in one.quantized:
            assert_same_weight(one.quantized[name], other.quantized[name])


def assert_same_weight(one: QuantizedTensor, other: QuantizedTensor) -> None:
    assert one.bits == other.bits
    assert one.layout == other.layout
    assert identical(one.codes, other.codes)
    assert identical(one.levels, other.levels)
    assert identical(one.scale, other.scale)
    assert (one.negative_scale is None) == (other.negative_scale is None)
    if one.negative_scale is not None and other.negative_scale is not None:
        assert identical(one.negative_scale, other.negative_scale)
    with np.errstate(all="ignore"):
        assert identical(one.dequantize(), other.dequantize())


def content_of(packed_model: Artifact) -> dict[str, Any]:
    """All of a packed model as JSON, arrays as their types, shapes and bytes: what golden files are compared with."""
    return {
        "card": json.loads(json.dumps(dataclasses.asdict(packed_model.card))),
        **{name: getattr(packed_model, name) for name in ("stride", "halo_px", "licence", "mean", "divisor")},
        "provenance": dict(packed_model.provenance),
        "graph": None if packed_model.graph is None else packed_model.graph.hex(),
        "members": [
            {
                "floats": {name: array_content(array) for name, array in member.floats.items()},
                "quantized": {name: weight_content(tensor) for name, tensor in member.quantized.items()},
                "activations": {name: list(limits) for name, limits in member.activations.items()},
            }
            for member in packed_model.members
        ],
    }


def weight_content(tensor: QuantizedTensor) -> dict[str, Any]:
    with np.errstate(all="ignore"):
        values = tensor.dequantize()
    return {
        "bits": tensor.bits,
        "layout": {key: list(value) for key, value in dataclasses.asdict(tensor.layout).items()},
        **{key: array_content(getattr(tensor, key)) for key in ("codes", "levels", "scale", "negative_scale")},
        "values": array_content(values),
    }


def array_content(array: NDArray[Any] | None) -> list[Any] | None:
    if array is None:
        return None
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return [array.dtype.name, list(array.shape), little.tobytes().hex()]


def header_of(content: bytes) -> dict[str, Any]:
    """The JSON header of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header


def document_of(content: bytes) -> dict[str, Any]:
    """The description in a packed file."""
    document: dict[str, Any] = json.loads(header_of(content)["__metadata__"]["frugalseg"])
    return document


def data_of(content: bytes) -> bytes:
    """The tensors' bytes."""
    return content[8 + int.from_bytes(content[:8], "little") :]


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def packed(header: str, data: bytes) -> bytes:
    """A file with this header, padded, whose digest (if the header has one) is right."""
    line = header.encode()
    line += b" " * (-len(line) % 8)
    return redigested(len(line).to_bytes(8, "little") + line + data)


def redigested(content: bytes) -> bytes:
    """The same bytes with the digest made right, if they have one."""
    place = DIGEST.search(content)
    if place is None:
        return content
    zeroed = content[: place.start(1)] + b"0" * 64 + content[place.end(1) :]
    return content[: place.start(1)] + hashlib.sha256(zeroed).hexdigest().encode() + content[place.end(1) :]


def rebuilt(content: bytes, *, document: object = None, data: bytes | None = None, **entries: Any) -> bytes:
    """A file with another description, other bytes or other entries (None removes one), its digest made right."""
    header = header_of(content)
    if document is not None:
        header["__metadata__"]["frugalseg"] = document if isinstance(document, str) else canonical(document)
    for name, entry in entries.items():
        header[name] = entry
    header = {name: entry for name, entry in header.items() if entry is not None}
    return packed(canonical(header), data_of(content) if data is None else data)


def changed(content: bytes, **fields: Any) -> bytes:
    """A file whose description has other fields, its digest made right."""
    document: Mapping[str, Any] = document_of(content)
    return rebuilt(content, document={**document, **fields})
