"""From cells to results: images are selected, networks trained, figures kept; on one machine or several."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frugalseg.errors import InputError, StoppedError
from frugalseg.executors import Executor
from frugalseg.images import open_dataset
from frugalseg.ledger import Ledger
from frugalseg.locking import training_lock
from frugalseg.simulation.config import Contender
from frugalseg.simulation.run import LEDGER as SIMULATED
from frugalseg.simulation.run import check_results, common_key, simulate
from frugalseg.study.config import StudyConfig
from frugalseg.study.grid import EVERY, SELECTIONS, StudyCell, needed_seeds
from frugalseg.study.networks import Network, Scoring, Work, do_work

log = logging.getLogger(__name__)

LEDGER = "ledger"
SELECTION = "selection"
WORK = "work"
TRAIN, PART_A, PART_B = "train", "testA", "testB"

Configs = Mapping[str, StudyConfig]
"""Settings by network."""


@dataclass(frozen=True)
class StudyData:
    """The images: their folder, names of the training images, and hashes of each part; part B may be missing."""

    root: Path
    names: tuple[str, ...]
    hashes: Mapping[str, str | None]

    @classmethod
    def open(cls, root: Path) -> StudyData:
        """Open a folder with the parts ``train`` and ``testA``; ``InputError`` where one has no annotated image."""
        hashes: dict[str, str | None] = {PART_B: None}
        known = open_dataset(root).subsets
        for part in (TRAIN, PART_A, *([PART_B] if PART_B in known else [])):
            dataset = open_dataset(root, subset=part)
            if not dataset.labelled:
                raise InputError(root, f"has no annotated image in {part!r}")
            hashes[part] = dataset.content_hash()[:16]
            if part == TRAIN:
                names = tuple(sample.name for sample in dataset.labelled)
        return cls(root.resolve(), names, hashes)

    @property
    def parts(self) -> tuple[str, ...]:
        """Test parts that are there."""
        return tuple(part for part in (PART_A, PART_B) if self.hashes[part])

    def key(self, cell: StudyCell, config: StudyConfig, device: str) -> dict[str, Any]:
        """The cell's key in the ledger."""
        return {"cell": cell.name, **self.hashes, "settings": config.digest(cell), "device": device}


def reproduce(
    data: StudyData, out: Path, cells: Sequence[StudyCell], configs: Configs, executor: Executor, *, wait: bool = True
) -> None:
    """Fill the ledger in ``out/ledger`` with the cells that are not there yet.

    Parameters
    ----------
    data
        Images.
    out
        Folder for everything; networks stay in ``out/work``, so that further cells need no second training.
    cells, configs
        What to run; settings of each of their networks.
    executor
        Trains networks side by side.
    wait
        Wait for another training on this machine to end; else that is an error.

    Raises
    ------
    InputError
        The data cannot be used, or the ledger holds cells of other data, settings or devices.
    StoppedError
        Ctrl-C; the same command goes on.
    """
    data, out = replace(data, root=data.root.resolve()), out.resolve()  # workers may have another working directory
    check_ledger(out / LEDGER, data, configs)
    left = not_done(out, data, cells, configs)
    try:
        images = select_images(data, out, left, configs, executor, wait=wait)
        with training_lock(out, wait):
            done = len(cells) - len(left)
            for stage in _stages(data, out, left, configs, images):
                for work, filled in zip(stage, executor.map(do_work, stage, label=_label), strict=True):
                    done += filled
                    log.info("%s: done; %d of %d cells", work.name, done, len(cells))
    except StoppedError:
        raise StoppedError("interrupted; what is done is kept, and the same command goes on") from None


def not_done(out: Path, data: StudyData, cells: Sequence[StudyCell], configs: Configs) -> list[StudyCell]:
    """Those of the cells that the ledger lacks, or that were not scored on part B though it is there."""
    part_b = data.hashes[PART_B]
    done = {key["cell"] for key, _, _ in Ledger(out / LEDGER).cells() if part_b is None or key[PART_B] == part_b}
    return [cell for cell in cells if cell.name not in done]


def check_ledger(folder: Path, data: StudyData, configs: Configs) -> None:
    """Refuse results that could not stand beside those that are to be made.

    Raises
    ------
    InputError
        A cell is no study's, or of other data, settings or another device. Part B may be missing, here or there.
    """
    device = device_name()
    for key, _, _ in Ledger(folder).cells():
        try:
            cell = StudyCell.parse(str(key["cell"]))
        except (KeyError, ValueError):
            raise InputError(folder, f"holds {key}, which is no cell of the study") from None
        config = configs.get(cell.net)
        expected = data.key(cell, config, device) if config else {**data.hashes, "device": device}
        if key.get(PART_B) is None or data.hashes[PART_B] is None:
            expected[PART_B] = key.get(PART_B)
        wrong = [name for name, value in expected.items() if key.get(name) != value]
        if wrong:
            raise InputError(folder, f"holds {cell.name} of other {' and '.join(wrong)}; choose another folder")


def merge(out: Path, other: Path, data: StudyData, configs: Configs) -> int:
    """Take over another machine's cells, and its selections; how many cells were new.

    `other` is a folder of ``reproduce``, or a ledger alone.
    """
    ledger = other / LEDGER if (other / LEDGER).is_dir() else other
    check_ledger(ledger, data, configs)
    check_ledger(out / LEDGER, data, configs)
    selections = sorted(other.glob(f"{SELECTION}/*/{SIMULATED}"))
    for selection in selections:
        for config in configs.values():
            if config.suggest_net == selection.parent.name:
                check_results(selection, _simulated_key(data, config))
    for selection in selections:
        Ledger(out / SELECTION / selection.parent.name / SIMULATED).merge(selection)
    return Ledger(out / LEDGER).merge(ledger)


