"""Cells of the study made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frugalseg.ledger import Ledger

COMMON = {"train": "t", "testA": "a", "testB": None, "device": "cpu"}


def image(dice: float, *, found: int = 10) -> list[float]:
    """Scores of an image with ten objects of ten pixels each side, of which `found` are; all with this Dice."""
    return [10, 100.0, 100 * dice, 300.0, 10, 100.0, 100 * dice, 300.0, found, 100, 100, 90, 0, 0, 0, 0]


def put_cell(
    folder: Path,
    name: str,
    dice: Sequence[float],
    *,
    part_b: Sequence[float] = (),
    apart: Sequence[float] = (),
    minutes: float = 3.0,
    **key: Any,
) -> None:
    """Write a cell whose images have these Dice; `apart` is how far the networks of an ensemble are apart."""
    scores = {"testA": {f"testA_{number}": image(value) for number, value in enumerate(dice)}}
    if part_b:
        scores["testB"] = {f"testB_{number}": image(value) for number, value in enumerate(part_b)}
    disagreement = {"testA": {f"testA_{number}": value for number, value in enumerate(apart)}} if apart else None
    net, _, selection, *_ = name.split("/")
    result = {
        "images": ["train_1", "train_2"],
        "scores": scores,
        "disagreement": disagreement,
        "sha256": ["0" * 64],
        "bytes": {"float32": 1600, "plain": 400, "coded": 300},
    }
    whole = {**COMMON, "settings": f"{net}-{selection == 'every'}", "cell": name, **key}
    Ledger(folder).put({**whole, "testB": "b"} if part_b else whole, result, 60 * minutes)
