"""One round of training: an ensemble on all complete annotations, scored on the validation images."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.arrays import LabelMap
from frugalseg.ensemble.config import EnsembleConfig, member_seed
from frugalseg.ensemble.members import TRUNK, planned_steps, train_ensemble, with_common_scale
from frugalseg.errors import ConfigError, InputError, Problem, StoppedError
from frugalseg.executors import Executor
from frugalseg.export import export_model
from frugalseg.images import Dataset, Sample, load_sample, write_label_map, write_listing
from frugalseg.images.listing import listed_whole_objects
from frugalseg.locking import training_lock
from frugalseg.metrics import ImageScores, interval, pool, score_image
from frugalseg.model_files import CARD
from frugalseg.predict import load_model
from frugalseg.project import Project, ProjectImage, Round
from frugalseg.project.round_files import prediction_file, round_folder
from frugalseg.rounds.data import annotated_dataset
from frugalseg.segmentation import segment
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import PLACES
from frugalseg.train.plan import check_batches, choose_place
from frugalseg.train.weights import check_start, describe_source

log = logging.getLogger(__name__)

ENSEMBLE = "ensemble.fseg"
MEMBERS = "members"


def train_round(
    project: Project,
    config: TrainConfig,
    ensemble: EnsembleConfig,
    executor: Executor,
    *,
    warm_steps: int | None = None,
    model: Path | None = None,
    wait: bool = True,
    abandon: bool = False,
    begun: Callable[[Round, int], None] | None = None,
) -> Round:
    """Train the project's next round, or go on with the one that was interrupted.

    Parameters
    ----------
    project
        With at least one complete annotation in the pool.
    config, ensemble
        Settings of the members.
    executor
        Trains members side by side.
    warm_steps
        Begin from the float weights of the last round, with so many steps; None begins from scratch, as does a round
        with another network, other kinds of members or more of them.
    model
        A run or a packed file from whose weights a round begins that does not begin from the last one's.
    wait
        Wait for another training on this machine to end; else that is an error.
    abandon
        Give up a round that was interrupted, and begin a new one with all annotations.
    begun
        Told the round, and how many steps its networks take in all, before the first of them.

    Returns
    -------
    The finished round: ``rounds/NNN`` holds the members and ``ensemble.fseg``, its metrics the validation figures.

    Raises
    ------
    InputError
        Nothing is annotated completely.
    ConfigError
        The settings are impossible here, or the interrupted round had others.
    StoppedError
        Ctrl-C; the round can go on.
    """
    _check_settings(config, ensemble)  # a round that has begun keeps its settings, so they must be possible
    settings = _settings(config, ensemble, warm_steps, model)
    with training_lock(project.folder, wait):
        current, dataset, config = _begin_or_go_on(project, settings, config, abandon)
        folder = round_folder(project.folder, current.number)
        write_listing(folder / "data", dataset, dataset.samples)
        start = _earlier_members(project, current, warm_steps)
        if start is not None:
            config = dataclasses.replace(config, steps=warm_steps or config.steps)
        # members are scored together at the end; scoring each on its way would take a tenth of the time
        config = dataclasses.replace(
            config,
            validate_every=config.validate_every or config.steps,
            checkpoint_every=config.checkpoint_every or max(1, config.steps // 5),
        )
        if begun is not None:
            begun(current, planned_steps(config, ensemble))
        names, data, out = sorted(current.labelled), folder / "data", folder / MEMBERS
        try:
            members = train_ensemble(
                data, names, out, config, ensemble, executor, start=start, model=model, locked=True
            )
        except StoppedError:  # says how to go on with one network
            raise StoppedError(f"round {current.number}: interrupted; the same command goes on with it") from None
        for index, member in enumerate(members):
            place = member.relative_to(project.folder).as_posix()
            project.add_member(current.number, index, place, member_seed(config.seed, index))
        export_model(members, folder / ENSEMBLE, "fseg", int8=False)
        return project.finish_round(current.number, validate(project, folder / ENSEMBLE, current.number))


def _check_settings(config: TrainConfig, ensemble: EnsembleConfig) -> None:
    check_batches(config)
    choose_place(config)
    for index in range(ensemble.members):
        phase = ensemble.phase(index)
        if phase is not None:
            phase.spec  # noqa: B018 - refuses what the method cannot do


def _begin_or_go_on(
    project: Project, settings: dict[str, Any], config: TrainConfig, abandon: bool
) -> tuple[Round, Dataset, TrainConfig]:
    """The round, what it trains on, as annotated when it began, and settings with one scale for all members.

    A round begins when all of its images could be read.
    """
    current = project.newest_round()
    interrupted = current if current is not None and current.status == "training" else None
    if interrupted is not None and not abandon:
        _check_same(interrupted, settings)
        log.info("round %d: going on", interrupted.number)
        images = [_as_of(project, name, version) for name, version in sorted(interrupted.labelled.items())]
        try:
            begun = listed_whole_objects(round_folder(project.folder, interrupted.number) / "data")
            return interrupted, *_prepare_data(project, images, config, whole_objects=begun is not False)
        except InputError as error:
            way_out = (
                f"began with this; put it back, or 'frugalseg train {project.folder} --abandon' gives the round up"
            )
            raise InputError.of([*error.problems, Problem(f"round {interrupted.number}", way_out)]) from None
    project.admit()
    labelled = project.labelled()
    if not labelled:
        raise InputError(
            project.folder, "has no complete annotation of an image that may train; import masks, or suggest first"
        )
    if not any((project.labels(each.annotation) > 0).any() for each in labelled if each.annotation is not None):
        raise InputError(project.folder, "has no annotated object to learn from")
    if config.pixel_size_um is not None and any(image.pixel_size_um is not None for image in labelled):
        raise ConfigError("pixel_size_um", "is for images whose files tell none, and these of the project tell theirs")
    prepared = _prepare_data(project, labelled, config)
    if interrupted is not None:
        project.abandon_round(interrupted.number)
        log.info("round %d: given up", interrupted.number)
    current = project.begin_round(settings, labelled)
    log.info("round %d: %d annotated images", current.number, len(labelled))
    return current, *prepared


def _settings(
    config: TrainConfig, ensemble: EnsembleConfig, warm_steps: int | None, model: Path | None
) -> dict[str, Any]:
    values = {**dataclasses.asdict(config), **dataclasses.asdict(ensemble), "warm_steps": warm_steps, "model": None}
    if model is not None:
        check_start(config, model)
        values["model"] = describe_source(model)["sha256"]
    return dict(json.loads(json.dumps(values)))


def _check_same(current: Round, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        before = current.settings.get(name, value)  # a round of a version without the setting goes on with it
        if before != value and name not in PLACES:
            raise ConfigError(
                name, f"is {value}, but the interrupted round {current.number} has {before}; use the same, or --abandon"
            )


def _prepare_data(
    project: Project, images: Sequence[ProjectImage], config: TrainConfig, *, whole_objects: bool = True
) -> tuple[Dataset, TrainConfig]:
    """Data and settings of a round; `whole_objects` is False for one that an older version began."""
    dataset = dataclasses.replace(annotated_dataset(project, images), whole_objects=whole_objects)
    return dataset, with_common_scale(config, dataset, dataset.samples)


def _as_of(project: Project, name: str, version: int) -> ProjectImage:
    """An image with the annotation that it had when the round began."""
    annotation = next(each for each in project.history(name) if each.version == version)
    return dataclasses.replace(project.image(name), annotation=annotation)


def _earlier_members(project: Project, current: Round, warm_steps: int | None) -> Path | None:
    """The members of the last trained round, if there is one, and each new member finds its own there.

    Members from scratch need the full number of steps, so a round begins from there as a whole, or not at all.
    """
    trained = [each for each in project.rounds() if each.status == "trained" and each.number < current.number]
    if warm_steps is None or not trained:
        return None
    before, now = trained[-1].settings, current.settings
    members = round_folder(project.folder, trained[-1].number) / MEMBERS
    needed = [TRUNK] if now["shared_trunk"] else [f"member-{index}" for index in range(now["members"])]
    alike = all(before[name] == now[name] for name in ("net", "shared_trunk"))
    if not alike or not all((members / part / CARD).exists() for part in needed):
        log.info("round %d: from scratch, as round %d has no such members", current.number, trained[-1].number)
        return None
    return members


def validate(project: Project, model: Path, number: int | None = None) -> dict[str, Any]:
    """Figures of an ensemble on the annotated validation images, with a 95 % interval; names of the worst first.

    What it finds in them is written into the folder of the round of this number, if one is given.
    """
    images = [each for each in project.validation() if each.annotated]
    if not images:
        return {"n_images": 0}
    loaded = load_model([model])
    dataset = annotated_dataset(project, images)
    scores: dict[str, ImageScores] = {}
    for sample in dataset.samples:
        content = load_sample(dataset, sample)
        card = loaded.card
        scale = card.scale_for(sample.pixel_size_um)
        found = segment(loaded.engines, content.image, scale=scale, settings=card.instances, stain=card.stain)
        scores[sample.name] = score_image(found.labels, content.labels)
        if number is not None:
            write_label_map(prediction_file(project.folder, number, sample.name), _whole(sample, found.labels))
    pooled = pool(list(scores.values())).as_dict()
    low, high = interval(list(scores.values()))
    by_image = {name: pool([each]).object_dice for name, each in scores.items()}
    worst = sorted(by_image, key=lambda name: (by_image[name], name))[:8]
    return {
        "n_images": len(images),
        **{name: pooled[name] for name in ("object_f1", "object_dice", "object_hausdorff")},
        "object_dice_interval": None if math.isnan(low) else [low, high],
        "worst": worst,
        "worst_dice": {name: None if math.isnan(by_image[name]) else by_image[name] for name in worst},
    }


def _whole(sample: Sample, labels: LabelMap) -> LabelMap:
    """Labels of a sample's window in a map of its whole image."""
    if sample.window is None:
        return labels
    x, y, width, height = sample.window
    whole: LabelMap = np.zeros(sample.size, dtype=labels.dtype)
    whole[y : y + height, x : x + width] = labels
    return whole
