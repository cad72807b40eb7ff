"""What is written comes back, bit for bit, whatever it is."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frugalseg.artifact import Artifact, Member, artifact_bytes, parse_artifact, read_artifact, write_artifact
from frugalseg.artifact.coding import CodeSpace, Zstd, encode
from frugalseg.artifact.document import _FRAGMENTS, _INSTANCES, _KEYS, _OPENING, _SINCE
from frugalseg.errors import InputError
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.quant.spec import METHODS, level_table
from frugalseg.quant.tensors import ChannelLayout, QuantizedTensor

from .builders import artifact, assert_same, card, document_of, every_method, float_tensors, tiny, weight


def round_trip(packed: Artifact) -> Artifact:
    return parse_artifact(artifact_bytes(packed, "x"), "x")


def test_every_method_layout_and_odd_float_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    made = artifact(Member(every_method(rng), float_tensors(rng), {"a": (-1.0, 2.0)}), graph=bytes(range(256)) * 40)
    path = tmp_path / "m.fseg"
    assert write_artifact(path, made) == path.stat().st_size
    assert_same(made, read_artifact(path))


def test_several_members_with_their_own_quantizers(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    floats = float_tensors(rng)
    members = [
        Member({"w": weight("inq", 5, (8, 3, 3, 3), rng)}, floats, {"x": (0.0, 1.0)}),
        Member({"w": weight("lsq", 2, (8, 3, 3, 3), rng, "channel")}, floats),
        Member({}, {**floats, "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float16)}),
    ]
    made = artifact(*members, graph=b"")
    assert_same(made, round_trip(made))


def test_the_same_model_gives_the_same_bytes_and_reading_it_leads_back_to_them() -> None:
    content = artifact_bytes(tiny(), "x")
    assert artifact_bytes(tiny(), "x") == content
    assert artifact_bytes(parse_artifact(content, "x"), "x") == content


def test_what_was_read_shares_the_files_bytes_and_cannot_be_written_to() -> None:
    member = round_trip(tiny()).members[0]
    with pytest.raises(ValueError, match="read-only"):
        member.floats["a.bias"][0] = 1
    assert "a.weight" in member.quantized
    assert "b.bias" not in member.quantized
    assert len(member.quantized) == 3
    assert member.quantized["a.weight"] is not member.quantized["a.weight"]
    with pytest.raises(KeyError):
        member.quantized["b.bias"]


@st.composite
def weights(draw: st.DrawFn) -> QuantizedTensor:
    """Any shape, scalars and empty ones included; a method's levels or others; any layout and bits of the scales."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1))))) if shape else ()
    layout = ChannelLayout(shape, shape, axes)
    method = draw(st.sampled_from([*METHODS, None]))
    if method is None:
        bits = draw(st.integers(1, 9))
        real = st.floats(width=32, allow_nan=False, allow_infinity=False)
        values = draw(st.lists(real, min_size=1, max_size=min(2**bits, 40), unique=True))
        levels = np.array(sorted(values), dtype=np.float32)
    else:
        rules = METHODS[method]
        bits = draw(st.integers(rules.min_bits, rules.max_bits))
        levels = level_table(method, bits)
    codes = draw(hnp.arrays(np.uint16 if bits > 8 else np.uint8, shape, elements=st.integers(0, len(levels) - 1)))
    any_bits = hnp.arrays(np.uint32, layout.n_groups, elements=st.integers(0, 2**32 - 1))
    negative = draw(st.none() | any_bits)
    return QuantizedTensor(
        bits, codes, levels, draw(any_bits).view(np.float32), layout, None if negative is None else negative.view("f4")
    )


