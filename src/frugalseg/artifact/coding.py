"""How the codes of one weight become bytes, and back.

``plain``: packed at exactly b bits (:mod:`frugalseg.quant.packing`).

``zstd``: a byte holds `per_byte` codes, the first one in the lowest digit of a number to the base of the number of
levels; a last byte that is not full has zeros for the missing codes. With more than 256 levels the low bytes of all
codes are followed by the high bytes of all. The bytes are one Zstandard frame (RFC 8878), whose entropy coder then
spends about as many bits on a code as it holds; docs/format.md has the figures, also for what is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import zstandard
from numpy.typing import NDArray

from frugalseg.artifact.faults import FormatError, require
from frugalseg.quant.packing import empty_codes, pack_codes, packed_size, unpack_codes
from frugalseg.quant.tensors import Codes

ZSTD_LEVEL = 19
MAX_CONTENT_BYTES = 16 * 2**20
MAX_RATIO = 64
"""A frame holds at most `MAX_CONTENT_BYTES`, and at most this many times its own size: what shrinks further is stored
otherwise, so that a reader's memory and time have a bound."""

MIN_SAVING = 0.01
"""Compressed only where that saves more than this share."""

_BYTE_VALUES = 256
_FRAME_START = b"\x28\xb5\x2f\xfd"
_FEW_CODES = 1 << 16
"""Up to here one code a byte may be smallest, the entropy coder's table being smaller; beyond it never was."""

_BLOCK = 1 << 19
"""Codes checked at once, a multiple of 8."""


@dataclass(frozen=True)
class CodeSpace:
    """What codes there are to store.

    Attributes
    ----------
    bits
        Bits a code takes when packed.
    n_levels
        Codes are below this.
    n_codes
        How many.
    """

    bits: int
    n_levels: int
    n_codes: int

    @property
    def max_per_byte(self) -> int:
        """The most codes, 8 at most, that a byte can hold."""
        return next((n for n in range(8, 1, -1) if self.n_levels**n <= _BYTE_VALUES), 1)


class Coding(Protocol):
    """A way to store codes."""

    def encode(self, codes: Codes, space: CodeSpace) -> bytes | None:
        """The bytes that stand for one-dimensional `codes`, or None where this way cannot store them."""

    def check(self, data: memoryview, space: CodeSpace) -> None:
        """Refuse (FormatError) bytes that do not stand for `space.n_codes` codes; in little memory."""

    def decode(self, data: memoryview, space: CodeSpace) -> Codes:
        """The codes of bytes that were checked, one-dimensional."""


@dataclass(frozen=True)
class Plain:
    """Codes packed without gaps."""

    name: ClassVar[str] = "plain"

    def encode(self, codes: Codes, space: CodeSpace) -> bytes:
        """See :class:`Coding`."""
        return pack_codes(codes, space.bits)

    def check(self, data: memoryview, space: CodeSpace) -> None:
        """See :class:`Coding`."""
        expected = packed_size(space.n_codes, space.bits)
        require(len(data) == expected, f"{len(data):,} bytes of codes where there should be {expected:,}")
        for start in range(0, space.n_codes, _BLOCK):
            n = min(_BLOCK, space.n_codes - start)
            first = start // 8 * space.bits
            try:
                codes = unpack_codes(data[first : first + packed_size(n, space.bits)], space.bits, n)
            except ValueError as error:
                raise FormatError(str(error)) from None
            _check_highest(int(codes.max()), space)

    def decode(self, data: memoryview, space: CodeSpace) -> Codes:
        """See :class:`Coding`."""
        return unpack_codes(data, space.bits, space.n_codes)


