"""What a quantizer is asked to do, and the levels each method has; without torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from frugalseg.errors import ConfigError, Problem

Method = Literal["inq", "dorefa", "twn", "ttq", "lsq"]
Granularity = Literal["layer", "channel"]

PORTIONS = (0.5, 0.75, 0.875, 1.0)
"""Accumulated portions of INQ's weights that are frozen, step by step (Zhou et al., ICLR 2017, sec. 3)."""


def _inq_levels(bits: int) -> NDArray[np.float32]:
    """0 and ±2^0 … ±2^-(2^(b-2) - 1), times a scale of 2^n1: 2^(b-1) + 1 levels (INQ, eq. 1)."""
    powers = np.ldexp(1.0, np.arange(0, -(2 ** (bits - 2)), -1))
    return np.concatenate([-powers, [0.0], powers[::-1]]).astype(np.float32)


def _dorefa_levels(bits: int) -> NDArray[np.float32]:
    """The odd integers from -(2^k - 1) to 2^k - 1: 2i - (2^k - 1) for q_k = i / (2^k - 1)."""
    top = 2**bits - 1
    return np.arange(-top, top + 1, 2, dtype=np.float32)


def _ternary_levels(bits: int) -> NDArray[np.float32]:
    return np.array([-1.0, 0.0, 1.0], dtype=np.float32)


def _lsq_levels(bits: int) -> NDArray[np.float32]:
    """The integers from -Q_N to Q_P."""
    half: int = 2 ** (bits - 1)
    return np.arange(-half, half, dtype=np.float32)


@dataclass(frozen=True)
class MethodRules:
    """What a method allows.

    Attributes
    ----------
    min_bits, max_bits, default_bits
        Bit widths.
    default_granularity
        That of the method's paper; for LSQ, what later work found better.
    levels
        From a bit width to the method's level table.
    """

    min_bits: int
    max_bits: int
    default_bits: int
    default_granularity: Granularity
    levels: Callable[[int], NDArray[np.float32]]


METHODS: dict[Method, MethodRules] = {
    "inq": MethodRules(2, 9, 5, "layer", _inq_levels),
    "dorefa": MethodRules(1, 8, 4, "layer", _dorefa_levels),
    "twn": MethodRules(2, 2, 2, "layer", _ternary_levels),
    "ttq": MethodRules(2, 2, 2, "layer", _ternary_levels),
    "lsq": MethodRules(2, 8, 4, "channel", _lsq_levels),
}


@dataclass(frozen=True)
class QuantSpec:
    """Which quantizer, with how many bits, on which layers.

    Convolutions and transposed convolutions are quantized, all but `float_layers`; biases and batch normalisations
    stay float.

    Attributes
    ----------
    method
        A key of :data:`METHODS`.
    bits
        Bits a weight: INQ 2-9, DoReFa 1-8, TWN and TTQ 2, LSQ 2-8.
    granularity
        What shares a scale: a layer, or an output channel of it. :meth:`of` fills in the method's usual one.
    portions
        INQ only: accumulated portions of the weights to freeze, rising to 1.
    float_layers
        Patterns (``fnmatch``) of names of layers that stay float.

    Raises
    ------
    ConfigError
        With everything that is wrong.
    """

    method: Method
    bits: int
    granularity: Granularity = "layer"
    portions: tuple[float, ...] = PORTIONS
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = [Problem(name, reason) for name, reason in _faults(self) if reason]
        if problems:
            raise ConfigError.of(problems)

    @classmethod
    def of(
        cls,
        method: Method,
        bits: int | None = None,
        granularity: Granularity | None = None,
        *,
        portions: tuple[float, ...] = PORTIONS,
        float_layers: tuple[str, ...] = (),
    ) -> QuantSpec:
        """A specification with the method's own bits and granularity where none are given."""
        if not _known(method):
            raise ConfigError("method", _unknown(method, METHODS))
        rules = METHODS[method]
        return cls(
            method,
            rules.default_bits if bits is None else bits,
            granularity or rules.default_granularity,
            portions,
            float_layers,
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> QuantSpec:
        """The specification whose ``dataclasses.asdict`` went through JSON; unknown and missing keys are errors."""
        known = [field.name for field in dataclass_fields(cls)]
        problems = [Problem(str(key), "no such setting of a quantizer") for key in document if key not in known]
        problems += [Problem(key, "is missing") for key in ("method", "bits") if key not in document]
        if problems:
            raise ConfigError.of(problems)
        settings: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**settings)


def level_table(method: Method, bits: int) -> NDArray[np.float32]:
    """Levels of `method`, rising; a weight's code is its level's place in the table, at most ``2**bits`` of them.

    A weight is its level times the scale of its layer or output channel. For DoReFa, TWN, TTQ and LSQ the levels are
    integers; for INQ 0 and powers of two up to 1, the scale being 2^n1.

    Examples
    --------
    >>> level_table("inq", 3).tolist()
    [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    return METHODS[method].levels(bits)


def lsq_bits(levels: NDArray[np.float32]) -> int:
    """The fewest bits whose levels of LSQ hold all of the given ones."""
    lowest, highest = float(levels.min()), float(levels.max())
    rules = METHODS["lsq"]
    table = (bits for bits in range(rules.min_bits, rules.max_bits + 1) if _lsq_levels(bits)[0] <= lowest)
    return next(bits for bits in table if highest <= _lsq_levels(bits)[-1])


def _known(method: object) -> bool:
    return isinstance(method, str) and method in METHODS


def _unknown(value: object, choices: Mapping[Any, object] | tuple[str, ...]) -> str:
    return f"unknown: {value!r}; there are {', '.join(map(str, choices))}"


def _faults(spec: QuantSpec) -> list[tuple[str, str]]:
    """(setting, fault) of all settings, the fault empty where there is none."""
    return [
        ("method", "" if _known(spec.method) else _unknown(spec.method, METHODS)),
        ("bits", _bits_fault(spec)),
        (
            "granularity",
            "" if spec.granularity in get_args(Granularity) else _unknown(spec.granularity, get_args(Granularity)),
        ),
        ("portions", _portions_fault(spec.portions)),
        (
            "float_layers",
            ""
            if isinstance(spec.float_layers, tuple) and all(isinstance(name, str) for name in spec.float_layers)
            else f"must be a list of patterns, not {spec.float_layers!r}",
        ),
    ]


def _bits_fault(spec: QuantSpec) -> str:
    if not _known(spec.method):
        return ""  # told already
    rules = METHODS[spec.method]
    if type(spec.bits) is int and rules.min_bits <= spec.bits <= rules.max_bits:
        return ""
    allowed = f"{rules.min_bits} to {rules.max_bits}" if rules.min_bits < rules.max_bits else f"{rules.min_bits}"
    return f"must be {allowed} for {spec.method}, not {spec.bits!r}"


def _portions_fault(portions: object) -> str:
    if not isinstance(portions, tuple) or not all(type(portion) in (int, float) for portion in portions):
        return f"must be a list of numbers, not {portions!r}"
    rising = all(low < high for low, high in itertools.pairwise((0.0, *portions)))  # False with any NaN
    if not portions or not rising or portions[-1] != 1:
        return f"must rise from above 0 to 1, not {', '.join(f'{portion:g}' for portion in portions) or 'be empty'}"
    return ""
