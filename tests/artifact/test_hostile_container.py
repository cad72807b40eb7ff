"""Damaged, lying and malicious files: each costs one line, whatever its header claims."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from frugalseg.artifact import parse_artifact, read_artifact, read_sizes
from frugalseg.artifact.container import MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_HEADER_NODES
from frugalseg.errors import InputError

from .attacks import GOOD, PLAIN, raw_document, refusal
from .builders import canonical, data_of, header_of, packed, rebuilt, redigested


@pytest.mark.parametrize("pattern", [0x01, 0x10, 0x20, 0x80, 0xFF])
def test_every_flipped_byte_is_found(pattern: int) -> None:
    content = bytearray(GOOD)
    for place in range(len(content)):
        content[place] ^= pattern
        refusal(bytes(content))
        content[place] ^= pattern
    parse_artifact(bytes(content), "good")


def test_every_digit_of_the_digest_counts_also_in_upper_case() -> None:
    place = GOOD.index(b'"sha256":"') + 10
    digits = GOOD[place : place + 64]
    assert digits.upper() != digits
    refusal(GOOD.replace(digits, digits.upper()))


def test_a_file_cut_anywhere_is_refused() -> None:
    for length in range(len(GOOD)):
        refusal(GOOD[:length])


@pytest.mark.parametrize("tail", [b"\0", b" ", b"x" * 100, GOOD])
def test_bytes_behind_the_end_are_refused_whatever_the_digest_says(tail: bytes) -> None:
    assert "damaged" in refusal(GOOD + tail)
    assert "behind its last tensor" in refusal(redigested(GOOD + tail))


def test_a_file_cut_is_refused_though_its_digest_is_made_right() -> None:
    start = len(GOOD) - len(data_of(GOOD))
    for length in range(start, len(GOOD)):
        assert "ends before tensor" in refusal(redigested(GOOD[:length]))


def header_length(length: int) -> bytes:
    return redigested(length.to_bytes(8, "little") + GOOD[8:])


def entry(name: str, content: bytes = PLAIN, **fields: object) -> bytes:
    """A file of floats one of whose tensors is described otherwise."""
    return rebuilt(content, **{name: {**header_of(content)[name], **fields}})


def raw_header(text: str, data: bytes = b"") -> bytes:
    """A file whose header is this text, PLAIN's metadata standing for ``META``."""
    metadata = canonical(header_of(PLAIN)["__metadata__"])
    return packed(text.replace("META", metadata), data)


