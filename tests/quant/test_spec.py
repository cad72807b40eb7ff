"""Specifications and level tables."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from frugalseg.errors import ConfigError
from frugalseg.quant import METHODS, QuantSpec, level_table


def test_defaults_are_the_methods_own() -> None:
    assert QuantSpec.of("lsq") == QuantSpec("lsq", 4, "channel")
    assert QuantSpec.of("inq") == QuantSpec("inq", 5, "layer", (0.5, 0.75, 0.875, 1.0))
    assert QuantSpec.of("inq", 7, "channel").granularity == "channel"
    assert QuantSpec.of("twn").bits == QuantSpec.of("ttq").bits == 2


@pytest.mark.parametrize(
    ("method", "low", "high"), [("inq", 2, 9), ("dorefa", 1, 8), ("twn", 2, 2), ("ttq", 2, 2), ("lsq", 2, 8)]
)
def test_bits_within_the_methods_range_only(method: str, low: int, high: int) -> None:
    for bits in (low, high):
        assert QuantSpec(method, bits).bits == bits
    for bits in (low - 1, high + 1, float(low), True, None):
        with pytest.raises(ConfigError, match=f"bits: must be {low}"):
            QuantSpec(method, bits)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        QuantSpec("lsq", 9, "pixel", (0.5, 0.4, 1.0), "head")
    assert [problem.where for problem in caught.value.problems] == ["bits", "granularity", "portions", "float_layers"]


@pytest.mark.parametrize("portions", [(), (0.5,), (0.0, 1.0), (0.5, 0.5, 1.0), (0.5, 1.2), (float("nan"), 1.0), 0.5])
def test_portions_must_rise_to_one(portions: object) -> None:
    with pytest.raises(ConfigError, match="portions"):
        QuantSpec("inq", 5, portions=portions)


@pytest.mark.parametrize("method", ["int8", None, ["inq"], {}])
def test_unknown_method(method: object) -> None:
    with pytest.raises(ConfigError, match="there are inq, dorefa, twn, ttq, lsq"):
        QuantSpec(method, 4)
    with pytest.raises(ConfigError, match="there are inq"):
        QuantSpec.of(method)


def test_document_round_trip_and_unknown_keys() -> None:
    spec = QuantSpec.of("inq", 4, portions=(0.3, 1.0), float_layers=("head", "up.*"))
    assert QuantSpec.from_document(json.loads(json.dumps(asdict(spec)))) == spec
    with pytest.raises(ConfigError, match="method: is missing"):
        QuantSpec.from_document({"bits": 4, "bit": 3})
    with pytest.raises(ConfigError, match="bit: no such setting"):
        QuantSpec.from_document({"method": "lsq", "bits": 4, "bit": 3})


def test_level_tables_by_hand() -> None:
    assert level_table("inq", 2).tolist() == [-1, 0, 1]
    assert level_table("inq", 4).tolist() == [-1, -0.5, -0.25, -0.125, 0, 0.125, 0.25, 0.5, 1]
    assert level_table("dorefa", 1).tolist() == [-1, 1]
    assert level_table("dorefa", 2).tolist() == [-3, -1, 1, 3]
    assert level_table("twn", 2).tolist() == level_table("ttq", 2).tolist() == [-1, 0, 1]
    assert level_table("lsq", 3).tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]


def test_level_tables_fit_their_bits_and_rise() -> None:
    for method, rules in METHODS.items():
        for bits in range(rules.min_bits, rules.max_bits + 1):
            levels = level_table(method, bits)
            assert levels.dtype == np.float32
            assert len(levels) <= 2**bits
            assert (np.diff(levels.astype(np.float64)) > 0).all()
    assert len(level_table("inq", 9)) == 257
    assert level_table("inq", 9)[129] == np.float32(2.0**-127)


def test_importing_the_package_needs_no_torch() -> None:
    program = "import sys, frugalseg.quant; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
