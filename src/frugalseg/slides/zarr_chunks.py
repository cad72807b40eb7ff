"""Chunks of a Zarr array, judged between the disk and the decoder: none may become more than the array says.

Decoders of Zarr allocate what a chunk asks for, which for deflated zeros is a thousand times its size.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import zstandard
from zarr.abc.store import ByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from frugalseg.errors import InputError

_STEP = 2**20
_SLACK = 2**16
_METADATA = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})


@dataclass(frozen=True)
class ChunkRule:
    """What chunks may hold.

    Attributes
    ----------
    compressor
        ``blosc``, ``gzip``, ``lz4``, ``zlib``, ``zstd`` or None.
    n_bytes
        Of a decoded chunk.
    is_sharded
        Files then hold many chunks, and are judged by the piece where they are read so.
    """

    compressor: str | None
    n_bytes: int
    is_sharded: bool = False


class GuardedStore(WrapperStore[LocalStore]):
    """The folder of an array, of which only chunks that keep the rule are handed out."""

    def __init__(self, store: LocalStore, rule: ChunkRule) -> None:
        super().__init__(store)
        self._rule = rule

    def _with_store(self, store: LocalStore) -> Self:
        return type(self)(store, self._rule)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Bytes of a chunk or of metadata.

        Raises
        ------
        InputError
            They would become more than the array's chunks are.
        """
        path = Path(self._store.root) / key
        is_chunk = key.rpartition("/")[2] not in _METADATA
        # Compression adds little to what it cannot shrink.
        most = self._rule.n_bytes + self._rule.n_bytes // 50 + _SLACK
        if is_chunk and not self._rule.is_sharded and path.is_file() and path.stat().st_size > most:
            raise InputError(path, "is larger than a chunk of this array can be")
        content = await super().get(key, prototype, byte_range)
        is_piece = isinstance(byte_range, RangeByteRequest) if self._rule.is_sharded else byte_range is None
        if content is not None and is_chunk and is_piece and not fits(self._rule, content.to_bytes()):
            raise InputError(path, f"is damaged: it becomes more than the {self._rule.n_bytes:,} bytes of a chunk")
        return content


def fits(rule: ChunkRule, content: bytes) -> bool:
    """Whether compressed bytes become a chunk, at most; damaged ones do, for their decoder will tell."""
    if rule.compressor == "blosc":  # its header says sizes, of the chunk at byte 4
        return len(content) < 16 or int.from_bytes(content[4:8], "little") <= rule.n_bytes
    if rule.compressor == "lz4":
        return len(content) < 4 or int.from_bytes(content[:4], "little") <= rule.n_bytes
    try:
        if rule.compressor in ("gzip", "zlib"):
            return _inflated(content, rule.n_bytes) <= rule.n_bytes
        if rule.compressor == "zstd":
            size = zstandard.get_frame_parameters(content).content_size
            if size != zstandard.CONTENTSIZE_UNKNOWN:
                return bool(size <= rule.n_bytes)
            return _unpacked(content, rule.n_bytes) <= rule.n_bytes
    except (zlib.error, zstandard.ZstdError):
        return True
    return True


def _inflated(content: bytes, limit: int) -> int:
    """Bytes that deflated content becomes, all members together; counted little beyond the limit."""
    total = 0
    while content and total <= limit:
        inflater = zlib.decompressobj(47)  # of zlib or gzip, as its header says
        while total <= limit and not inflater.eof:
            part = inflater.decompress(content, _STEP)
            total += len(part)
            content = inflater.unconsumed_tail
            if not part and not content:
                break
        content = inflater.unused_data
    return total


def _unpacked(content: bytes, limit: int) -> int:
    """The same of a Zstandard frame that does not say its size."""
    total = 0
    with zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(content) as reader:
        while total <= limit and (part := reader.read(_STEP)):
            total += len(part)
    return total
