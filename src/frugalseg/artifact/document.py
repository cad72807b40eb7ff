"""The description in a packed file: JSON ⇄ :class:`Document`, every field judged."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np

from frugalseg.artifact import fields, strict_json
from frugalseg.artifact.coding import CODINGS, CodeSpace, Plain, Zstd
from frugalseg.artifact.container import check_shape
from frugalseg.artifact.faults import FormatError, quoted, require
from frugalseg.errors import ConfigError
from frugalseg.familiarity import Familiarity
from frugalseg.instances import MAX_OPENING_PX, InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.quant.packing import MAX_BITS
from frugalseg.quant.spec import METHODS, Method, QuantSpec, level_table
from frugalseg.quant.tensors import ChannelLayout
from frugalseg.rejector import Rejector
from frugalseg.stain import Stain

FORMAT = 6
"""The newest format that this version reads, and the one it writes."""

STORED_LEVELS = "stored"
"""Instead of a method's name: the levels are a tensor of their own."""

GRAPH_CODINGS = ("plain", "zstd")

_KEYS = (
    *("format", "net", "class_names", "scale", "pixel_size_um", "object_diameter_px", "instances", "quantization"),
    *("normalisation", "stride", "halo_px", "licence", "provenance", "graph", "members"),
)
_SINCE = {"familiarity": 2, "stain": 6}
"""Keys that descriptions of formats before these do not have; formats before 3 have no rejector among the instances,
those before 4 say nothing of fragments, which were left apart, those before 5 of an opening: there was none."""

_STAIN = ("level", "spread")
_FAMILIARITY = ("mean", "spread", "precision", "threshold")
_INSTANCES = ("threshold", "border_weight", "core_threshold", "min_area", "min_confidence")
_FRAGMENTS = ("fragment_area", "fragment_edge")
_OPENING = ("opening_radius",)
_REJECTOR = ("weights", "bias", "threshold")
_WEIGHT = ("name", "bits", "shape", "view", "axes", "levels", "coding")
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,256}")
_SMALLEST = np.finfo(np.float64).tiny
_LARGE = 1e9
_LARGEST_SCALE = 16
_MAX_STRIDE_PX = 1024
_MAX_HALO_PX = 65536
_MAX_CLASSES = 1000


@dataclass(frozen=True)
class WeightEntry:
    """How one weight is stored.

    Attributes
    ----------
    name
        Of the weight; its tensors' names derive from it.
    space
        What codes there are, the number of levels being 0 while the levels are a tensor not yet looked at.
    layout
        Which weights share a scale.
    levels
        Method whose :func:`~frugalseg.quant.spec.level_table` holds the levels, or None where they are stored.
    coding
        How the codes are stored.
    """

    name: str
    space: CodeSpace
    layout: ChannelLayout
    levels: Method | None
    coding: Plain | Zstd


@dataclass(frozen=True)
class MemberEntry:
    """What the description says of one member."""

    weights: tuple[WeightEntry, ...]
    activations: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Document:
    """What a packed file says of itself, beside its tensors; attributes as in :class:`~frugalseg.artifact.Artifact`.

    Attributes
    ----------
    graph
        How the graph is stored, one of :data:`GRAPH_CODINGS`; None where there is none.
    members
        One entry for each.
    """

    card: ModelCard
    stride: int
    halo_px: int
    licence: str
    provenance: Mapping[str, Any]
    mean: float
    divisor: float
    graph: str | None
    members: tuple[MemberEntry, ...]


def check_name(name: Any, where: str) -> str:
    """A tensor's name: letters, digits, ``_ . : - /``, and nothing that could lead to another place were it a path."""
    safe = isinstance(name, str) and _NAME.fullmatch(name) and not {"", ".", ".."} & set(name.split("/"))
    require(bool(safe), f"has {quoted(name)} for {where}, which cannot be a tensor's name")
    return str(name)


def format_document(document: Document) -> str:
    """Canonical JSON of a description.

    Raises
    ------
    ValueError, TypeError, RecursionError
        The provenance or a number cannot be written as JSON.
    """
    card, settings = document.card, document.card.instances
    return strict_json.dumps(
        {
            "format": FORMAT,
            "net": card.net,
            "class_names": list(card.class_names),
            "scale": float(card.scale),
            "pixel_size_um": None if card.pixel_size_um is None else float(card.pixel_size_um),
            "object_diameter_px": float(card.object_diameter_px),
            "instances": {
                **{key: float(getattr(settings, key)) for key in (*_INSTANCES, *_FRAGMENTS, *_OPENING)},
                "rejector": None if settings.rejector is None else settings.rejector.to_document(),
            },
            "quantization": None if card.quantization is None else asdict(card.quantization),
            "familiarity": None if card.familiarity is None else asdict(card.familiarity),
            "stain": None if card.stain is None else asdict(card.stain),
            "normalisation": {"mean": float(document.mean), "divisor": float(document.divisor)},
            "stride": document.stride,
            "halo_px": document.halo_px,
            "licence": document.licence,
            "provenance": dict(document.provenance),
            "graph": document.graph,
            "members": [_member_object(member) for member in document.members],
        }
    )