NAMES = st.from_regex(r"[A-Za-z0-9_.:-]{1,12}", fullmatch=True).filter(lambda name: name not in (".", ".."))
FREE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    quantized=st.dictionaries(NAMES, weights(), max_size=3),
    floats=st.dictionaries(
        NAMES,
        hnp.arrays(np.uint32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)).map(
            lambda bits: bits.view(np.float32)
        )
        | hnp.arrays(np.uint16, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)).map(
            lambda bits: bits.view(np.float16)
        ),
        max_size=3,
    ),
    n_members=st.integers(1, 3),
    graph=st.none() | st.binary(max_size=60) | st.integers(0, 5000).map(bytes),
    provenance=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), FREE, max_size=3),
    ranges=st.dictionaries(NAMES, st.tuples(st.floats(-9, 0), st.floats(0, 9)), max_size=2),
)
def test_anything_comes_back(
    quantized: dict[str, QuantizedTensor],
    floats: dict[str, Any],
    n_members: int,
    graph: bytes | None,
    provenance: dict[str, Any],
    ranges: dict[str, tuple[float, float]],
) -> None:
    plain = {name: array for name, array in floats.items() if name not in quantized}
    made = artifact(*[Member(quantized, plain, ranges)] * n_members, graph=graph, provenance=provenance)
    assert_same(made, round_trip(made))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), n_levels=st.integers(1, 512), n_codes=st.integers(1, 70))
def test_every_number_of_codes_in_a_byte_comes_back(data: st.DataObject, n_levels: int, n_codes: int) -> None:
    bits = max(1, math.ceil(math.log2(n_levels)))
    space = CodeSpace(bits, n_levels, n_codes)
    codes = data.draw(hnp.arrays(np.uint16 if bits > 8 else np.uint8, n_codes, elements=st.integers(0, n_levels - 1)))
    for per_byte in range(1, space.max_per_byte + 1):
        frame = Zstd(per_byte).encode(codes, space)
        if frame is None:
            continue
        Zstd(per_byte).check(memoryview(frame), space)
        back = Zstd(per_byte).decode(memoryview(frame), space)
        assert back.dtype == codes.dtype
        assert np.array_equal(back, codes)


@pytest.mark.parametrize(
    ("n_levels", "expected"),
    [(1, 8), (2, 8), (3, 5), (4, 4), (5, 3), (6, 3), (7, 2), (16, 2), (17, 1), (256, 1), (257, 1)],
)
def test_codes_in_a_byte_as_counted_by_hand(n_levels: int, expected: int) -> None:
    assert CodeSpace(9, n_levels, 1).max_per_byte == expected


def test_five_ternary_codes_in_a_byte_as_written_by_hand() -> None:
    # 2·1 + 0·3 + 1·9 + 2·27 + 2·81 = 227, then 1·1 + 2·3 = 7
    content = Zstd(5)._content(np.array([2, 0, 1, 2, 2, 1, 2], dtype=np.uint8), CodeSpace(2, 3, 7))
    assert content.tolist() == [227, 7]


def test_two_bytes_a_code_beyond_256_levels_as_written_by_hand() -> None:
    content = Zstd(1)._content(np.array([256, 1, 255, 256], dtype=np.uint16), CodeSpace(9, 257, 4))
    assert content.tolist() == [0, 1, 255, 0, 1, 0, 0, 1]


def test_likely_codes_are_compressed_and_even_ones_are_not() -> None:
    rng = np.random.default_rng(3)
    even = rng.integers(0, 16, 50_000, dtype=np.uint8)
    likely = rng.binomial(16, 0.5, 50_000).astype(np.uint8)
    assert encode(even, CodeSpace(4, 16, even.size))[0].name == "plain"
    assert encode(likely, CodeSpace(5, 17, likely.size))[0] == Zstd(1)
    ternary = rng.binomial(2, 0.5, 50_000).astype(np.uint8)
    coding, data = encode(ternary, CodeSpace(2, 3, ternary.size))
    assert coding == Zstd(5)
    assert len(data) * 8 / ternary.size < 1.5 * 1.02  # its entropy is 1.5 bits


def test_codes_that_shrink_beyond_the_readers_limit_are_stored_plain() -> None:
    zeros = QuantizedTensor(
        2, np.zeros(10**6, np.uint8), level_table("twn", 2), np.ones(1, np.float32), ChannelLayout.of((10**6,), "layer")
    )
    made = artifact(Member({"w": zeros}, {}))
    content = artifact_bytes(made, "x")
    assert document_of(content)["members"][0]["weights"][0]["coding"] == "plain"
    assert_same(made, parse_artifact(content, "x"))


