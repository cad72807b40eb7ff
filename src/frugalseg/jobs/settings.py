"""What jobs of the page can be told, by kind; ``frugalseg.config.resolve_config`` makes them of a job's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainJob:
    """Train the next round.

    Attributes
    ----------
    preset
        How long, as ``frugalseg train --preset``.
    members
        Networks of the ensemble.
    then_suggest
        So many images are suggested afterwards, by a job of its own; None for none.
    from_scratch
        Do not begin from the last round's weights.
    executor, workers
        Where members are trained, as of ``frugalseg train``.

    Notes
    -----
    Beside these, a job takes every setting of ``TrainConfig`` and ``EnsembleConfig`` by its name.
    """

    preset: Literal["smoke", "round", "cpu", "gpu"] = "round"
    members: int = 5
    then_suggest: int | None = None
    from_scratch: bool = False
    executor: Literal["serial", "processes"] = "processes"
    workers: int = 0

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"members must be at least 1, not {self.members}")
        if self.then_suggest is not None and self.then_suggest < 1:
            raise ValueError(f"then_suggest must be at least 1, not {self.then_suggest}")


@dataclass(frozen=True)
class SuggestJob:
    """Suggest `k` images; the usual width of an object helps before the first training."""

    k: int = 8
    object_diameter_px: float | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")
        if self.object_diameter_px is not None and not self.object_diameter_px > 0:
            raise ValueError(f"object_diameter_px must be positive, not {self.object_diameter_px}")


@dataclass(frozen=True)
class PredictJob:
    """Propose the objects of one image, by its number."""

    image: int