def parse_document(text: str) -> Document:
    """The description that a file's text stands for.

    Raises
    ------
    FormatError
        The text is of a newer format, or anything in it cannot be.
    """
    value = strict_json.loads(text)
    number = _check_format(value)
    keys = (*_KEYS, *(key for key, since in _SINCE.items() if number >= since))
    value = fields.record(value, keys, "its description")
    normalisation = fields.record(value["normalisation"], ("mean", "divisor"), "normalisation")
    require(isinstance(value["licence"], str) and bool(value["licence"]), "names no licence of its weights")
    require(isinstance(value["provenance"], dict), "has a provenance that is not an object")
    for free in ("provenance", "licence"):
        strict_json.check_values(value[free], free)
    members = fields.listed(value["members"], "members")
    require(len(members) > 0, "has no members")
    return Document(
        card=_card(value, number),
        stride=fields.integer(value["stride"], "stride", 1, _MAX_STRIDE_PX),
        halo_px=fields.integer(value["halo_px"], "halo_px", 0, _MAX_HALO_PX),
        licence=value["licence"],
        provenance=value["provenance"],
        mean=fields.number(normalisation["mean"], "normalisation.mean", -_LARGE, _LARGE),
        divisor=fields.number(normalisation["divisor"], "normalisation.divisor", _SMALLEST, _LARGE),
        graph=None if value["graph"] is None else fields.choice(value["graph"], "graph", GRAPH_CODINGS),
        members=tuple(_member(member, f"members[{index}]") for index, member in enumerate(members)),
    )


def _check_format(value: Any) -> int:
    """Before all else, since a newer format may look otherwise in everything but this."""
    number = value.get("format") if isinstance(value, dict) else None
    if type(number) is not int or number < 1:
        raise FormatError("does not say which format it has")
    require(
        number <= FORMAT,
        f"has format {number}; this version of frugalseg reads formats up to {FORMAT}: a newer one is needed",
    )
    return number


def _card(value: Mapping[str, Any], number: int) -> ModelCard:
    names = [fields.line(name, "class_names") for name in fields.listed(value["class_names"], "class_names")]
    require(0 < len(names) <= _MAX_CLASSES, f"has {len(names)} classes; there are 1 to {_MAX_CLASSES}")
    require(len(set(names)) == len(names), "has two classes of the same name")
    numbers = (*_INSTANCES, *(_FRAGMENTS if number >= 4 else ()), *(_OPENING if number >= 5 else ()))
    settings = fields.record(value["instances"], numbers if number < 3 else (*numbers, "rejector"), "instances")
    limits = {"min_area": _LARGE, "fragment_area": _LARGE, "opening_radius": MAX_OPENING_PX}
    size = value["pixel_size_um"]
    return ModelCard(
        net=check_name(value["net"], "net"),
        class_names=tuple(names),
        scale=fields.number(value["scale"], "scale", _SMALLEST, _LARGEST_SCALE),
        pixel_size_um=None if size is None else fields.number(size, "pixel_size_um", _SMALLEST, _LARGE),
        object_diameter_px=fields.number(value["object_diameter_px"], "object_diameter_px", _SMALLEST, _LARGE),
        instances=InstanceSettings(
            **{key: fields.number(settings[key], f"instances.{key}", 0, limits.get(key, 1)) for key in numbers},
            rejector=_rejector(settings.get("rejector")),
        ),
        quantization=_quantization(value["quantization"]),
        familiarity=_familiarity(value.get("familiarity")),
        stain=_stain(value.get("stain")),
    )


def _rejector(value: Any) -> Rejector | None:
    if value is None:
        return None
    entry = fields.record(value, _REJECTOR, "instances.rejector")
    weights = fields.listed(entry["weights"], "instances.rejector.weights")
    try:
        return Rejector(
            tuple(fields.number(weight, "instances.rejector.weights", -_LARGE, _LARGE) for weight in weights),
            fields.number(entry["bias"], "instances.rejector.bias", -_LARGE, _LARGE),
            fields.number(entry["threshold"], "instances.rejector.threshold", 0, 1),
        )
    except ValueError as error:
        raise FormatError(f"has a rejector that cannot be: {error}") from None


