"""docs/format.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from frugalseg.artifact import FORMAT, coding, container, document, fields
from frugalseg.artifact.coding import encode
from frugalseg.quant.packing import code_entropy
from frugalseg.quant.spec import METHODS, level_table

from .measure_codings import N_WEIGHTS, quantized, stored_bits

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
FIGURES = {
    cells[1]: cells[2:-1] for line in PAGE.splitlines() if len(cells := [c.strip() for c in line.split("|")]) == 11
}


@pytest.mark.parametrize("name", ["INQ-9", "INQ-7", "INQ-5", "INQ-3", "TWN", "LSQ-2"])
def test_the_figures_are_those_of_the_format(name: str) -> None:
    """On a quarter of the weights; another version of Zstandard may differ in the third digit."""
    codes, space = quantized(name, N_WEIGHTS // 4)
    n_levels, plain, entropy, single, several = FIGURES[name][:5]
    assert (int(n_levels), int(plain)) == (space.n_levels, space.bits)
    assert code_entropy(codes) == pytest.approx(float(entropy), abs=0.02)
    best = single if space.max_per_byte == 1 else several.split(" ")[0]
    bits = stored_bits(codes, space, space.max_per_byte)
    assert bits == pytest.approx(float(best), abs=0.03)
    assert bits <= 1.027 * code_entropy(codes)
    chosen, data = encode(codes, space)
    assert chosen.name == "zstd"
    assert 8 * len(data) / codes.size == bits


def test_the_limits_are_those_of_the_code() -> None:
    assert f"describes format {FORMAT}." in PAGE
    assert f"| `format` | {FORMAT}." in PAGE
    assert f"at most {container.MAX_HEADER_BYTES // 2**20} MiB" in PAGE
    assert f"at most {coding.MAX_CONTENT_BYTES // 2**20} MiB and at most {coding.MAX_RATIO} times" in PAGE
    assert f"beyond {coding._FEW_CODES:,} codes" in PAGE
    assert f"more than {coding.MIN_SAVING:.0%}".replace("%", " %") in re.sub(r"\s+", " ", PAGE)
    assert f"1 to {fields.MAX_TEXT} of the characters" in PAGE


def test_every_key_is_on_the_page() -> None:
    described = (*document._KEYS, *document._SINCE, *document._STAIN, *document._FAMILIARITY, *document._WEIGHT)
    described = (*described, *document._INSTANCES, *document._FRAGMENTS, *document._OPENING, *document._REJECTOR)
    for key in (*described, "rejector", "per_byte", *METHODS, *coding.CODINGS):
        assert f"`{key}`" in PAGE, key


def test_the_levels_are_those_on_the_page() -> None:
    for bits in range(2, 10):
        powers = [2.0**-k for k in range(2 ** (bits - 2))]
        assert level_table("inq", bits).tolist() == sorted([0.0, *powers, *(-power for power in powers)])
    for bits in range(1, 9):
        assert level_table("dorefa", bits).tolist() == list(range(-(2**bits) + 1, 2**bits, 2))
    for bits in range(2, 9):
        assert level_table("lsq", bits).tolist() == list(range(-(2 ** (bits - 1)), 2 ** (bits - 1)))
    assert np.array_equal(level_table("twn", 2), level_table("ttq", 2))
