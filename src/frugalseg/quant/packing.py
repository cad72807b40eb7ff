"""Codes of 1 to 9 bits packed without gaps, and the entropy they hold; without torch.

Code *i* takes bits ``i*b`` to ``i*b + b - 1`` of the stream, its lowest bit first; bit *j* of the stream is bit
``j % 8`` of byte ``j // 8``, bit 0 being the lowest. So n codes take exactly ``ceil(n*b/8)`` bytes, and what is left of
the last byte is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from frugalseg.quant.tensors import Codes

MAX_BITS = 9
_BLOCK = 1 << 16
"""Groups of eight codes handled at once: bounds the memory that packing needs beside codes and bytes."""


def packed_size(n_codes: int, bits: int) -> int:
    """Bytes that `n_codes` codes of `bits` bits take."""
    return (n_codes * bits + 7) // 8


def pack_codes(codes: Codes, bits: int) -> bytes:
    """Pack codes of any shape, in C order.

    Raises
    ------
    ValueError
        A code does not fit into `bits` bits, or `bits` is not 1 to 9.

    Examples
    --------
    >>> pack_codes(np.array([1, 2, 3], dtype=np.uint8), 3).hex()
    'd100'
    """
    _check_bits(bits)
    flat = np.ascontiguousarray(codes).reshape(-1)
    if flat.size and int(flat.max()) >> bits:
        raise ValueError(f"a code of {int(flat.max())} does not fit into {bits} bits")
    # eight codes fill `bits` bytes exactly, so that groups of eight begin on byte borders
    n_groups = -(-flat.size // 8)
    packed = np.zeros((n_groups, bits), dtype=np.uint8)
    for start in range(0, n_groups, _BLOCK):
        part = flat[8 * start : 8 * (start + _BLOCK)]
        group = np.zeros((-(-part.size // 8), 8), dtype=np.uint16)
        group.reshape(-1)[: part.size] = part
        target = packed[start : start + _BLOCK]
        for place in range(8):
            byte, shift = divmod(place * bits, 8)
            shifted = group[:, place] << shift  # at most 9 + 7 = 16 bits
            target[:, byte] |= (shifted & 0xFF).astype(np.uint8)
            if shift + bits > 8:
                target[:, byte + 1] |= (shifted >> 8).astype(np.uint8)
    return packed.reshape(-1)[: packed_size(flat.size, bits)].tobytes()


def unpack_codes(data: bytes | memoryview, bits: int, n_codes: int) -> Codes:
    """The `n_codes` codes that :func:`pack_codes` packed; one-dimensional, ``uint16`` for 9 bits, else ``uint8``.

    Raises
    ------
    ValueError
        `data` has not the length it should have, or bits behind the last code are set.
    """
    _check_bits(bits)
    if n_codes < 0 or len(data) != packed_size(n_codes, bits):
        raise ValueError(f"{n_codes} codes of {bits} bits take {packed_size(n_codes, bits)} bytes, not {len(data)}")
    raw = np.frombuffer(data, dtype=np.uint8)
    used = n_codes * bits % 8
    if used and int(raw[-1]) >> used:
        raise ValueError("bits behind the last code are set")
    n_groups = -(-n_codes // 8)
    codes = empty_codes((n_groups, 8), bits)
    for start in range(0, n_groups, _BLOCK):
        part = raw[start * bits : (start + _BLOCK) * bits]
        group = np.zeros((-(-part.size // bits), bits), dtype=np.uint16)
        group.reshape(-1)[: part.size] = part
        for place in range(8):
            byte, shift = divmod(place * bits, 8)
            value = group[:, byte] >> shift
            if shift + bits > 8:
                value = value | (group[:, byte + 1] << (8 - shift))
            codes[start : start + _BLOCK, place] = value & (2**bits - 1)
    return codes.reshape(-1)[:n_codes]


def empty_codes(shape: tuple[int, ...], bits: int) -> Codes:
    """An uninitialised array for codes of `bits` bits."""
    return np.empty(shape, dtype=np.uint16) if bits > 8 else np.empty(shape, dtype=np.uint8)


def code_entropy(codes: Codes) -> float:
    """Shannon entropy of the codes' histogram, bits a code: what an ideal entropy coder without context needs.

    0 for no codes.
    """
    if not codes.size:
        return 0.0
    counts: NDArray[np.int64] = np.bincount(codes.reshape(-1))
    shares = counts[counts > 0] / codes.size
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # one level: 0, not -0


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"codes have 1 to {MAX_BITS} bits, not {bits}")
