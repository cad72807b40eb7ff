"""All chains of a simulation, on one machine or several, and what comes out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frugalseg.errors import ConfigError, InputError
from frugalseg.executors import Executor
from frugalseg.images import open_dataset, split_validation
from frugalseg.ledger import Ledger
from frugalseg.locking import training_lock
from frugalseg.simulation.chain import START, Chain, play, pool_samples
from frugalseg.simulation.config import Contender, SimulationConfig
from frugalseg.simulation.curves import BASELINE, Comparison, Curve, compare, read_curves
from frugalseg.suggest import COMPARING
from frugalseg.train.plan import check_names

log = logging.getLogger(__name__)

LEDGER = "ledger"
HELD_OUT = 0.3
"""Share of the images, whole groups where there are any, on which networks are compared where no part is named."""


def simulate(
    data: Path,
    out: Path,
    contenders: Sequence[Contender],
    config: SimulationConfig,
    executor: Executor,
    *,
    subset: str | None = None,
    test_subset: str | None = None,
    merged: Path | None = None,
    wait: bool = True,
) -> list[Curve]:
    """Play every strategy through with every seed; results that are in ``out/ledger`` are not made again.

    Parameters
    ----------
    data
        Annotated images.
    out
        Folder for the ledger, and for networks while they are needed.
    contenders
        Strategies; random images are the baseline of all comparisons.
    config, executor
        Settings; where chains run, several at a time.
    subset, test_subset
        Parts of the data: the pool (by default ``train`` if there are several, else all), and the images on which
        networks are compared. Without the latter a share of the pool's images is held out, the same for all seeds.
    merged
        Another simulation's folder, or its ledger alone, whose results are taken over first.
    wait
        Wait for another training on this machine to end; else that is an error.

    Raises
    ------
    InputError
        The data cannot be used, or are too few; a ledger holds results of other data or settings.
    ConfigError
        No strategy is named, or one needs an ensemble that the settings do not allow.
    """
    out = out.resolve()  # workers may have another working directory
    contenders = list(dict.fromkeys(contenders))  # played twice side by side, a chain would disturb its twin
    _check_contenders(contenders, config)
    dataset = open_dataset(data, subset=subset or ("train" if test_subset else None))
    if subset is None and test_subset is None and dataset.training_subset is not None:
        subset = dataset.training_subset
        log.info("the pool is the subset %s", subset)
        dataset = open_dataset(data, subset=subset)
    check_names(dataset)
    if test_subset is not None and test_subset == (subset or "train"):
        raise ConfigError("test_subset", f"{test_subset!r} is the pool itself, whose images networks learn from")
    held_out = () if test_subset else _held_out(dataset.labelled, data)
    test = open_dataset(data, subset=test_subset) if test_subset else None
    if test is not None and not test.labelled:
        raise InputError(data, f"has no annotated image in {test_subset!r} to compare networks on")
    test_hash = None if test is None else test.content_hash()[:16]
    config.counts(len(pool_samples(dataset, config, held_out)))
    common = common_key(dataset.content_hash()[:16], config, test_subset)
    check_results(out / LEDGER, common, test_hash)
    if merged is not None:
        other = merged / LEDGER if (merged / LEDGER).is_dir() else merged
        check_results(other, common, test_hash)
        Ledger(out / LEDGER).merge(other)
    first = Chain(
        data=data.resolve(),
        subset=subset or ("train" if test_subset else None),
        test_subset=test_subset or subset,
        test_names=held_out,
        test_hash=test_hash,
        contender=None,
        seed=0,
        config=config,
        work=out / "work",
        ledger=out / LEDGER,
        common=common,
    )
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    starts = [dataclasses.replace(first, seed=seed) for seed in seeds]
    chains = [dataclasses.replace(first, seed=seed, contender=contender) for seed in seeds for contender in contenders]
    out.mkdir(parents=True, exist_ok=True)
    with training_lock(out, wait):
        for tasks in (starts, chains):
            for task, _ in zip(tasks, executor.map(play, tasks, label=_label), strict=True):
                log.info("%s: done", _label(task))
    return curves_of(out)


def curves_of(out: Path) -> list[Curve]:
    """Curves of all that a simulation's ledger holds."""
    return read_curves([(key, result) for key, result, _ in Ledger(out / LEDGER).cells()], START, out / LEDGER)


def compare_all(curves: Sequence[Curve], figure: str = "object_dice") -> list[Comparison]:
    """Every strategy against random images; none where these were not played."""
    baseline = next((curve for curve in curves if curve.name == BASELINE), None)
    if baseline is None:
        return []
    return [compare(curve, baseline, figure=figure) for curve in curves if curve is not baseline]


def _check_contenders(contenders: Sequence[Contender], config: SimulationConfig) -> None:
    if not contenders:
        raise ConfigError("strategies", "names none to play")
    for contender in contenders:
        if config.members == 1 and contender.strategy in COMPARING:
            raise ConfigError("members", f"{contender.name} compares networks: at least 2 are needed")
        try:
            contender.ensemble(config)
        except ValueError as error:
            if contender.needs == "ensemble":
                raise ConfigError("strategies", f"{contender.name}: {error}") from None


def common_key(data: str, config: SimulationConfig, test_subset: str | None) -> dict[str, Any]:
    """The parts of the key that all results of a simulation share; `data` is a hash of the pool's part."""
    return {"data": data, "settings": _settings(config, test_subset), "device": _device()}


def check_results(ledger: Path, common: dict[str, Any], test_hash: str | None = None) -> None:
    """Refuse to begin what could not be compared with the results that are there.

    Results of older versions do not say which test images they were scored on.

    Raises
    ------
    InputError
        The folder holds results with another `common_key`, or of test images with another hash.
    """
    for key, result, _ in Ledger(ledger).cells():
        if test_hash is not None and result.get("test", test_hash) != test_hash:
            raise InputError(ledger, "holds results on test images that were others then; choose another folder")
        other = [name for name, value in common.items() if key.get(name) != value]
        if other:
            raise InputError(ledger, f"holds results of other {' and '.join(other)}; choose another folder")


def _held_out(samples: Sequence[Any], data: Path) -> tuple[str, ...]:
    if not samples:
        raise InputError(data, "has no annotated image: a simulation plays on images whose annotations are known")
    _, aside = split_validation(samples, HELD_OUT, seed=0)
    if not aside:
        raise InputError(data, "has too few images, or groups, to hold any out for comparison")
    return tuple(samples[place].name for place in aside)


def _settings(config: SimulationConfig, test_subset: str | None) -> str:
    """A hash of what decides a result; numbers of seeds do not."""
    values = dataclasses.asdict(config)
    kept = {name: value for name, value in values.items() if name not in ("seeds", "first_seed")}
    if config.net == SimulationConfig.net:  # of ledgers from before there was a choice
        del kept["net"]
    kept["budgets"] = [float(value) for value in config.budgets]  # 4 and 4.0 are the same
    text = json.dumps([kept, test_subset], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _label(chain: Chain) -> str:
    return f"{chain.contender.name if chain.contender else 'first images'}, seed {chain.seed}"
