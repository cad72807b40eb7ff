"""Prints the table of docs/format.md: ``python -m artifact.measure_codings`` in ``tests``; a minute on one core."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
import zstandard
from numpy.typing import NDArray

from frugalseg.artifact.coding import ZSTD_LEVEL, CodeSpace, Zstd
from frugalseg.quant.packing import code_entropy, pack_codes
from frugalseg.quant.spec import level_table
from frugalseg.quant.tensors import Codes

N_WEIGHTS = 2**20
INQ_BITS = (9, 7, 5, 4, 3)


def nearest(weights: NDArray[np.float64], levels: NDArray[np.float64], bits: int) -> Codes:
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, weights)
    return codes.astype(np.uint16) if bits > 8 else codes.astype(np.uint8)


def quantized(name: str, n_weights: int = N_WEIGHTS) -> tuple[Codes, CodeSpace]:
    """Codes of N(0,1) weights of one layer that share a scale, by the rules of each method."""
    weights = np.random.default_rng(0).standard_normal(n_weights)
    if name.startswith("INQ"):  # the largest level is 2^n1; nearest level (Zhou et al., ICLR 2017, eq. 1-4)
        bits = int(name.removeprefix("INQ-"))
        n1 = np.floor(np.log2(4 * np.abs(weights).max() / 3))
        levels = level_table("inq", bits) * 2.0**n1
    elif name == "TWN":  # a threshold of 0.7 times the mean size (Li & Liu 2016, eq. 6)
        bits = 2
        levels = np.array([-1, 0, 1]) * 1.4 * np.abs(weights).mean()
    else:  # LSQ: the step of least error, which is near where training starts
        bits = int(name.removeprefix("LSQ-"))
        steps = np.linspace(0.05, 1.5, 59)
        unit = level_table("lsq", bits).astype(np.float64)
        part = weights[: 2**14]
        levels = unit * min(
            steps, key=lambda step: float(np.square(part - step * unit[nearest(part, step * unit, bits)]).sum())
        )
    codes = nearest(weights, levels.astype(np.float64), bits)
    return codes, CodeSpace(bits, len(levels), codes.size)


def huffman_bits(codes: Codes) -> float:
    """Bits a code of the best code of whole bits."""
    heap = [int(count) for count in np.bincount(codes) if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, pair)
        total += pair
    return total / codes.size


def compressed_bits(content: bytes, n_codes: int) -> float:
    return 8 * len(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(content)) / n_codes


def stored_bits(codes: Codes, space: CodeSpace, per_byte: int) -> float:
    """Bits a code in this format's ``zstd`` coding."""
    data = Zstd(per_byte).encode(codes, space)
    assert data is not None
    return 8 * len(data) / codes.size


def rows() -> Iterator[str]:
    columns = ["codes", "levels", "plain", "entropy", "zstd, 1 a byte", "zstd, k a byte"]
    columns += ["bit planes, zstd", "plain, zstd", "Huffman"]
    yield f"| {' | '.join(columns)} |"
    yield f"| {' | '.join(['---'] * len(columns))} |"
    for name in [*(f"INQ-{bits}" for bits in INQ_BITS), "TWN", "LSQ-4", "LSQ-3", "LSQ-2"]:
        codes, space = quantized(name)
        planes = b"".join(np.packbits((codes >> bit) & 1).tobytes() for bit in range(space.bits))
        grouped = f"{stored_bits(codes, space, space.max_per_byte):.3f} (k = {space.max_per_byte})"
        cells = (
            name,
            str(space.n_levels),
            str(space.bits),
            f"{code_entropy(codes):.3f}",
            f"{stored_bits(codes, space, 1):.3f}",
            grouped if space.max_per_byte > 1 else "–",
            f"{compressed_bits(planes, codes.size):.3f}",
            f"{compressed_bits(pack_codes(codes, space.bits), codes.size):.3f}",
            f"{huffman_bits(codes):.3f}",
        )
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
