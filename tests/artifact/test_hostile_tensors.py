"""Files whose stored bytes lie, description and digest being right: each costs one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zstandard

from frugalseg.artifact import parse_artifact

from .attacks import GOOD, refusal, weights_of
from .builders import canonical, data_of, document_of, header_of, packed, rebuilt


def with_tensor(name: str, data: bytes, shape: list[int] | None = None) -> bytes:
    """GOOD with other bytes for one stored tensor, all places and the digest made right."""
    header = header_of(GOOD)
    old = data_of(GOOD)
    names = sorted((name for name in header if name != "__metadata__"), key=lambda key: header[key]["data_offsets"])
    parts = []
    end = 0
    for key in names:
        begin, stop = header[key]["data_offsets"]
        part = data if key == name else old[begin:stop]
        if key == name:
            itemsize = {"F32": 4, "F16": 2, "U8": 1}[header[key]["dtype"]]
            header[key]["shape"] = [len(data) // itemsize] if shape is None else shape
        header[key]["data_offsets"] = [end, end + len(part)]
        end += len(part)
        parts.append(part)
    return packed(canonical(header), b"".join(parts))


def frame(content: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(content)


def stream_frame(content: bytes) -> bytes:
    """A frame that does not say how much it holds."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(content) + compressor.flush()


CODES = np.random.default_rng(5).integers(0, 243, 60, dtype=np.uint8).tobytes()  # for the 300 codes of c.weight
SKIPPABLE = b"\x50\x2a\x4d\x18" + (60).to_bytes(4, "little") + bytes(60)
BIG_WINDOW = bytes.fromhex("28b52ffd") + b"\x80\xa8" + (60).to_bytes(4, "little") + b"\x03\x00\x00"
DICTIONARY = bytes.fromhex("28b52ffd") + b"\x21\x07\x3c" + (60 << 3 | 1).to_bytes(3, "little") + CODES


def lying(content: bytes, claimed: int) -> bytes:
    """A frame of `content`, less than 256 bytes, that says that it holds `claimed` bytes."""
    made = bytearray(frame(content))
    assert made[4] == 0x20
    assert made[5] == len(content)
    made[5] = claimed
    return bytes(made)


def check_summed() -> bytes:
    made = bytearray(frame(CODES, write_checksum=True))
    made[-1] ^= 1
    return bytes(made)