def merge_selection(out: Path, other: Path, data: StudyData, config: StudyConfig) -> int:
    """Take over results of ``frugalseg simulate``; how many were new.

    Raises
    ------
    InputError
        They are of other data, settings or another device.
    """
    ledger = other / SIMULATED if (other / SIMULATED).is_dir() else other
    check_results(ledger, _simulated_key(data, config))
    return Ledger(out / SELECTION / config.suggest_net / SIMULATED).merge(ledger)


def _simulated_key(data: StudyData, config: StudyConfig) -> dict[str, Any]:
    """What all results of the simulation that chooses images share."""
    return common_key(data.hashes[TRAIN] or "", config.simulation(1, 0), PART_A)


def select_images(
    data: StudyData, out: Path, cells: Sequence[StudyCell], configs: Configs, executor: Executor, *, wait: bool = True
) -> dict[tuple[str, str, int], tuple[str, ...]]:
    """Names of the annotated images by (network, selection, seed); what the ledger lacks is simulated."""
    found: dict[tuple[str, str, int], tuple[str, ...]] = {}
    for net in dict.fromkeys(cell.net for cell in cells):
        own = [cell for cell in cells if cell.net == net]
        found |= {(net, EVERY, cell.seed): data.names for cell in own if cell.selection == EVERY}
        config = configs[net]
        folder = out / SELECTION / config.suggest_net
        check_results(folder / SIMULATED, _simulated_key(data, config))
        budget = config.simulation(1, 0).counts(len(data.names))[-1]
        for seed in needed_seeds(own):
            wanted = [name for name in SELECTIONS if any((c.selection, c.seed) == (name, seed) for c in own)]
            chosen = _selected(folder, wanted, seed, budget)
            if missing := [name for name in wanted if name not in chosen]:
                log.info("choosing images, seed %d: %s", seed, ", ".join(missing))
                contenders = [Contender.parse(SELECTIONS[name]) for name in missing]
                settings = config.simulation(1, seed)
                simulate(data.root, folder, contenders, settings, executor, test_subset=PART_A, wait=wait)
                chosen = _selected(folder, wanted, seed, budget)
            found |= {(net, name, seed): names for name, names in chosen.items()}
    return found


def _selected(folder: Path, wanted: Sequence[str], seed: int, budget: int) -> dict[str, tuple[str, ...]]:
    """Images of each selection that has been played to the budget."""
    by_strategy = {
        key["strategy"]: tuple(result["labelled"])
        for key, result, _ in Ledger(folder / SIMULATED).cells()
        if (key["seed"], key["budget"]) == (seed, budget)
    }
    return {name: by_strategy[SELECTIONS[name]] for name in wanted if SELECTIONS[name] in by_strategy}


def _stages(
    data: StudyData,
    out: Path,
    cells: Sequence[StudyCell],
    configs: Configs,
    images: Mapping[tuple[str, str, int], tuple[str, ...]],
) -> Iterator[list[Work]]:
    """Lists of work to be done one after the other; within a list all may run at once.

    Single networks come first; then, seed by seed, the further members of ensembles, and their cells.
    """
    device = device_name()

    def scoring(cell: StudyCell) -> Scoring:
        config = configs[cell.net]
        names = images[cell.net, cell.selection, cell.seed]
        networks = tuple(_network(out, data, cell, config, names, member) for member in range(cell.n_networks))
        return Scoring(data.key(cell, config, device), networks, data.parts)

    def work(name: str, scorings: Sequence[Scoring] = (), networks: Sequence[Network] = ()) -> Work:
        return Work(name, data.root, out / LEDGER, tuple(networks), tuple(scorings))

    groups: dict[str, list[Scoring]] = {}
    for cell in cells:
        if cell.n_networks == 1:
            groups.setdefault(_group(cell), []).append(scoring(cell))
    yield [work(name, scorings) for name, scorings in groups.items()]
    ensembles = [cell for cell in cells if cell.n_networks > 1]
    for net, seed in dict.fromkeys((cell.net, cell.seed) for cell in ensembles):
        chosen = [cell for cell in ensembles if (cell.net, cell.seed) == (net, seed)]
        members: dict[str, list[Network]] = {}
        for cell in chosen:
            for member, network in enumerate(scoring(cell).networks):
                members.setdefault(f"{_group(cell)}, network {member}", []).append(network)
        yield [work(name, networks=networks) for name, networks in members.items()]
        yield [work(cell.name, [scoring(cell)]) for cell in chosen]


def _group(cell: StudyCell) -> str:
    """Cells whose networks share a float run."""
    return f"{cell.net}, {cell.selection}, seed {cell.seed}"


def _network(
    out: Path, data: StudyData, cell: StudyCell, config: StudyConfig, names: tuple[str, ...], member: int
) -> Network:
    # folders of other data, images or settings have other names, so that no stale network is taken
    what = json.dumps([data.hashes[TRAIN], config.digest(cell), names])
    mark = hashlib.sha256(what.encode()).hexdigest()[:8]
    folder = out / WORK / cell.net / cell.selection / f"seed-{cell.seed}-{mark}" / f"network-{member}"
    training = config.float_training(cell.net, cell.seed, member)
    return Network(folder.resolve(), cell.training, names, training, config.phase(cell.training))


def device_name() -> str:
    """``cuda`` or ``cpu``: what training takes."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _label(work: Work) -> str:
    return work.name
