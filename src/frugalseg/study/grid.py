"""The study as a list of cells: what is annotated, how networks are trained on it, how many are averaged.

Imports no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

from frugalseg.errors import ConfigError

EVERY = "every"
"""The selection that annotates all images."""

SELECTIONS: Mapping[str, str] = {
    "random": "random",
    "suggestive-float": "suggestive:float",
    "suggestive-inq-3": "suggestive:inq-3",
    "suggestive-inq-5": "suggestive:inq-5",
    "suggestive-inq-7": "suggestive:inq-7",
    "suggestive-dorefa-1": "suggestive:dorefa-1",
    "suggestive-twn-2": "suggestive:twn-2",
}
"""Ways to choose half of the images, and the strategies that play them (:mod:`frugalseg.simulation`)."""

QUANTIZED = ("inq-3", "inq-5", "inq-7", "dorefa-1", "twn-2")
CONTROLS = ("float-plain", "freeze", "noise-3", "noise-5", "noise-7", "decay")
TRAININGS = ("float", *QUANTIZED, *CONTROLS)
"""``float`` gets the steps of the quantized phase, too; ``float-plain`` is the network that all phases begin from."""

CONTROLLED = ("random", "suggestive-float", "suggestive-inq-5", EVERY)
"""Selections with which the controls are trained; with the others only what the paper has."""

SEEDS = (0, 1, 2)
NETWORKS: Mapping[str, int] = {"cpu": 3, "gpu": 5}
"""Networks of an ensemble, by preset; the paper's are five."""

CORE = "core"
ALL = "all"
_CORE_SELECTIONS = ("random", "suggestive-float", "suggestive-inq-5", EVERY)
_CORE_TRAININGS = ("float", "inq-5", "noise-5")


@dataclass(frozen=True)
class StudyCell:
    """One figure of the study.

    Attributes
    ----------
    net
        Network.
    selection
        How the annotated images were chosen: a key of `SELECTIONS`, or `EVERY`.
    training
        One of `TRAININGS`.
    n_networks
        Networks whose probabilities are averaged.
    seed
        Of the selection and of the networks.
    """

    net: str
    selection: str
    training: str
    n_networks: int
    seed: int

    @property
    def share(self) -> float:
        """Share of the training images that is annotated."""
        return 1.0 if self.selection == EVERY else 0.5

    @property
    def row(self) -> str:
        """Name without the seed, such as ``lite/half/random/inq-5/x1``."""
        share = "all" if self.share == 1 else "half"
        return f"{self.net}/{share}/{self.selection}/{self.training}/x{self.n_networks}"

    @property
    def name(self) -> str:
        """Such as ``lite/half/random/inq-5/x1/seed-0``."""
        return f"{self.row}/seed-{self.seed}"

    @classmethod
    def parse(cls, name: str) -> StudyCell:
        """The cell of a name; ``ValueError`` for what is none."""
        net, _, selection, training, networks, seed = name.split("/")
        cell = cls(net, selection, training, int(networks.removeprefix("x")), int(seed.removeprefix("seed-")))
        known = net in NETS and selection in (*SELECTIONS, EVERY) and training in TRAININGS
        if cell.name != name or not known:
            raise ValueError(f"{name!r} is no name of a cell")
        return cell

    def twin(self, field: str, value: str | int) -> StudyCell:
        """The cell that differs in one field."""
        if field not in {each.name for each in fields(self)}:
            raise ValueError(f"a cell has no {field!r}")
        return replace(self, **{field: value})  # type: ignore[arg-type]


NETS = ("lite", "fcn")


def _cells(preset: str) -> Iterator[StudyCell]:
    numbers = (1, NETWORKS[preset])
    for net, n_networks, seed in itertools.product(NETS, numbers, SEEDS):
        for selection in (*SELECTIONS, EVERY):
            trainings = TRAININGS if selection in CONTROLLED else TRAININGS[: 1 + len(QUANTIZED)]
            for training in trainings:
                yield StudyCell(net, selection, training, n_networks, seed)


GRID: Mapping[str, tuple[StudyCell, ...]] = {preset: tuple(_cells(preset)) for preset in NETWORKS}
"""All cells of each preset, in the order in which they are run: single networks of all seeds before ensembles."""


def is_core(cell: StudyCell) -> bool:
    """Whether the cell is of the part that two cores can do."""
    return cell.net == "lite" and cell.selection in _CORE_SELECTIONS and cell.training in _CORE_TRAININGS


def choose_cells(preset: str, text: str) -> tuple[StudyCell, ...]:
    """Cells that ``--cells`` names, in the grid's order.

    Parameters
    ----------
    preset
        A key of `GRID`.
    text
        Patterns (``fnmatch``) of names with commas between; ``core`` and ``all`` stand for these, ``core:PATTERN`` for
        a part of the core.

    Raises
    ------
    ConfigError
        A pattern fits no cell.
    """
    patterns = [pattern.strip() for pattern in text.split(",") if pattern.strip()]
    chosen: set[StudyCell] = set()
    for pattern in patterns:
        fitting = [cell for cell in GRID[preset] if _fits(cell, pattern)]
        if not fitting:
            raise ConfigError("--cells", f"no cell fits {pattern!r}; names are like {GRID[preset][0].name}")
        chosen.update(fitting)
    if not chosen:
        raise ConfigError("--cells", "names no cell")
    return tuple(cell for cell in GRID[preset] if cell in chosen)


def _fits(cell: StudyCell, pattern: str) -> bool:
    of_core = pattern == CORE or pattern.startswith(f"{CORE}:")
    if of_core and not is_core(cell):
        return False
    glob = "*" if pattern in (CORE, ALL) else pattern.removeprefix(f"{CORE}:")
    return fnmatchcase(cell.name, glob)


def needed_seeds(cells: Sequence[StudyCell]) -> tuple[int, ...]:
    """Seeds of the cells, rising."""
    return tuple(sorted({cell.seed for cell in cells}))
