"""Makes the golden files of the format that is current: ``python -m artifact.make_golden`` in ``tests``.

Run once for each format. Files that are there are never written again: they show that what was written once can be
read for ever.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.artifact import FORMAT, Artifact, Member, artifact_bytes
from frugalseg.quant.spec import QuantSpec, level_table
from frugalseg.quant.tensors import ChannelLayout, QuantizedTensor

from .builders import artifact, card, content_of, every_method, float_tensors, weight

FOLDER = Path(__file__).parent / "golden"


def compressible(
    rng: np.random.Generator, n_levels: int, bits: int, n: int, *, stored: bool = False
) -> QuantizedTensor:
    """Few-bit codes with likely and unlikely values."""
    codes = rng.binomial(n_levels - 1, 0.5, n).astype(np.uint16 if bits > 8 else np.uint8)
    tables = {3: level_table("twn", 2), 5: level_table("inq", 3), 17: level_table("inq", 5), 257: level_table("inq", 9)}
    levels = np.linspace(-1.5, 2, n_levels).astype(np.float32) if stored else tables[n_levels]
    scale = rng.uniform(0.1, 2, 1).astype(np.float32)
    return QuantizedTensor(bits, codes, levels, scale, ChannelLayout.of((n,), "layer"))


def models() -> dict[str, Artifact]:
    """Between them: every method, bit width, coding and layout, odd floats, several members, both kinds of graph."""
    rng = np.random.default_rng(2026)
    methods = Member(every_method(rng), float_tensors(rng))
    coded = Member(
        {
            "ternary": compressible(rng, 3, 2, 602),
            "inq3": compressible(rng, 5, 3, 500),
            "inq5": compressible(rng, 17, 5, 500),
            "inq9": compressible(rng, 257, 9, 500),
            "own": compressible(rng, 7, 3, 500, stored=True),
            "own.plain": compressible(rng, 6, 4, 5, stored=True),
            "empty": compressible(rng, 3, 2, 0),
            "constant": QuantizedTensor(
                1, np.zeros((), np.uint8), np.ones(1, np.float32), np.ones(1, np.float32), ChannelLayout((), (), ())
            ),
        },
        {},
    )
    floats = {"bias": rng.standard_normal(4).astype(np.float32)}
    ensemble = [
        Member({"w": weight("inq", 5, (4, 3, 3, 3), rng)}, floats, {"/relu_0": (0.0, 6.0), "image": (-1.0, 1.0)}),
        Member({"w": weight("ttq", 2, (4, 3, 3, 3), rng, "channel")}, floats, {"/relu_0": (0.0, 5.5)}),
        Member({}, {**floats, "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float16)}),
    ]
    return {
        "methods": artifact(methods, graph=bytes(range(64))),
        "codings": artifact(coded, provenance={}, card=replace(card(), quantization=QuantSpec("twn", 2))),
        "ensemble": artifact(
            *ensemble, graph=b"weightless " * 40, card=replace(card(), quantization=QuantSpec("ttq", 2))
        ),
    }


def main() -> None:
    """Write what is missing, with a description of its content beside it."""
    FOLDER.mkdir(exist_ok=True)
    for name, model in models().items():
        path = FOLDER / f"v{FORMAT}_{name}.fseg"
        if path.exists():
            print(f"{path.name} is there and stays")
            continue
        path.write_bytes(artifact_bytes(model, path.name))
        content: dict[str, Any] = content_of(model)
        path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