def _familiarity(value: Any) -> Familiarity | None:
    if value is None:
        return None
    entry = fields.record(value, _FAMILIARITY, "familiarity")
    rows = [entry["mean"], entry["spread"], *fields.listed(entry["precision"], "familiarity.precision")]
    mean, spread, *precision = [
        tuple(fields.number(number, "familiarity", -_LARGE, _LARGE) for number in fields.listed(row, "familiarity"))
        for row in rows
    ]
    try:
        return Familiarity(mean, spread, tuple(precision), fields.number(entry["threshold"], "familiarity", 0, _LARGE))
    except ValueError:
        raise FormatError("has a familiarity that cannot be") from None


def _stain(value: Any) -> Stain | None:
    if value is None:
        return None
    entry = fields.record(value, _STAIN, "stain")
    level, spread = (
        tuple(fields.number(number, "stain", -_LARGE, _LARGE) for number in fields.listed(entry[key], "stain"))
        for key in _STAIN
    )
    try:
        return Stain(level, spread)
    except ValueError:
        raise FormatError("has a stain that cannot be") from None


def _quantization(value: Any) -> QuantSpec | None:
    if value is None:
        return None
    require(isinstance(value, dict), f"has {quoted(value)} for quantization")
    try:
        return QuantSpec.from_document(value)
    except ConfigError as error:
        fault = error.problems[0]
        raise FormatError(f"has a quantization that cannot be: {quoted(fault.where)}: {quoted(fault.reason)}") from None


def _member(value: Any, where: str) -> MemberEntry:
    entry = fields.record(value, ("weights", "activations"), where)
    weights = fields.listed(entry["weights"], f"{where}.weights")
    activations = entry["activations"]
    require(isinstance(activations, dict), f"has {quoted(activations)} for {where}.activations")
    return MemberEntry(
        weights=tuple(_weight(weight, f"{where}.weights[{index}]") for index, weight in enumerate(weights)),
        activations={
            fields.line(name, f"a name in {where}.activations"): _range(limits, f"{where}.activations")
            for name, limits in activations.items()
        },
    )


def _range(value: Any, where: str) -> tuple[float, float]:
    limits = fields.listed(value, where)
    require(len(limits) == 2, f"has a range of {len(limits)} numbers in {where}")
    largest = float(np.finfo(np.float32).max) / 2  # so that their distance is a number, too
    low, high = (fields.number(limit, where, -largest, largest) for limit in limits)
    require(low <= high, f"has a range that ends before it begins in {where}")
    return low, high


def _weight(value: Any, where: str) -> WeightEntry:
    compressed = isinstance(value, dict) and value.get("coding") == Zstd.name
    entry = fields.record(value, (*_WEIGHT, "per_byte") if compressed else _WEIGHT, where)
    name = check_name(entry["name"], f"{where}.name")
    shape, view, axes = (fields.counts(entry[key], f"{where}.{key}") for key in ("shape", "view", "axes"))
    for sizes in (shape, view):
        check_shape(sizes, f"weight {quoted(name)}")
    require(
        math.prod(shape) == math.prod(view) and sorted({*axes}) == [*axes] and all(axis < len(view) for axis in axes),
        f"has a layout of weight {quoted(name)} that cannot be",
    )
    coding = fields.choice(entry["coding"], f"{where}.coding", CODINGS)
    bits = fields.integer(entry["bits"], f"{where}.bits", 1, MAX_BITS)
    levels = _levels(entry["levels"], bits, where)
    return WeightEntry(
        name=name,
        space=CodeSpace(bits, 0 if levels is None else len(level_table(levels, bits)), math.prod(shape)),
        layout=ChannelLayout(shape, view, axes),
        levels=levels,
        coding=Zstd(fields.integer(entry["per_byte"], f"{where}.per_byte", 1, 8)) if coding == Zstd.name else Plain(),
    )


def _levels(value: Any, bits: int, where: str) -> Method | None:
    """The method whose levels a weight has, which must have that many bits; None where the levels are stored."""
    if fields.choice(value, f"{where}.levels", (*get_args(Method), STORED_LEVELS)) == STORED_LEVELS:
        return None
    method: Method = value
    rules = METHODS[method]
    fields.integer(bits, f"{where}.bits, levels being those of {method}", rules.min_bits, rules.max_bits)
    return method


def _member_object(member: MemberEntry) -> dict[str, Any]:
    return {
        "weights": [_weight_object(weight) for weight in member.weights],
        "activations": {name: list(limits) for name, limits in member.activations.items()},
    }


def _weight_object(entry: WeightEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "bits": entry.space.bits,
        "shape": list(entry.layout.shape),
        "view": list(entry.layout.view),
        "axes": list(entry.layout.axes),
        "levels": entry.levels or STORED_LEVELS,
        "coding": entry.coding.name,
        **({"per_byte": entry.coding.per_byte} if isinstance(entry.coding, Zstd) else {}),
    }
