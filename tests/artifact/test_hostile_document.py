"""Files whose description lies, container and digest being right: each costs one line."""

from __future__ import annotations

import json

import pytest

from frugalseg.artifact import parse_artifact

from .attacks import GOOD, PLAIN, raw_document, refusal, weights_of
from .builders import changed, document_of, rebuilt, redigested


def weight_changed(index: int, **fields: object) -> bytes:
    """GOOD with one weight described otherwise; a field that is None is removed."""
    weights = weights_of(GOOD)
    merged = {**weights[index], **fields}
    weights[index] = {key: value for key, value in merged.items() if value is not None}
    return changed(GOOD, members=[{**document_of(GOOD)["members"][0], "weights": weights}])


def setting(key: str, **fields: object) -> bytes:
    return changed(GOOD, **{key: {**document_of(GOOD)[key], **fields}})


def rejector(**fields: object) -> bytes:
    return setting("instances", rejector={**document_of(GOOD)["instances"]["rejector"], **fields})


def without(key: str) -> bytes:
    document = document_of(GOOD)
    del document[key]
    return rebuilt(GOOD, document=document)


def aged(number: int, *keys: str) -> bytes:
    """The file with a lower number of its format, and without these keys."""
    document = document_of(GOOD)
    kept = {key: value for key, value in document.items() if key not in keys}
    return rebuilt(GOOD, document={**kept, "format": number})


def activations(value: object) -> bytes:
    return changed(GOOD, members=[{**document_of(GOOD)["members"][0], "activations": value}])


DEEP = '{"format":1,"a":' + "[" * 90_000 + "]" * 90_000 + "}"
DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "no JSON": (raw_document("{"), "not JSON"),
    "empty": (raw_document(""), "not JSON"),
    "a list": (raw_document("[]"), "which format"),
    "null": (raw_document("null"), "which format"),
    "repeated key": (raw_document('{"format":1,"format":2}'), "'format' twice"),
    "deep": (raw_document(DEEP), "too deep"),
    "infinite": (raw_document('{"format":Infinity}'), "Infinity for a number"),
    "newer format": (changed(GOOD, format=7), "has format 7; this version of frugalseg reads formats up to 6"),
    "newer format, all else unknown": (raw_document('{"format":7,"x":[]}'), "has format 7"),
    "format 0": (changed(GOOD, format=0), "which format"),
    "format true": (changed(GOOD, format=True), "which format"),
    "format 1.0": (changed(GOOD, format=1.0), "which format"),
    "a key of format 2 in format 1": (aged(1, "stain"), "'familiarity' in its description"),
    "keys of format 4 in format 3": (aged(3, "stain"), "'fragment_area' in instances"),
    "keys of format 5 in format 4": (aged(4, "stain"), "'opening_radius' in instances"),
    "a key of format 6 in format 5": (changed(GOOD, format=5), "'stain' in its description"),
    "a huge opening": (setting("instances", opening_radius=17), "for instances.opening_radius"),
    "fragments of negative size": (setting("instances", fragment_area=-1), "for instances.fragment_area"),
    "fragment edge 2": (setting("instances", fragment_edge=2), "for instances.fragment_edge"),
    "rejector a number": (setting("instances", rejector=1), "1 for instances.rejector"),
    "rejector of six weights": (rejector(weights=[0] * 6), "rejector that cannot be: a rejector has 7 weights, not 6"),
    "rejector with a text": (rejector(weights=["a"] * 7), "for instances.rejector.weights"),
    "rejector with a huge bias": (rejector(bias=1e10), "for instances.rejector.bias"),
    "rejector with threshold 2": (rejector(threshold=2), "for instances.rejector.threshold"),
    "rejector with another key": (rejector(x=1), "'x' in instances.rejector"),
    "familiarity of nine numbers": (setting("familiarity", mean=[0] * 9), "familiarity that cannot be"),
    "familiarity with a text": (setting("familiarity", spread=["a"] * 10), "for familiarity"),
    "familiarity without spread": (setting("familiarity", spread=[0] * 10), "familiarity that cannot be"),
    "familiarity of a row too few": (setting("familiarity", precision=[[0] * 10] * 9), "familiarity that cannot be"),
    "familiarity a number": (changed(GOOD, familiarity=1), "1 for familiarity"),
    "familiarity with threshold 0": (setting("familiarity", threshold=0), "familiarity that cannot be"),
    "stain of two colours": (setting("stain", level=[0, 0]), "stain that cannot be"),
    "stain without spread": (setting("stain", spread=[1, 0, 1]), "stain that cannot be"),
    "stain with a text": (setting("stain", level=["a", 0, 0]), "for stain"),
    "stain with another key": (setting("stain", white=[255] * 3), "'white' in stain"),
    "stain a number": (changed(GOOD, stain=1), "1 for stain"),
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
