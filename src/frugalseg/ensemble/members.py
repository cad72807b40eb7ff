"""Train the members of an ensemble, each on a bootstrap sample of the annotated images.

Members trained apart end apart, and what they disagree about is what they have not learned (Yang et al., MICCAI 2017);
quantized ones end further apart (Xu et al., CVPR 2018).
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frugalseg.ensemble.config import EnsembleConfig, member_seed
from frugalseg.errors import InputError
from frugalseg.executors import Executor
from frugalseg.images import Dataset, Sample, load_sample, median_object_diameter
from frugalseg.locking import training_lock
from frugalseg.model_files import CARD
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import CONFIG
from frugalseg.train.plan import choose_scale
from frugalseg.train.quantize_config import QuantizeConfig
from frugalseg.train.quantized import quantize_run
from frugalseg.train.run import train

log = logging.getLogger(__name__)

FLOAT = "float"
TRUNK = "trunk"
N_NOTES = 20
"""At least so many times a member notes its loss in each phase, so that one can see how far it is."""


@dataclass(frozen=True)
class Task:
    """One network to train, as an executor carries it to a worker.

    Attributes
    ----------
    data
        Folder of the training images.
    out
        The run to make; its float run lies in ``float`` inside where a phase follows.
    names
        Images to train on; one named twice counts twice.
    config
        Settings of the float phase; None where it is `trunk`'s.
    phase
        Settings of the phase after it, None for none.
    start
        A run or a packed file to begin the float phase from.
    trunk
        A float run of another folder, of which only the phase is to be trained.
    draw
        Number of the member: others draw other patches.
    described
        Images of all members, from which sizes of objects and how images look are taken; `names` if there are none.
    """

    data: Path
    out: Path
    names: tuple[str, ...]
    config: TrainConfig | None
    phase: QuantizeConfig | None = None
    start: Path | None = None
    trunk: Path | None = None
    draw: int = 0
    described: tuple[str, ...] | None = None


def train_task(task: Task) -> str:
    """Train one network, or go on with it where it was interrupted; the path of its run.

    For executors: the caller holds the training lock.
    """
    source = task.trunk
    if task.config is not None:
        source = task.out if task.phase is None else task.out / FLOAT
        if not (source / CARD).exists():
            resume = (source / CONFIG).exists()
            split = (task.names, ())
            train(
                task.config,
                task.data,
                source,
                split=split,
                start=task.start,
                resume=resume,
                locked=True,
                n_notes=N_NOTES,
                described=task.described,
            )
    if task.phase is None or (task.out / CARD).exists():
        return str(task.out)
    assert source is not None  # a task has a float phase or a trunk
    quantize_run(
        source,
        task.phase,
        task.out,
        data=task.data,
        names=task.names,
        draw=task.draw,
        resume=(task.out / CONFIG).exists(),
        locked=True,
        beside=None if task.trunk else source,
        n_notes=N_NOTES,
    )
    return str(task.out)


def train_ensemble(
    data: Path,
    names: Sequence[str],
    out: Path,
    config: TrainConfig,
    ensemble: EnsembleConfig,
    executor: Executor,
    *,
    start: Path | None = None,
    model: Path | None = None,
    trunk: Path | None = None,
    wait: bool = True,
    locked: bool = False,
) -> list[Path]:
    """Train an ensemble; members that have finished are kept, those that were interrupted go on.

    Parameters
    ----------
    data, names
        Folder of annotated images, and those of them to train on.
    out
        Folder for the members; with a shared trunk, for that too.
    config, ensemble
        Settings; from the seed come those of the members (:func:`member_seed`) and the bootstrap samples.
    executor
        Trains members side by side.
    start
        Ensemble folder of an earlier round, made with the same settings, from whose float weights training begins.
    model
        A run or a packed file from whose weights networks begin that have none there.
    trunk
        With a shared trunk, a float run that is one already.
    wait
        Wait for another training on this machine to end; else that is an error.
    locked
        The caller holds the training lock.

    Returns
    -------
    Run folders of the members, in order.
    """
    out.mkdir(parents=True, exist_ok=True)
    data, whole = data.resolve(), out.resolve()  # workers may have another working directory
    start, model, trunk = (path and path.resolve() for path in (start, model, trunk))
    with contextlib.nullcontext() if locked else training_lock(out, wait):
        if ensemble.shared_trunk and trunk is None:
            trunk = whole / TRUNK
            source = _earlier(start, TRUNK) or model
            train_task(Task(data, trunk, tuple(names), config, start=source))  # here: it has all cores
        tasks = [
            Task(
                data=data,
                out=whole / f"member-{index}",
                names=bootstrap(names, config.seed, index),
                config=None if trunk else replace(config, seed=member_seed(config.seed, index)),
                phase=ensemble.phase(index),
                start=None if trunk else (_earlier(start, f"member-{index}") or model),
                trunk=trunk,
                draw=index,
                described=tuple(names),
            )
            for index in range(ensemble.members)
        ]
        return [out / Path(folder).relative_to(whole) for folder in executor.map(train_task, tasks, label=_label)]


def planned_steps(config: TrainConfig, ensemble: EnsembleConfig) -> int:
    """Steps of all networks together: of the common one or each member's own, and of the phases after."""
    phases = [ensemble.phase(index) for index in range(ensemble.members)]
    n_float = 1 if ensemble.shared_trunk else ensemble.members
    return n_float * config.steps + sum(phase.steps for phase in phases if phase is not None)


def bootstrap(names: Sequence[str], seed: int, member: int) -> tuple[str, ...]:
    """As many names as there are, drawn with replacement, sorted; the same for the same seed and member."""
    rng = np.random.default_rng([seed, member])
    return tuple(sorted(names[int(place)] for place in rng.integers(0, len(names), len(names))))


def with_common_scale(config: TrainConfig, dataset: Dataset, samples: Sequence[Sample]) -> TrainConfig:
    """Settings with one image scale for all members, from all annotated images and not from a draw of them.

    Raises
    ------
    InputError
        There is no annotated object.
    """
    diameter = median_object_diameter([load_sample(dataset, sample).labels for sample in samples])
    if not math.isfinite(diameter) or diameter <= 0:
        raise InputError(dataset.root, "has no annotated object to learn from")
    return replace(config, image_scale=choose_scale(diameter, config))


def float_run(folder: Path) -> Path:
    """The float run from which a member's phase began; the member's own where there was none."""
    return folder / FLOAT if (folder / FLOAT / CARD).exists() else folder


def _earlier(start: Path | None, part: str) -> Path | None:
    """The float run of that part of an earlier ensemble, if it has one."""
    if start is None or not (start / part / CARD).exists():
        return None
    return float_run(start / part)


def _label(task: Task) -> str:
    return task.out.name
