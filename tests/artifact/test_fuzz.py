"""A hundred thousand broken files: each is refused in one line, or read and then wholly usable."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from frugalseg.artifact import Artifact, Member, artifact_bytes, parse_artifact
from frugalseg.errors import InputError
from frugalseg.quant.spec import level_table
from frugalseg.quant.tensors import ChannelLayout, QuantizedTensor

from .builders import artifact, canonical, data_of, document_of, header_of, packed, redigested, tiny

N_FILES = 104_000
N_PARTS = 8


def two_members() -> Artifact:
    def member(fill: int) -> Member:
        codes = np.full((2, 2), fill, dtype=np.uint16)
        layout = ChannelLayout.of((2, 2), "channel")
        return Member(
            {"w": QuantizedTensor(9, codes, level_table("inq", 9), np.ones(2, np.float32), layout)},
            {"b": np.array(1, dtype=np.float32)},
        )

    return artifact(member(3), member(256), provenance={}, graph=None)


SEEDS = [artifact_bytes(tiny(), "tiny"), artifact_bytes(two_members(), "two")]
SPLIT = [(header_of(seed), document_of(seed), data_of(seed)) for seed in SEEDS]
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 5, 8, 9, 10, 255, 256, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**30),
    *(
        0.5,
        1.5,
        -0.0,
        1e308,
        1e-320,
        "",
        "a",
        "..",
        "0/w",
        "é",
        "\ud800",
        "\n",
        "x" * 300,
        "plain",
        "zstd",
        "inq",
        "stored",
    ),
    *([], [0], [1, 2], [[]], {}, {"a": 1}, [0] * 9, [2**62, 4], {"format": 1}),
]
CHUNKS = [
    b"",
    b"\0",
    b"\xff" * 4,
    b'"',
    b"{",
    b"}",
    b"[",
    b",",
    b":",
    b"\\",
    b"1e999",
    b"NaN",
    b"-",
    b"null",
    b"\x28\xb5\x2f\xfd",
]


def broken_bytes(rng: random.Random) -> bytes:
    """A few bytes flipped, set, left out, put in, moved or repeated; mostly with a header length that fits again."""
    content = bytearray(rng.choice(SEEDS))
    before = len(content)
    header = int.from_bytes(content[:8], "little")
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(content) or 1)
        length = rng.choice((1, 1, 2, 4, 8, 30))
        kind = rng.randrange(7)
        if kind == 0:
            content[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1 and content:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del content[place : place + length]
        elif kind == 3:
            content[place:place] = rng.choice(CHUNKS)
        elif kind == 4:
            content[place : place + length] = content[(start := rng.randrange(len(content) or 1)) : start + length]
        elif kind == 5:
            content[place : place + len(digits)] = (digits := str(rng.randrange(10 ** rng.randrange(1, 20))).encode())
        else:
            del content[place:]
    if rng.random() < 0.5:  # header and data divided as before, so that more than the length is looked at
        grown = header + len(content) - before
        content[:8] = max(grown - grown % 8, 0).to_bytes(8, "little")
    return bytes(content)


def change_value(rng: random.Random, value: Any) -> None:
    """Change one place in a JSON value: another value, a key that goes or comes, two that change places."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        inner = [key for key in keys if isinstance(value[key], dict | list) and value[key]]
        if not inner or rng.random() < 0.3:
            break
        value = value[rng.choice(inner)]
    key = rng.choice(keys)
    kind = rng.randrange(5)
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(value, dict):
        value[rng.choice([*keys, "x", "per_byte", "0/a", "graph"])] = copy.deepcopy(rng.choice(ODD))
    elif kind == 2:
        value[key] = copy.deepcopy(value[rng.choice(keys)])
    elif kind == 3 and type(value[key]) is int:
        value[key] += rng.choice((-8, -4, -1, 1, 4, 8))
    else:
        value[key] = copy.deepcopy(rng.choice(ODD))


def broken_structure(rng: random.Random) -> bytes:
    """A well-formed file whose header, description or data say something else."""
    header, document, data = rng.choice(SPLIT)
    header = copy.deepcopy(header)
    target = rng.randrange(3)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if target == 0 and header:
            change_value(rng, header)
        elif target == 1:
            document = json.loads(canonical(document))
            change_value(rng, document) if document else None
        else:
            place = rng.randrange(len(data) or 1)
            data = data[:place] + bytes([rng.randrange(256)]) + data[place + rng.randrange(3) :]
    if target == 1:
        header["__metadata__"]["frugalseg"] = canonical(document)
    return packed(canonical(header), data)


def use(model: Artifact) -> None:
    """Ask for all there is."""
    for member in model.members:
        for weight in member.quantized.values():
            with np.errstate(all="ignore"):
                assert weight.dequantize().shape == weight.layout.shape
        assert all(array.tobytes() is not None for array in member.floats.values())


def outcome(content: bytes) -> str:
    try:
        model = parse_artifact(content, "f")
    except InputError as error:
        line = str(error)
        assert line.startswith("f: ")
        assert line.isprintable(), line
        assert len(line) < 500
        return line
    use(model)
    return "read"


@pytest.mark.parametrize("part", range(N_PARTS))
def test_broken_files_are_refused_in_one_line(part: int) -> None:
    """Half of the files as they are, where the digest guards; half with a right digest, where the parser does."""
    rng = random.Random(part)
    reasons: Counter[str] = Counter()
    n_guarded = 0
    for number in range(N_FILES // N_PARTS):
        if number % 2 == 0:
            content = broken_bytes(rng)
            unchanged = content in SEEDS
            assert (outcome(content) == "read") == unchanged
            n_guarded += 1
        else:
            content = broken_structure(rng) if number % 4 == 1 else redigested(broken_bytes(rng))
            reasons[outcome(content)] += 1
    assert n_guarded == N_FILES // N_PARTS // 2
    # the parser was reached in all its parts, and sometimes satisfied
    assert reasons["read"] > 100
    assert len(reasons) > 500