STORED: dict[str, tuple[bytes, str]] = {
    "bomb": (with_tensor("0/c.weight#codes", frame(bytes(10**8))), "does not hold 60 bytes"),
    "frame that is empty": (with_tensor("0/c.weight#codes", b""), "compressed to too few"),
    "frame of nothing": (with_tensor("0/c.weight#codes", frame(b"")), "does not hold 60 bytes"),
    "no frame": (with_tensor("0/c.weight#codes", CODES), "no Zstandard frame"),
    "frame that ends early": (with_tensor("0/c.weight#codes", frame(CODES)[:-1]), "cannot be decoded"),
    "frame with bytes behind": (with_tensor("0/c.weight#codes", frame(CODES) + b"x"), "cannot be decoded"),
    "two frames": (with_tensor("0/c.weight#codes", frame(CODES) * 2), "cannot be decoded"),
    "frame with another behind": (with_tensor("0/c.weight#codes", frame(CODES) + frame(bytes(10**7))), "decoded"),
    "frame that is skipped": (with_tensor("0/c.weight#codes", SKIPPABLE), "no Zstandard frame"),
    "skipped frame before": (with_tensor("0/c.weight#codes", SKIPPABLE + frame(CODES)), "no Zstandard frame"),
    "frame of unknown size": (with_tensor("0/c.weight#codes", stream_frame(CODES)), "of known size"),
    "frame that holds more than it says": (with_tensor("0/c.weight#codes", lying(CODES + b"abc", 60)), "decoded"),
    "frame that holds less than it says": (with_tensor("0/c.weight#codes", lying(CODES[:50], 60)), "decoded"),
    "frame with a window of 2 GiB": (with_tensor("0/c.weight#codes", BIG_WINDOW), "decoded"),
    "frame with a dictionary": (with_tensor("0/c.weight#codes", DICTIONARY), "decoded"),
    "frame with a wrong checksum": (with_tensor("0/c.weight#codes", check_summed()), "decoded"),
    "byte beyond five digits": (with_tensor("0/c.weight#codes", frame(b"\xf3" + CODES[1:])), "a code of 243 among 243"),
    "codes beyond the levels": (with_tensor("0/b.weight#codes", b"\xff\x0f"), "a code of 3 among 3"),
    "bits behind the last code": (with_tensor("0/b.weight#codes", b"\x55\x15"), "bits behind the last code"),
    "codes too few": (with_tensor("0/a.weight#codes", b"\0\0"), "2 bytes of codes where there should be 3"),
    "codes too many": (with_tensor("0/a.weight#codes", bytes(4)), "4 bytes of codes where there should be 3"),
    "codes in two dimensions": (with_tensor("0/a.weight#codes", bytes(3), [1, 3]), "not one row of U8"),
    "scales too few": (with_tensor("0/a.weight#scale", bytes(4)), "1 scales for 2 groups"),
    "scales too many": (with_tensor("0/a.weight#scale", bytes(12)), "3 scales for 2 groups"),
    "negative scales too many": (with_tensor("0/b.weight#negative_scale", bytes(12)), "3 scales for 1 groups"),
    "scale without dimension": (with_tensor("0/b.weight#scale", bytes(4), []), "not one row of F32"),
    "no levels": (with_tensor("0/a.weight#levels", b""), "0 levels for 2 bits"),
    "five levels for two bits": (with_tensor("0/a.weight#levels", np.arange(5, dtype="<f4").tobytes()), "5 levels"),
    "levels that fall": (with_tensor("0/a.weight#levels", np.arange(4, dtype="<f4")[::-1].tobytes()), "do not rise"),
    "levels that stay": (with_tensor("0/a.weight#levels", bytes(16)), "do not rise"),
    "levels that are NaN": (with_tensor("0/a.weight#levels", b"\xff" * 16), "do not rise"),
    "levels that are infinite": (
        with_tensor("0/a.weight#levels", np.array([0, 1, 2, np.inf], "<f4").tobytes()),
        "rise",
    ),
    "levels fewer than codes": (
        with_tensor("0/a.weight#levels", np.arange(2, dtype="<f4").tobytes()),
        "among 2 levels",
    ),
    "graph that is no frame": (with_tensor("graph", b"onnx"), "graph that cannot be: no Zstandard frame"),
    "graph that is a bomb": (with_tensor("graph", frame(bytes(10**7))), "graph that cannot be"),
    "graph beyond the limit": (with_tensor("graph", frame(bytes(2**24 + 1))), "at most 16,777,216 are compressed"),
}


@pytest.mark.parametrize("attack", STORED)
def test_lying_tensors(attack: str) -> None:
    content, reason = STORED[attack]
    assert reason in refusal(content)


def test_frames_as_used_above_are_read_where_they_are_true() -> None:
    for true in (frame(CODES), frame(CODES, write_checksum=True), frame(CODES, level=1)):
        content = with_tensor("0/c.weight#codes", true)
        weight = parse_artifact(content, "good").members[0].quantized["c.weight"]
        assert [int("".join(map(str, weight.codes[start : start + 5][::-1])), 3) for start in range(0, 300, 5)] == [
            *CODES
        ]


def test_codes_behind_the_last_one_in_a_byte_are_refused() -> None:
    weights = weights_of(GOOD)
    weights[2].update(shape=[299], view=[299])
    document = {**document_of(GOOD), "members": [{"weights": weights, "activations": {}}]}
    for last, good in ((80, True), (81, False)):
        content = rebuilt(with_tensor("0/c.weight#codes", frame(CODES[:-1] + bytes([last]))), document=document)
        if good:
            parse_artifact(content, "good")
        else:
            assert "codes behind the last one" in refusal(content)


def test_two_byte_codes_beyond_257_levels_are_refused() -> None:
    rng = np.random.default_rng(0)
    n = 400
    low = rng.integers(0, 100, n, dtype=np.uint8)
    for place, value, good in ((0, 256, True), (7, 257, False), (n - 1, 511, False)):
        high = np.zeros(n, np.uint8)
        changed_low = low.copy()
        changed_low[place], high[place] = value & 255, value >> 8
        weights = weights_of(GOOD)
        weights[2].update(shape=[n], view=[n], bits=9, levels="inq", per_byte=1)
        document = {**document_of(GOOD), "members": [{"weights": weights, "activations": {}}]}
        stored = frame(changed_low.tobytes() + high.tobytes())
        content = rebuilt(with_tensor("0/c.weight#codes", stored), document=document)
        if good:
            assert int(parse_artifact(content, "good").members[0].quantized["c.weight"].codes.max()) == value
        else:
            assert f"a code of {value} among 257 levels" in refusal(content)