def test_other_programs_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.fseg"
    made = tiny()
    write_artifact(path, made)
    with safetensors.safe_open(path, framework="np") as opened:
        assert set(opened.metadata()) == {"frugalseg", "sha256"}
        assert np.array_equal(opened.get_tensor("0/a.bias"), made.members[0].floats["a.bias"])
        assert opened.get_tensor("0/b.bias").dtype == np.float16
        assert opened.get_tensor("0/a.weight#codes").dtype == np.uint8
        assert np.array_equal(opened.get_tensor("0/a.weight#scale"), made.members[0].quantized["a.weight"].scale)


def test_reading_a_model_imports_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "m.fseg"
    write_artifact(path, tiny())
    program = """if True:
        import sys
        from pathlib import Path
        from frugalseg.artifact import read_artifact
        weights = read_artifact(Path(sys.argv[1])).members[0].quantized
        assert sum(weight.dequantize().size for weight in weights.values()) == 318
        assert not {"torch", "ray"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=120)


def test_float_tensors_lie_aligned() -> None:
    rng = np.random.default_rng(4)
    content = artifact_bytes(artifact(Member({"w": weight("inq", 3, (3, 3), rng)}, float_tensors(rng))), "x")
    for array in parse_artifact(content, "x").members[0].floats.values():
        assert array.flags.aligned


def test_the_format_lists_every_field_of_what_it_stores() -> None:
    """A field added to a card or to the instance settings needs a decision: it would be lost, or break old files."""
    settings = {field.name for field in dataclasses.fields(InstanceSettings)}
    assert {*_INSTANCES, *_FRAGMENTS, *_OPENING, "rejector"} == settings
    in_card = {field.name for field in dataclasses.fields(ModelCard)}
    rest = {"format", "normalisation", "stride", "halo_px", "licence", "provenance", "graph", "members"}
    assert {*_KEYS, *_SINCE} == in_card | rest
    assert {field.name for field in dataclasses.fields(Artifact)} - {"card", "mean", "divisor"} == rest - {
        "format",
        "normalisation",
    }


BAD_FLOATS = {"w": np.zeros(2, dtype=np.float64)}
LONE = "\ud800"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"members": ()}, "no members"),
        ({"members": (Member({}, BAD_FLOATS),)}, "float64"),  # type: ignore[dict-item]
        ({"members": (Member({}, {"w": np.zeros(2, "f4")}), Member({}, {"w": np.zeros(3, "f4")}))}, "member 1"),
        ({"members": (Member({}, {"../w": np.zeros(2, "f4")}),)}, "cannot be a tensor's name"),
        ({"members": (Member({}, {"w#scale": np.zeros(2, "f4")}),)}, "nothing describes"),
        ({"members": (Member({}, {}, {"x": (math.nan, 1.0)}),)}, "cannot be written as JSON"),
        ({"members": (Member({}, {}, {"x": (2.0, 1.0)}),)}, "ends before it begins"),
        ({"provenance": {"x": math.inf}}, "cannot be written as JSON"),
        ({"provenance": {"x": b"bytes"}}, "cannot be written as JSON"),
        ({"provenance": {"x": 2**70}}, "number that is too large"),
        ({"provenance": {"x": LONE}}, "not Unicode"),
        ({"licence": ""}, "licence"),
        ({"stride": 0}, "stride"),
        ({"halo_px": -1}, "halo_px"),
        ({"divisor": 0.0}, "divisor"),
        ({"card": dataclasses.replace(card(), class_names=("a", "a"))}, "same name"),
        ({"card": dataclasses.replace(card(), class_names=("a\nb",))}, "printable"),
        ({"card": dataclasses.replace(card(), net="../lite")}, "net"),
        ({"card": dataclasses.replace(card(), scale=1e300)}, "scale"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "m.fseg"
    path.write_bytes(b"what was there")
    with pytest.raises(InputError, match=reason) as caught:
        write_artifact(path, dataclasses.replace(tiny(), **changes))
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]
