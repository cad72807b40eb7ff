"""Packed codes against a slow twin made of Python's big integers; entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frugalseg.quant import code_entropy, pack_codes, packed_size, packing, unpack_codes


def packed_slowly(codes: list[int], bits: int) -> bytes:
    number = sum(code << (bits * place) for place, code in enumerate(codes))
    return number.to_bytes(math.ceil(len(codes) * bits / 8), "little")


def as_codes(values: list[int], bits: int) -> np.ndarray:
    return np.array(values, dtype=np.uint16 if bits > 8 else np.uint8)


@st.composite
def code_lists(draw: st.DrawFn) -> tuple[list[int], int]:
    bits = draw(st.integers(1, 9))
    return draw(st.lists(st.integers(0, 2**bits - 1), max_size=70)), bits


@given(code_lists())
def test_bytes_are_those_of_the_slow_twin_and_come_back(case: tuple[list[int], int]) -> None:
    values, bits = case
    data = pack_codes(as_codes(values, bits), bits)
    assert data == packed_slowly(values, bits)
    assert len(data) == packed_size(len(values), bits) == math.ceil(len(values) * bits / 8)
    codes = unpack_codes(data, bits, len(values))
    assert codes.dtype == (np.uint16 if bits > 8 else np.uint8)
    assert codes.tolist() == values


def test_bytes_by_hand() -> None:
    # 1, 2, 3 in three bits, lowest first: 100 010 11|0 -> 0b11010001, 0b0
    assert pack_codes(as_codes([1, 2, 3], 3), 3) == bytes([0b11010001, 0])
    assert pack_codes(as_codes([0x1FF, 0, 1], 9), 9) == bytes([0xFF, 0x01, 0x04, 0x00])
    assert pack_codes(as_codes([7, 255], 8), 8) == bytes([7, 255])


@pytest.mark.parametrize("bits", [1, 5, 9])
def test_blocks_join_without_a_seam(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, 1003).tolist()
    whole = pack_codes(as_codes(values, bits), bits)
    monkeypatch.setattr(packing, "_BLOCK", 7)
    assert pack_codes(as_codes(values, bits), bits) == whole == packed_slowly(values, bits)
    assert unpack_codes(whole, bits, len(values)).tolist() == values


def test_order_is_that_of_the_indices_whatever_the_memory_layout() -> None:
    codes = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert pack_codes(np.asfortranarray(codes), 5) == pack_codes(codes.reshape(-1), 5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a code of 8 does not fit into 3 bits"):
        pack_codes(as_codes([8], 3), 3)
    for bits in (0, 10):
        with pytest.raises(ValueError, match="1 to 9 bits"):
            pack_codes(as_codes([0], 1), bits)
        with pytest.raises(ValueError, match="1 to 9 bits"):
            unpack_codes(b"", bits, 0)
    for data, n_codes in ((b"\0", 3), (b"\0\0\0", 3), (b"", -1)):
        with pytest.raises(ValueError, match="bytes, not"):
            unpack_codes(data, 3, n_codes)
    with pytest.raises(ValueError, match="behind the last code"):
        unpack_codes(b"\xd1\x02", 3, 3)


def test_entropy() -> None:
    assert code_entropy(as_codes([], 2)) == 0
    assert code_entropy(as_codes([3, 3, 3], 2)) == 0
    assert code_entropy(as_codes([0, 1, 2, 3], 2)) == 2
    assert code_entropy(np.array([[0, 0], [1, 256]], dtype=np.uint16)) == 1.5
