"""Damaged, lying and malicious files: each costs one line, whatever it claims."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from frugalseg.artifact import Member, artifact_bytes, parse_artifact, read_artifact, read_sizes
from frugalseg.artifact.container import MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_HEADER_NODES
from frugalseg.errors import InputError

from .builders import (
    artifact,
    canonical,
    changed,
    data_of,
    document_of,
    header_of,
    packed,
    rebuilt,
    redigested,
    tiny,
)

GOOD = artifact_bytes(tiny(), "good")
PLAIN = artifact_bytes(artifact(Member({}, {"w": np.arange(6, dtype=np.float32), "v": np.ones(2, np.float16)})), "p")


def refusal(content: bytes) -> str:
    """The reason for which a file is refused: one line that names it."""
    with pytest.raises(InputError) as caught:
        parse_artifact(content, "bad.fseg")
    assert len(caught.value.problems) == 1
    line = str(caught.value)
    assert line.startswith("bad.fseg: ")
    assert line.isprintable()
    assert len(line) < 400
    return line.removeprefix("bad.fseg: ")


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


def raw_document(text: str) -> bytes:
    return rebuilt(GOOD, document=text)


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


def weights_of(content: bytes) -> list[dict[str, Any]]:
    return list(document_of(content)["members"][0]["weights"])


def weight_changed(index: int, **fields: object) -> bytes:
    """GOOD with one weight described otherwise; a field that is None is removed."""
    weights = weights_of(GOOD)
    merged = {**weights[index], **fields}
    weights[index] = {key: value for key, value in merged.items() if value is not None}
    return changed(GOOD, members=[{**document_of(GOOD)["members"][0], "weights": weights}])


def setting(key: str, **fields: object) -> bytes:
    return changed(GOOD, **{key: {**document_of(GOOD)[key], **fields}})


def without(key: str) -> bytes:
    document = document_of(GOOD)
    del document[key]
    return rebuilt(GOOD, document=document)


def activations(value: object) -> bytes:
    return changed(GOOD, members=[{**document_of(GOOD)["members"][0], "activations": value}])


SPEC = document_of(GOOD)["quantization"]
DEEP = '{"format":1,"a":' + "[" * 90_000 + "]" * 90_000 + "}"
DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "no JSON": (raw_document("{"), "not JSON"),
    "empty": (raw_document(""), "not JSON"),
    "a list": (raw_document("[]"), "which format"),
    "null": (raw_document("null"), "which format"),
    "repeated key": (raw_document('{"format":1,"format":2}'), "'format' twice"),
    "deep": (raw_document(DEEP), "too deep"),
    "infinite": (raw_document('{"format":Infinity}'), "Infinity for a number"),
    "newer format": (changed(GOOD, format=2), "has format 2; this version of frugalseg reads formats up to 1"),
    "newer format, all else unknown": (raw_document('{"format":3,"x":[]}'), "has format 3"),
    "format 0": (changed(GOOD, format=0), "which format"),
    "format true": (changed(GOOD, format=True), "which format"),
    "format 1.0": (changed(GOOD, format=1.0), "which format"),
    "unknown key": (changed(GOOD, colour="red"), "'colour' in its description"),
    **{
        f"without {key}": (without(key), f"no {key} in its description") for key in document_of(GOOD) if key != "format"
    },
    "net that is a path": (changed(GOOD, net="../../lite"), "for net"),
    "net that is a number": (changed(GOOD, net=3), "for net"),
    "no classes": (changed(GOOD, class_names=[]), "0 classes"),
    "too many classes": (changed(GOOD, class_names=[str(n) for n in range(1001)]), "1001 classes"),
    "class that is a number": (changed(GOOD, class_names=[1]), "1 for class_names"),
    "class of two lines": (changed(GOOD, class_names=["a\nb"]), "for class_names"),
    "class that no terminal shows": (changed(GOOD, class_names=["\x1b[31m"]), "for class_names"),
    "same class twice": (changed(GOOD, class_names=["a", "a"]), "same name"),
    "scale 0": (changed(GOOD, scale=0), "0 for scale"),
    "scale true": (changed(GOOD, scale=True), "for scale"),
    "scale text": (changed(GOOD, scale="1"), "for scale"),
    "pixel size negative": (changed(GOOD, pixel_size_um=-1), "for pixel_size_um"),
    "diameter missing": (changed(GOOD, object_diameter_px=None), "for object_diameter_px"),
    "threshold above 1": (setting("instances", threshold=1.5), "instances.threshold"),
    "unknown instance setting": (setting("instances", x=1), "'x' in instances"),
    "instances a list": (changed(GOOD, instances=[1]), "a list for instances"),
    "divisor 0": (setting("normalisation", divisor=0), "normalisation.divisor"),
    "stride 0": (changed(GOOD, stride=0), "stride"),
    "stride that would fill the memory": (changed(GOOD, stride=10**9), "stride"),
    "halo that would fill the memory": (changed(GOOD, halo_px=10**12), "halo_px"),
    "quantizer unknown": (setting("quantization", method="x"), "quantization that cannot be"),
    "quantizer of many words": (setting("quantization", method="x" * 10**5), "quantization that cannot be"),
    "quantizer's bits": (setting("quantization", bits=77), "quantization that cannot be"),
    "quantizer's key": (setting("quantization", **{"a\nb": 1}), "quantization that cannot be"),
    "quantizer a number": (changed(GOOD, quantization=5), "5 for quantization"),
    "quantizer's granularity a list": (setting("quantization", granularity=["layer"]), "quantization that cannot be"),
    "licence empty": (changed(GOOD, licence=""), "licence"),
    "licence a number": (changed(GOOD, licence=1), "licence"),
    "licence not Unicode": (changed(GOOD, licence="\ud800"), "not Unicode"),
    "provenance a list": (changed(GOOD, provenance=[]), "provenance"),
    "provenance not Unicode": (changed(GOOD, provenance={"a": [{"b\udfff": 1}]}), "not Unicode"),
    "provenance deep": (changed(GOOD, provenance={"a": json.loads("[" * 40 + "]" * 40)}), "nested more than"),
    "no members": (changed(GOOD, members=[]), "no members"),
    "members an object": (
        changed(GOOD, members={}),
        "an",
    ),
    "member a number": (changed(GOOD, members=[1]), "1 for members[0]"),
    "member more than tensors": (changed(GOOD, members=document_of(GOOD)["members"] * 2), "no tensor '1/a.weight#"),
    "member without tensors": (
        changed(PLAIN, members=[*document_of(PLAIN)["members"], {"weights": [], "activations": {}}]),
        "another 'v' in member 1",
    ),
    "activations a list": (activations([]), "activations"),
    "range of three": (activations({"a": [1, 2, 3]}), "range of 3 numbers"),
    "range reversed": (activations({"a": [2, 1]}), "ends before it begins"),
    "range of text": (activations({"a": ["1", 2]}), "activations"),
    "range without a name": (activations({"": [1, 2]}), "a name in"),
    "graph unknown": (changed(GOOD, graph="lzma"), "'lzma' for graph"),
    "graph missing": (changed(PLAIN, graph="plain"), "no tensor 'graph'"),
    "graph undescribed": (changed(GOOD, graph=None), "tensor 'graph' that nothing describes"),
    "weights a number": (changed(GOOD, members=[{"weights": 1, "activations": {}}]), "weights"),
    "weight a text": (changed(GOOD, members=[{"weights": ["a"], "activations": {}}]), "weights[0]"),
    "weight twice": (
        changed(GOOD, members=[{"weights": weights_of(GOOD) + weights_of(GOOD)[:1], "activations": {}}]),
        "describes weight '0/a.weight' twice",
    ),
    "weight not described": (changed(GOOD, members=[{"weights": [], "activations": {}}]), "nothing describes"),
    "weight named like floats": (weight_changed(0, name="a.bias"), "no tensor '0/a.bias#codes'"),
    "weight named as a path": (weight_changed(0, name="../a"), "cannot be a tensor's name"),
    "0 bits": (weight_changed(0, bits=0), "bits"),
    "10 bits": (weight_changed(0, bits=10), "bits"),
    "bits too few for stored levels": (weight_changed(0, bits=1), "4 levels for 1 bits"),
    "bits the method has not": (weight_changed(1, bits=3, levels="twn"), "levels being those of twn"),
    "levels unknown": (weight_changed(0, levels="float"), "levels"),
    "levels a list": (weight_changed(0, levels=[1, 2]), "levels"),
    "levels of a method beside stored ones": (weight_changed(0, levels="lsq"), "'0/a.weight#levels' that nothing"),
    "levels stored nowhere": (weight_changed(1, levels="stored"), "no tensor '0/b.weight#levels'"),
    "shape with more weights": (weight_changed(0, shape=[2, 1, 2, 4], view=[2, 1, 2, 4]), "bytes of codes"),
    "shape with fewer weights": (weight_changed(0, shape=[2, 1, 2, 1], view=[2, 1, 2, 1]), "bytes of codes"),
    "shape of 2^60": (weight_changed(0, shape=[2**60], view=[2**60], axes=[]), "impossible sizes"),
    "shape negative": (weight_changed(0, shape=[-2, -6]), "impossible sizes"),
    "view of another size": (weight_changed(0, view=[2, 1, 2, 4]), "layout"),
    "axis beyond the view": (weight_changed(0, axes=[4]), "layout"),
    "axis twice": (weight_changed(0, axes=[0, 0]), "layout"),
    "axes falling": (weight_changed(0, axes=[2, 0]), "layout"),
    "axes that need other scales": (weight_changed(0, axes=[3]), "2 scales for 3 groups"),
    "coding unknown": (weight_changed(0, coding="rans"), "'rans'"),
    "plain with codes a byte": (weight_changed(0, per_byte=1), "'per_byte'"),
    "zstd without codes a byte": (weight_changed(2, per_byte=None), "no per_byte"),
    "plain called zstd": (weight_changed(0, coding="zstd", per_byte=1), "Zstandard"),
    "zstd called plain": (weight_changed(2, coding="plain", per_byte=None), "bytes of codes"),
    "other number of codes a byte": (weight_changed(2, per_byte=4), "does not hold 75 bytes"),
    "too many codes a byte": (weight_changed(2, per_byte=6), "6 codes of 3 levels in a byte"),
    "0 codes a byte": (weight_changed(2, per_byte=0), "per_byte"),
}


@pytest.mark.parametrize("attack", DOCUMENTS)
def test_lying_descriptions(attack: str) -> None:
    content, reason = DOCUMENTS[attack]
    assert reason in refusal(content)


def test_the_files_that_attacks_start_from_are_good() -> None:
    for content in (
        GOOD,
        PLAIN,
        changed(GOOD),
        rebuilt(PLAIN),
        weight_changed(0),
        setting("instances"),
        redigested(GOOD),
    ):
        parse_artifact(content, "good")
    assert weights_of(GOOD)[2]["coding"] == "zstd"
    assert weights_of(GOOD)[2]["per_byte"] == 5
    assert weights_of(GOOD)[0]["levels"] == "stored"


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
