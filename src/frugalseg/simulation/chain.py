"""One strategy with one seed through all budgets: train, compare, suggest, reveal."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from frugalseg.engines import Engine
from frugalseg.ensemble.cold import cold_engine, cold_scale
from frugalseg.ensemble.members import Task, train_ensemble, train_task, with_common_scale
from frugalseg.ensemble.scoring import as_pool, score_images
from frugalseg.executors import open_executor
from frugalseg.images import (
    Dataset,
    Sample,
    cut_windows,
    load_sample,
    open_dataset,
    write_listing,
)
from frugalseg.images.cost import drawn
from frugalseg.ledger import Ledger
from frugalseg.metrics import score_image
from frugalseg.predict import Model, load_model
from frugalseg.segmentation import segment
from frugalseg.simulation.config import COLD, FIRST_RULES, Contender, SimulationConfig
from frugalseg.suggest import Ask, suggest
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import CHECKPOINTS

log = logging.getLogger(__name__)

START = "start"
"""Name under which the first budget, common to all strategies of a seed, is kept."""


@dataclass(frozen=True)
class Chain:
    """What a worker needs to play one strategy with one seed through.

    Attributes
    ----------
    data
        Folder of the pool's images, all annotated; the annotations are shown only when suggested.
    subset, test_subset
        The pool's part of the data, and the part that networks are compared on.
    contender
        None to play the first budget only, on which all strategies of the seed build.
    work
        Folder for networks while they are needed.
    ledger
        Folder of results.
    common
        Parts of the key that all cells share.
    """

    data: Path
    subset: str | None
    test_subset: str | None
    test_names: tuple[str, ...]
    test_hash: str | None
    contender: Contender | None
    seed: int
    config: SimulationConfig
    work: Path
    ledger: Path
    common: dict[str, Any]


def play(chain: Chain) -> int:
    """Play a chain from where it stopped; the number of budgets it reached."""
    return _Player(chain).play()


class _Player:
    """The state of a chain: which images are annotated, and the data they come from."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.ledger = Ledger(chain.ledger)
        dataset = open_dataset(chain.data, subset=chain.subset)
        self.pool = pool_samples(dataset, chain.config, chain.test_names)
        self.dataset = dataset
        self.counts = chain.config.counts(len(self.pool))
        self.by_name = {sample.name: sample for sample in self.pool}

    def play(self) -> int:
        chain = self.chain
        cold = chain.contender is not None and chain.contender.strategy == COLD
        names = self._first(cold)
        last = 0 if chain.contender is None or cold else len(self.counts) - 1
        for number in range(last + 1):
            shared = number == 0 and not cold
            key = self.key(START if shared or chain.contender is None else chain.contender.name, number)
            if not self.ledger.has(key):
                self._compare(key, names, number)
            names = list(self.ledger.get(key)["labelled"])
            following = None if number == last else self.key(chain.contender.name, number + 1)  # type: ignore[union-attr]
            if following is not None and not self.ledger.has(following):
                names = self._reveal(names, number)
            elif following is not None:
                names = list(self.ledger.get(following)["labelled"])
        return last + 1

    def key(self, name: str, number: int) -> dict[str, Any]:
        return {**self.chain.common, "strategy": name, "seed": self.chain.seed, "budget": self.counts[number]}

    def _first(self, cold: bool) -> list[str]:
        """Names of the first annotated images: at random, or those that the pretrained encoder finds representative."""
        ask = Ask(k=self.counts[0], seed=self.chain.seed)
        if not cold:
            order = np.random.default_rng([self.chain.seed, 77]).permutation(len(self.pool))
            return [self.pool[int(place)].name for place in order[: ask.k]]
        scored = list(score_images([cold_engine("lite")], self.pool, cold_scale(None, "lite")))
        return [pick.name for pick in suggest(as_pool(scored), ask, "cover")]

    def _folder(self, names: Sequence[str], number: int, shared: bool) -> Path:
        """Where networks of these images lie; a repetition that chooses others takes none of them for its own."""
        contender = self.chain.contender
        name = START if shared or contender is None else contender.name.replace(":", "-")
        kind = "{data}-{settings}".format(**self.chain.common)  # networks of other settings are none of these
        images = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
        return self.chain.work / kind / f"seed-{self.chain.seed}" / name / f"budget-{self.counts[number]}-{images}"

    def _network(self, names: Sequence[str], number: int, shared: bool) -> Path:
        """The network trained on these images, from the same first weights for every strategy of the seed."""
        folder = self._folder(names, number, shared)
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock"):  # other strategies of this seed may want it at the same time
            write_listing(folder / "data", self.dataset, [self.by_name[name] for name in names])
            config = self._train_config([self.by_name[name] for name in names])
            train_task(Task(folder / "data", folder / "network", tuple(names), config))
            shutil.rmtree(folder / "network" / CHECKPOINTS, ignore_errors=True)
        return folder / "network"

    def _train_config(self, samples: Sequence[Sample]) -> TrainConfig:
        config = self.chain.config
        plain = TrainConfig(
            net=config.net,
            steps=config.steps,
            batch_size=config.batch_size,
            patch_px=config.patch_px,
            validate_every=config.steps,
            **FIRST_RULES,
            seed=self.chain.seed,
        )
        return with_common_scale(plain, self.dataset, samples)

    def _compare(self, key: dict[str, Any], names: Sequence[str], number: int) -> None:
        """Train on the annotated images, score on the test images, keep the result."""
        began = time.monotonic()
        cold = self.chain.contender is not None and self.chain.contender.strategy == COLD
        folder = self._network(names, number, shared=number == 0 and not cold)
        model = load_model([folder])
        result = {
            "labelled": list(names),
            "scores": self._score(model),
            "test": self.chain.test_hash,
            **annotation_cost(self.dataset, [self.by_name[name] for name in names]),
        }
        self.ledger.put(key, result, time.monotonic() - began)
        log.info("%s, seed %d: compared at %d images", key["strategy"], self.chain.seed, len(names))

    def _score(self, model: Model) -> dict[str, list[float]]:
        chain = self.chain
        dataset = open_dataset(chain.data, subset=chain.test_subset)
        samples = [each for each in dataset.labelled if not chain.test_names or each.name in chain.test_names]
        result, card = {}, model.card
        for sample in samples:
            loaded = load_sample(dataset, sample)
            found = segment(model.engines, loaded.image, scale=card.scale, settings=card.instances, stain=card.stain)
            result[sample.name] = score_image(found.labels, loaded.labels).as_list()
        return result

    def _reveal(self, names: Sequence[str], number: int) -> list[str]:
        """The annotated images of the next budget: these, and those that the strategy asks for."""
        contender, config = self.chain.contender, self.chain.config
        assert contender is not None
        known = set(names)
        rest = [dataclasses.replace(sample, mask=None) for sample in self.pool if sample.name not in known]
        ask = Ask(
            k=self.counts[number + 1] - len(names),
            round=number,
            seed=self.chain.seed,
            per_image=config.per_image if config.window_px else None,
        )
        engines, scale = self._engines(contender, names, number)
        if not engines:
            order = ask.generator().permutation(len(rest))
            return [*names, *(rest[int(place)].name for place in order[: ask.k])]
        scored = list(score_images(engines, rest, lambda sample: scale))
        labelled = [dataclasses.replace(self.by_name[name], mask=None) for name in names]
        described = [each.descriptor for each in score_images(engines[:1], labelled, lambda sample: scale)]
        picks = suggest(as_pool(scored, described), ask, contender.strategy)
        return [*names, *(pick.name for pick in picks)]

    def _engines(self, contender: Contender, names: Sequence[str], number: int) -> tuple[tuple[Engine, ...], float]:
        """What the strategy looks through: nothing, the compared network, or an ensemble of phases from it."""
        if contender.needs == "nothing":
            return (), 1.0
        trunk = self._network(names, number, shared=number == 0)
        if contender.needs == "one network":
            model = load_model([trunk])
            return model.engines, model.card.scale
        ensemble = contender.ensemble(self.chain.config)
        folder = self._folder(names, number, False) / f"ensemble-{contender.method}-{contender.bits or ''}"
        began = time.monotonic()
        members = train_ensemble(
            trunk.parent / "data",
            names,
            folder,
            self._train_config([self.by_name[name] for name in names]),
            ensemble,
            open_executor("serial"),
            trunk=trunk if ensemble.shared_trunk else None,
            locked=True,
        )
        log.info("%s: ensemble in %.1f minutes", contender.name, (time.monotonic() - began) / 60)
        model = load_model(members)
        discard(folder)  # a repetition would train the same again
        return model.engines, model.card.scale


def discard(folder: Path) -> None:
    """Delete a folder under another name, so that a kill leaves all of it there or nothing."""
    going = folder.with_name(f".{folder.name}-{os.getpid()}")
    folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def pool_samples(dataset: Dataset, config: SimulationConfig, test_names: Sequence[str]) -> list[Sample]:
    """Annotated images that may be suggested, as windows if asked for."""
    kept = set(test_names)
    samples = [sample for sample in dataset.labelled if sample.name not in kept]
    return cut_windows(samples, config.window_px) if config.window_px else samples


def annotation_cost(dataset: Dataset, samples: Sequence[Sample]) -> dict[str, float]:
    """What annotating these took: images (or windows), objects, and the length of their outlines in pixels."""
    costs = [drawn(load_sample(dataset, sample).labels) for sample in samples]
    return {
        "n_images": len(samples),
        "n_objects": sum(n_objects for n_objects, _ in costs),
        "outline_px": round(sum(length for _, length in costs)),
    }
