"""What a ledger of the study says: results by cell, and means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.errors import InputError
from frugalseg.ledger import Ledger
from frugalseg.metrics import pooled
from frugalseg.study.grid import EVERY, StudyCell

Floats = NDArray[np.float64]

FIGURES = ("object_f1", "object_dice", "object_hausdorff")
PARTS = ("testA", "testB")


@dataclass(frozen=True, eq=False)
class CellResult:
    """What came out of a cell.

    Attributes
    ----------
    cell
        Which.
    n_images
        Images that were annotated.
    scores
        By part of the data: sums of each image (``ImageScores.as_list``), shape (N, K), images by name.
    disagreement
        By part: standard deviation over the networks of each image, shape (N,); empty for single networks.
    sha256
        Of the weights of each network.
    bytes
        ``float32``, ``plain`` and ``coded``, of all networks together.
    minutes
        Of training all its networks, and of scoring.
    environment
        What it was computed with.
    """

    cell: StudyCell
    n_images: int
    scores: Mapping[str, Floats]
    disagreement: Mapping[str, Floats]
    sha256: tuple[str, ...]
    bytes: Mapping[str, int]
    minutes: float
    environment: Mapping[str, Any]

    def figure(self, part: str, name: str) -> float:
        """A figure over all images of a part, pooled as the challenge does."""
        return float(pooled(self.scores[part].sum(axis=0), name))


def read_results(folder: Path) -> list[CellResult]:
    """Results of all cells, by name; of a cell that was scored with and without part B, the one with it.

    Raises
    ------
    InputError
        A file is damaged, no study's, or of other settings, data or devices than another.
    """
    ledger = Ledger(folder)
    found: dict[str, CellResult] = {}
    names: dict[str, tuple[str, ...]] = {}
    kinds: dict[tuple[str, bool], tuple[Any, ...]] = {}
    for key, result, environment in ledger.cells():
        try:
            cell = StudyCell.parse(str(key["cell"]))
            scores = {part: dict(sorted(images.items())) for part, images in result["scores"].items()}
            disagreement = {
                part: np.array([value for _, value in sorted(images.items())], dtype=np.float64)
                for part, images in (result["disagreement"] or {}).items()
            }
            read = CellResult(
                cell=cell,
                n_images=len(result["images"]),
                scores={part: np.array(list(images.values()), dtype=np.float64) for part, images in scores.items()},
                disagreement=disagreement,
                sha256=tuple(result["sha256"]),
                bytes=dict(result["bytes"]),
                minutes=ledger.seconds(key) / 60,
                environment=environment,
            )
            kind = tuple(key[name] for name in ("train", "testA", "settings", "device"))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(ledger.path(key), "holds no result of the study") from None
        # all images are selected without settings of the selection
        if kinds.setdefault((cell.net, cell.selection == EVERY), kind) != kind:
            raise InputError(ledger.path(key), "is of other data, settings or devices than the cells before")
        for part, images in scores.items():
            if names.setdefault(part, tuple(images)) != tuple(images):
                raise InputError(ledger.path(key), f"was scored on other images of {part} than the cells before")
        if cell.name not in found or len(scores) > len(found[cell.name].scores):
            found[cell.name] = read
    return [found[name] for name in sorted(found)]


def by_row(results: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Results that differ in the seed alone, seeds rising, by the cells' name without it."""
    rows: dict[str, list[CellResult]] = {}
    for result in sorted(results, key=lambda each: each.cell.seed):
        rows.setdefault(result.cell.row, []).append(result)
    return rows


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation of the sample; None for a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