@dataclass(frozen=True)
class Zstd:
    """Codes as digits of bytes, compressed."""

    name: ClassVar[str] = "zstd"
    per_byte: int

    def encode(self, codes: Codes, space: CodeSpace) -> bytes | None:
        """See :class:`Coding`."""
        return compress(self._content(codes, space).tobytes())

    def check(self, data: memoryview, space: CodeSpace) -> None:
        """See :class:`Coding`."""
        require(1 <= self.per_byte <= space.max_per_byte, f"{self.per_byte} codes of {space.n_levels} levels in a byte")
        content = np.frombuffer(decompress(data, self._content_size(space)), dtype=np.uint8)
        if space.n_levels > _BYTE_VALUES:
            low, high = content[: space.n_codes], content[space.n_codes :]
            top = int(high.max())
            _check_highest(256 * top + int(low[high == top].max()), space)
            return
        _check_highest(int(content.max()), CodeSpace(space.bits, space.n_levels**self.per_byte, space.n_codes))
        n_last = space.n_codes % self.per_byte
        require(n_last == 0 or int(content[-1]) < space.n_levels**n_last, "codes behind the last one")

    def decode(self, data: memoryview, space: CodeSpace) -> Codes:
        """See :class:`Coding`."""
        content = np.frombuffer(decompress(data, self._content_size(space)), dtype=np.uint8)
        codes = empty_codes((space.n_codes,), space.bits)
        if space.n_levels > _BYTE_VALUES:
            codes[:] = content[: space.n_codes] + _BYTE_VALUES * content[space.n_codes :].astype(np.uint16)
            return codes
        for place in range(self.per_byte):
            target = codes[place :: self.per_byte]
            digit = np.arange(_BYTE_VALUES) // space.n_levels**place % space.n_levels
            target[:] = digit.astype(codes.dtype)[content[: len(target)]]
        return codes

    def _content_size(self, space: CodeSpace) -> int:
        if space.n_levels > _BYTE_VALUES:
            return 2 * space.n_codes
        return -(-space.n_codes // self.per_byte)

    def _content(self, codes: Codes, space: CodeSpace) -> NDArray[np.uint8]:
        if space.n_levels > _BYTE_VALUES:
            return np.concatenate([codes & 0xFF, codes >> 8]).astype(np.uint8)
        content = np.zeros(self._content_size(space), dtype=np.uint8)
        for place in range(self.per_byte):
            digit = codes[place :: self.per_byte].astype(np.uint8)
            content[: len(digit)] += digit * np.uint8(space.n_levels**place % _BYTE_VALUES)
        return content


CODINGS: dict[str, type[Plain] | type[Zstd]] = {Plain.name: Plain, Zstd.name: Zstd}


def encode(codes: Codes, space: CodeSpace) -> tuple[Plain | Zstd, bytes]:
    """The smallest coding of one-dimensional `codes`, and its bytes; plain where others save next to nothing."""
    plain = Plain()
    chosen: tuple[Plain | Zstd, bytes] = plain, plain.encode(codes, space)
    limit = len(chosen[1]) * (1 - MIN_SAVING)
    tried = {space.max_per_byte, 1} if space.n_codes <= _FEW_CODES else {space.max_per_byte}
    for per_byte in sorted(tried):
        data = Zstd(per_byte).encode(codes, space)
        if data is not None and len(data) < min(limit, len(chosen[1])):
            chosen = Zstd(per_byte), data
    return chosen


def compress(content: bytes) -> bytes | None:
    """`content` as one Zstandard frame, or None where it is empty or a frame would break this format's limits."""
    if not 0 < len(content) <= MAX_CONTENT_BYTES:
        return None
    frame = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=True, write_checksum=False).compress(content)
    return frame if len(content) <= MAX_RATIO * len(frame) else None


def decompress(frame: memoryview, n_bytes: int) -> bytes:
    """The `n_bytes` bytes of content of one frame.

    Raises
    ------
    FormatError
        `frame` is anything but one whole frame of so many bytes, or they are more than this format allows. That much is
        known before memory is taken for them.
    """
    require(0 < n_bytes <= min(MAX_CONTENT_BYTES, MAX_RATIO * len(frame)), f"{n_bytes:,} bytes compressed to too few")
    require(content_size(frame) == n_bytes, f"a Zstandard frame that does not hold {n_bytes:,} bytes")
    try:
        content = zstandard.ZstdDecompressor(max_window_size=MAX_CONTENT_BYTES).decompress(
            frame, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise FormatError(f"a Zstandard frame that cannot be decoded ({error})") from None
    require(len(content) == n_bytes, f"a Zstandard frame that does not hold {n_bytes:,} bytes")
    return content


def content_size(frame: memoryview) -> int:
    """Bytes that a frame says it holds; a fault where it is no frame or does not say."""
    try:
        parameters = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError:
        raise FormatError("no Zstandard frame") from None
    known = bytes(frame[: len(_FRAME_START)]) == _FRAME_START and parameters.content_size not in (
        zstandard.CONTENTSIZE_UNKNOWN,
        zstandard.CONTENTSIZE_ERROR,
    )
    require(known, "no Zstandard frame of known size")
    return parameters.content_size


def _check_highest(code: int, space: CodeSpace) -> None:
    require(code < space.n_levels, f"a code of {code} among {space.n_levels} levels")
