"""What reading costs: at most twice a file's size and 64 MiB, whatever it claims, read or refused."""

from __future__ import annotations

import functools
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard

from frugalseg.artifact import Member, artifact_bytes, parse_artifact
from frugalseg.artifact.coding import MAX_CONTENT_BYTES, MAX_RATIO
from frugalseg.artifact.container import MAX_HEADER_BYTES, MAX_HEADER_NODES
from frugalseg.errors import InputError

from .builders import artifact, canonical, changed, document_of, header_of, packed, rebuilt

MIB = 2**20
BASE = artifact_bytes(artifact(Member({}, {}), provenance={}), "base")
META = header_of(BASE)["__metadata__"]


def binary(codes: bytes, coding: str, n_codes: int, n_weights: int = 1) -> bytes:
    """A file of 1-bit weights stored as given."""
    entry: dict[str, object] = {
        "bits": 1, "shape": [n_codes], "view": [n_codes], "axes": [], "levels": "dorefa", "coding": coding
    }  # fmt: skip
    if coding == "zstd":
        entry["per_byte"] = 8
    header: dict[str, object] = {"__metadata__": META}
    end = 0
    for name, size, dtype in [("scale", 4, "F32"), ("codes", len(codes), "U8")]:
        for index in range(n_weights):
            shape = [size // 4 if dtype == "F32" else size]
            header[f"0/w{index}#{name}"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
            end += size
    document = document_of(BASE)
    document["members"][0]["weights"] = [{**entry, "name": f"w{index}"} for index in range(n_weights)]
    document["quantization"] = None
    header["__metadata__"] = {**META, "frugalseg": canonical(document)}
    return packed(canonical(header), bytes(4 * n_weights) + codes * n_weights)


def dense_frame() -> bytes:
    """A frame that holds as much as one may, in as few bytes as it may have."""
    n_random = MAX_CONTENT_BYTES // MAX_RATIO
    content = np.random.default_rng(0).bytes(n_random) + bytes(MAX_CONTENT_BYTES - n_random)
    return zstandard.ZstdCompressor(level=3).compress(content)


def filled(unit: str) -> bytes:
    """A header with as many parts, or as many bytes, as there may be, all of them `unit`."""
    n_parts = sum(unit.count(mark) for mark in "[{,:") + 1
    n = min((MAX_HEADER_NODES - 100) // n_parts, (MAX_HEADER_BYTES - 4096) // (len(unit) + 1))
    return packed('{"__metadata__":' + canonical(META) + ',"a":[' + ",".join([unit] * n) + "]}", b"")


def described(unit: str) -> bytes:
    """The same in the description's free part."""
    n_parts = sum(unit.count(mark) for mark in "[{,:") + 1
    room = len(canonical(canonical(unit)))
    n = min((MAX_HEADER_NODES - 400) // n_parts, (MAX_HEADER_BYTES - 12288) // room)
    document = canonical(document_of(BASE)).replace(
        '"provenance":{}', '"provenance":{"a":[' + ",".join([unit] * n) + "]}"
    )
    return rebuilt(BASE, document=document)


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


FILES: dict[str, tuple[Callable[[], bytes], bool]] = {
    "large floats": (lambda: artifact_bytes(artifact(Member({}, {"w": np.ones(8 * MIB, np.float32)})), "x"), True),
    "large floats, damaged": (
        lambda: flipped(artifact_bytes(artifact(Member({}, {"w": np.ones(8 * MIB, np.float32)})), "x")),
        False,
    ),
    "200 million codes in 25 MB": (lambda: binary(bytes(25 * 10**6), "plain", 200 * 10**6), True),
    "a billion codes in 2 MB": (lambda: binary(dense_frame(), "zstd", 8 * MAX_CONTENT_BYTES, 8), True),
    "a frame of 16 GB": (
        lambda: binary(bytes.fromhex("28b52ffde0") + (2**34).to_bytes(8, "little") + bytes(99), "zstd", 2**37),
        False,
    ),
    "a frame that says 16 MiB and holds 4 GiB": (
        lambda: binary(
            bytes.fromhex("28b52ffda0") + MAX_CONTENT_BYTES.to_bytes(4, "little")
            + b"\x02\x00\x10\x00" * 2**15 + np.random.default_rng(0).bytes(2**18),
            "zstd",
            8 * MAX_CONTENT_BYTES,
        ),
        False,
    ),
    "a frame with a window of 2 GiB": (
        lambda: binary(
            bytes.fromhex("28b52ffd80a8") + MAX_CONTENT_BYTES.to_bytes(4, "little") + bytes(2**18),
            "zstd",
            8 * MAX_CONTENT_BYTES,
        ),
        False,
    ),
    "2^40 codes in nothing": (lambda: binary(b"", "plain", 2**40), False),
    "an impossible header": (lambda: (MAX_HEADER_BYTES).to_bytes(8, "little") + bytes(100), False),
    "compressed graph": (
        lambda: artifact_bytes(
            artifact(Member({}, {}), graph=np.random.default_rng(0).bytes(2**18) + bytes(2**23)), "x"
        ),
        True,
    ),
    "description with one wide letter": (
        lambda: rebuilt(BASE, document="\U0001f600" + " " * (MAX_HEADER_BYTES - 4096)),
        False,
    ),
    "long licence of wide letters": (
        lambda: changed(BASE, licence="\U0001f600" + "x" * (MAX_HEADER_BYTES - 8192)),
        True,
    ),
}  # fmt: skip
UNITS = ("[]", "{}", "[0]", '{"a":{"b":{}}}', "1.5", '"x"', "[" * 20 + "]" * 20)
DEEP = ("[" * 200 + "]" * 200, '{"":' * 200 + "0" + "}" * 200)
FILES |= {f"header of {unit[:20]}": (functools.partial(filled, unit), False) for unit in UNITS + DEEP}
FILES |= {f"provenance of {unit[:20]}": (functools.partial(described, unit), True) for unit in UNITS}


@pytest.mark.parametrize("case", FILES)
def test_memory_while_reading_is_bounded(case: str) -> None:
    make, good = FILES[case]
    content = make()
    tracemalloc.start()
    try:
        try:
            parse_artifact(content, "f")
            read = True
        except InputError:
            read = False
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == good
    assert peak <= len(content) + 64 * MIB  # the file's bytes themselves were there before


READER = """
import os, resource, sys
from pathlib import Path
import frugalseg.artifact
from frugalseg.errors import InputError

failures = 0
for path in map(Path, sys.argv[1:]):
    child = os.fork()
    if child == 0:
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = in_use + 2 * path.stat().st_size + 64 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            frugalseg.artifact.read_artifact(path)
        except InputError:
            pass
        except BaseException as error:
            print(path.name, type(error).__name__, error, flush=True)
            os._exit(1)
        os._exit(0)
    failures += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
sys.exit(failures)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited as Linux does it")
def test_reading_needs_no_more_address_space_than_it_may(tmp_path: Path) -> None:
    """What tracemalloc does not see, the decompressor's own memory, counts here."""
    paths = []
    for number, (make, _) in enumerate(FILES.values()):
        paths.append(tmp_path / f"{number}.fseg")
        paths[-1].write_bytes(make())
    done = subprocess.run([sys.executable, "-c", READER, *map(str, paths)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_weight_costs_memory_only_while_it_is_in_use() -> None:
    n_weights, n_codes = 8, 2**22
    content = binary(np.random.default_rng(0).bytes(n_codes // 8), "plain", n_codes, n_weights)
    tracemalloc.start()
    try:
        member = parse_artifact(content, "x").members[0]
        assert sum(tensor.codes.size for tensor in member.quantized.values()) == n_weights * n_codes
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * n_codes  # all of them together would take n_weights * n_codes
