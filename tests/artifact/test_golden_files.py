"""Files written once are read for ever; the layout is pinned byte by byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from frugalseg.artifact import (
    FORMAT,
    Artifact,
    Member,
    artifact_bytes,
    measure_artifact,
    parse_artifact,
    read_artifact,
    read_sizes,
)
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.quant.spec import METHODS, level_table
from frugalseg.quant.tensors import ChannelLayout, QuantizedTensor

from .builders import assert_same, content_of, document_of

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.fseg"))


def test_the_golden_files_are_there_and_small() -> None:
    names = {path.name for path in GOLDEN}
    assert {
        f"v{number}_{name}.fseg" for number in range(1, FORMAT + 1) for name in ("methods", "codings", "ensemble")
    } <= names
    assert all(path.stat().st_size < 20_000 for path in GOLDEN)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_file_gives_what_was_put_into_it(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    content = content_of(read_artifact(path))
    for key in ("instances", "quantization"):  # what later versions added has its default
        content["card"][key] = {name: content["card"][key][name] for name in expected["card"][key]}
    for key in {"familiarity", "stain"} - {*expected["card"]}:
        assert content["card"].pop(key) is None
    assert content == expected
    sizes = read_sizes(path)
    assert (
        sum(tensor.stored_bytes for tensor in sizes.tensors) + sizes.header_bytes + sizes.graph_bytes
        == sizes.file_bytes
    )


def test_the_golden_files_hold_every_method_coding_and_layout() -> None:
    members = [member for path in GOLDEN for member in document_of(path.read_bytes())["members"]]
    weights = [weight for member in members for weight in member["weights"]]
    every = {(name, bits) for name, rules in METHODS.items() for bits in range(rules.min_bits, rules.max_bits + 1)}
    stored = {(weight["levels"], weight["bits"]) for weight in weights}
    assert every <= stored
    assert any(levels == "stored" for levels, _ in stored)
    assert {(weight["coding"], weight.get("per_byte")) for weight in weights} >= {
        ("plain", None),
        ("zstd", 1),
        ("zstd", 5),
    }
    assert {tuple(weight["axes"]) for weight in weights} >= {(), (0,), (1,), (0, 2)}


# The whole of the smallest file, as docs/format.md describes it, written out by hand.
CARD = ModelCard("fcn", ("gland",), 1.0, None, 60.0, InstanceSettings(0.5, 1.0, 0.5, 8.0, 0.0))
WEIGHT = QuantizedTensor(
    bits=3,
    codes=np.array([[1, 2], [4, 0]], dtype=np.uint8),
    levels=level_table("inq", 3),
    scale=np.array([0.5], dtype=np.float32),
    layout=ChannelLayout.of((2, 2), "layer"),
)
SMALLEST = Artifact(
    card=CARD,
    stride=8,
    halo_px=16,
    licence="CC0-1.0",
    members=(Member({"w": WEIGHT}, {"b": np.array([-0.0, 1.5], dtype=np.float32)}),),
    graph=b"ONNX",
)
DOCUMENT = (
    '{"class_names":["gland"],"familiarity":null,"format":6,"graph":"plain","halo_px":16,'
    '"instances":{"border_weight":1.0,"core_threshold":0.5,"fragment_area":0.0,"fragment_edge":0.0,"min_area":8.0,"min_confidence":0.0,"opening_radius":0.0,"rejector":null,"threshold":0.5},'
    '"licence":"CC0-1.0",'
    '"members":[{"activations":{},"weights":[{"axes":[],"bits":3,"coding":"plain","levels":"inq","name":"w",'
    '"shape":[2,2],"view":[2,2]}]}],'
    '"net":"fcn","normalisation":{"divisor":128.0,"mean":127.0},"object_diameter_px":60.0,"pixel_size_um":null,'
    '"provenance":{},"quantization":null,"scale":1.0,"stain":null,"stride":8}'
)
HEADER = (
    '{"0/b":{"data_offsets":[4,12],"dtype":"F32","shape":[2]},'
    '"0/w#codes":{"data_offsets":[12,14],"dtype":"U8","shape":[2]},'
    '"0/w#scale":{"data_offsets":[0,4],"dtype":"F32","shape":[1]},'
    '"__metadata__":{"frugalseg":"' + DOCUMENT.replace('"', '\\"') + '","sha256":"DIGEST"},'
    '"graph":{"data_offsets":[14,18],"dtype":"U8","shape":[4]}}'
)
DIGEST = "8cf36330e366f4c32766d6b68ae53f8a1a1972a2a873e3fef91ef4c253953aa1"
DATA = (
    b"\x00\x00\x00\x3f"  # the scale, 0.5
    b"\x00\x00\x00\x80\x00\x00\xc0\x3f"  # b: -0.0, 1.5
    b"\x11\x01"  # codes 1, 2, 4, 0 of three bits: 0b000_100_010_001
    b"ONNX"
)


def smallest(digest: str) -> bytes:
    header = HEADER.replace("DIGEST", digest).encode() + 6 * b" "  # to a multiple of eight
    return b"\x10\x04\x00\x00\x00\x00\x00\x00" + header + DATA


def test_the_smallest_file_byte_by_byte() -> None:
    assert hashlib.sha256(smallest("0" * 64)).hexdigest() == DIGEST
    assert artifact_bytes(SMALLEST, "x") == smallest(DIGEST)
    assert_same(parse_artifact(smallest(DIGEST), "x"), SMALLEST)


def test_the_sizes_of_the_smallest_file_as_counted_by_hand() -> None:
    sizes = measure_artifact(smallest(DIGEST), "x")
    assert (sizes.file_bytes, sizes.header_bytes, sizes.graph_bytes) == (1066, 8 + 0x410, 4)
    assert sizes.n_values == 6
    codes, floats = sizes.tensors
    assert (codes.member, codes.name, codes.shape, codes.n_values, codes.bits) == (0, "w", (2, 2), 4, 3)
    assert (codes.coding, codes.levels, codes.stored_bytes, codes.plain_bytes) == ("plain", "inq", 6, 6)
    assert codes.entropy == 2
    assert codes.float32_bytes == 16
    assert (floats.name, floats.bits, floats.coding, floats.stored_bytes, floats.entropy) == ("b", None, "F32", 8, None)
    assert sizes.ratio_to_float32 == 24 / 1066


def test_the_sizes_of_compressed_codes_name_what_was_saved() -> None:
    sizes = {tensor.name: tensor for tensor in read_sizes(GOLDEN[0].with_name("v1_codings.fseg")).tensors}
    ternary = sizes["ternary"]
    assert (ternary.coding, ternary.levels, ternary.plain_bytes) == ("zstd", "twn", 4 + (2 * 602 + 7) // 8)
    assert ternary.entropy is not None
    assert ternary.entropy * 602 / 8 < ternary.stored_bytes < ternary.plain_bytes
    assert sizes["own"].levels == "stored"
    assert sizes["empty"].stored_bytes == 4