W = "0/w"
CONTAINERS: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "empty"),
    "eight bytes": (bytes(8), "too short"),
    "zeros": (bytes(1000), "not a frugalseg model file"),
    "text": (b"hello, this is no model file at all", "not a frugalseg model file"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a frugalseg model file"),
    "header of length 0": (header_length(0), "length cannot be"),
    "header longer than the file": (header_length(len(GOOD) // 8 * 8), "longer than the file"),
    "header length not of 8": (header_length(int.from_bytes(GOOD[:8], "little") + 1), "length cannot be"),
    "header length over the limit": (header_length(MAX_HEADER_BYTES + 8), "length cannot be"),
    "header length of 2^63": (header_length(2**63), "length cannot be"),
    "header length of 2^64 - 8": (header_length(2**64 - 8), "length cannot be"),
    "other safetensors": (packed('{"a":{"data_offsets":[0,0],"dtype":"F32","shape":[0]}}', b""), "names no SHA-256"),
    "two digests": (
        packed(canonical({"__metadata__": {"sha256": "0" * 64}, "x": {"sha256": "0" * 64}}), b""),
        "names",
    ),
    "digest elsewhere": (
        packed('{"__metadata__":{"frugalseg":"{}"},"x":{"sha256":"%s"}}' % ("0" * 64), b""),
        "metadata",
    ),
    "no metadata": (packed('{"sha256":"%s"}' % ("0" * 64), b""), "metadata"),
    "more metadata": (
        packed('{"__metadata__":{"a":"b","frugalseg":"{}","sha256":"%s"}}' % ("0" * 64), b""),
        "metadata are others",
    ),
    "description that is no text": (
        packed('{"__metadata__":{"frugalseg":{},"sha256":"%s"}}' % ("0" * 64), b""),
        "description that is not ASCII",
    ),
    "description with other letters": (raw_document('{"é":1}'), "description that is not ASCII"),
    "header is a list": (packed('[{"sha256":"%s"}]' % ("0" * 64), b""), "not a JSON object"),
    "header is no JSON": (packed('{"sha256":"%s"' % ("0" * 64), b""), "not JSON"),
    "header with letters in UTF-8": (raw_header('{"__metadata__":META,"é":0}'), "header that is not ASCII"),
    "space in the header": (raw_header('{ "__metadata__":META}'), "canonical"),
    "eight spaces behind the header": (raw_header('{"__metadata__":META}' + " " * 8), "canonical"),
    "space before the header": (raw_header(' {"__metadata__":META}'), "canonical"),
    "tab behind the header": (raw_header('{"__metadata__":META}\t'), "canonical"),
    "unsorted keys": (raw_header('{"b":1,"__metadata__":META,"a":1}'), "canonical"),
    "escape that is not needed": (raw_header('{"__metadata__":META,"\\u0061":1}'), "canonical"),
    "repeated tensor": (raw_header('{"__metadata__":META,"a":1,"a":2}'), "'a' twice"),
    "repeated metadata": (raw_header('{"__metadata__":{},"__metadata__":META}'), "'__metadata__' twice"),
    "NaN in the header": (raw_header('{"__metadata__":META,"a":NaN}'), "NaN for a number"),
    "1e999 in the header": (raw_header('{"__metadata__":META,"a":1e999}'), "too large"),
    "integer of 5000 digits": (raw_header('{"__metadata__":META,"a":%s}' % ("9" * 5000)), "too large"),
    "deep lists": (raw_header('{"__metadata__":META,"a":%s}' % ("[" * 100_000 + "]" * 100_000)), "too deep"),
    "deep objects": (raw_header('{"__metadata__":META,"a":' + '{"a":' * 50_000 + "1" + "}" * 50_001), "too deep"),
    "too many parts": (raw_header('{"__metadata__":META,"a":[%s]}' % ("0," * MAX_HEADER_NODES)), "parts"),
    "tensor that is a number": (rebuilt(PLAIN, **{W: 3}), "no description of tensor '0/w'"),
    "tensor with more keys": (entry(W, extra=1), "no description of tensor '0/w'"),
    "tensor without dtype": (rebuilt(PLAIN, **{W: {"data_offsets": [0, 24], "shape": [6]}}), "no description"),
    "unknown dtype": (entry(W, dtype="F64"), "type 'F64'"),
    "dtype that is a list": (entry(W, dtype=["F32"]), "of type a list"),
    "negative offset": (entry(W, data_offsets=[-24, 0]), "impossible sizes"),
    "offset that is true": (entry(W, data_offsets=[True, 24]), "impossible sizes"),
    "offset that is a fraction": (entry(W, data_offsets=[0, 24.5]), "impossible sizes"),
    "one offset": (entry(W, data_offsets=[0]), "impossible sizes"),
    "three offsets": (entry(W, data_offsets=[0, 12, 24]), "impossible sizes"),
    "offsets reversed": (entry(W, data_offsets=[24, 0]), "where its shape takes"),
    "gap": (entry(W, data_offsets=[4, 28]), "gap or an overlap"),
    "overlap": (entry("0/v", data_offsets=[20, 24]), "gap or an overlap"),
    "same bytes twice": (entry("0/v", dtype="F32", shape=[6], data_offsets=[0, 24]), "gap or an overlap"),
    "beyond the end": (entry("0/v", shape=[4], data_offsets=[24, 32]), "ends before tensor '0/v'"),
    "bytes that no tensor has": (rebuilt(PLAIN, **{"0/v": None}), "4 bytes behind its last tensor"),
    "shape too large for its bytes": (entry(W, shape=[7]), "where its shape takes 28"),
    "shape of 2^62": (entry(W, shape=[2**62]), "impossible sizes"),
    "shape whose product overflows to 6": (entry(W, shape=[2**32, 2**32, 6]), "impossible sizes"),
    "empty shape too large": (entry(W, shape=[0, 2**62]), "impossible sizes"),
    "nine sizes": (entry(W, shape=[1] * 8 + [6]), "more than 8 sizes"),
    "shape that is text": (entry(W, shape="6"), "impossible sizes"),
}


@pytest.mark.parametrize("attack", CONTAINERS)
def test_lying_containers(attack: str) -> None:
    content, reason = CONTAINERS[attack]
    assert reason in refusal(content)


def renamed(old: str, new: str) -> bytes:
    header = header_of(PLAIN)
    header[new] = header.pop(old)
    return packed(canonical(header), data_of(PLAIN))


@pytest.mark.parametrize(
    "name",
    [
        "w",
        "0",
        "0/",
        "0//w",
        "/etc/passwd",
        "0//etc/passwd",
        "0/../../etc/passwd",
        "0/..",
        "0/./w",
        "0/a/",
        "0/C:\\w",
        "0/w\x00",
        "0/w\n",
        "0/w w",
        "0/é",
        "0/\ud800",
        "0/" + "w" * 257,
        "0/w#codes",
        "0/w#x",
        "1/w",
        "-1/w",
        "00/w",
        " 0/w",
        "٠/w",
        "graph",
    ],
)
def test_names_that_mean_something_elsewhere(name: str) -> None:
    reason = refusal(renamed("0/w", name))
    assert "nothing describes" in reason or "cannot be a tensor's name" in reason


@pytest.mark.parametrize(
    "prepare",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.touch(),
        lambda path: path.write_bytes(GOOD[:-1]),
        lambda path: path.write_bytes(b"x" * 4096),
        lambda path: path.symlink_to(path),
    ],
)
@pytest.mark.parametrize("read", [read_artifact, read_sizes])
def test_paths_that_lead_to_no_model(
    prepare: Callable[[Path], object], read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "m.fseg"
    prepare(path)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a file"):
        read_artifact(tmp_path / "pipe")


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.fseg"
    with path.open("wb") as stream:
        stream.write(GOOD)
        try:
            stream.truncate(MAX_FILE_BYTES + 1)  # sparse: takes no room on the disk
        except OSError:
            pytest.skip("this file system has no sparse files of this size")
    with pytest.raises(InputError, match="is too large"):
        read_artifact(path)
