"""``frugalseg job PROJECT ID``: what the annotation page starts for each of its jobs."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frugalseg.cli.project_training import RoundPlan
    from frugalseg.jobs import TrainJob, Work
    from frugalseg.project import Job, Project

log = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder that 'frugalseg init' made")
    parser.add_argument("id", type=int, metavar="ID", help="number of the job")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Wait for the job's turn, do it, leave its row saying how it ended."""
    from frugalseg.errors import InputError
    from frugalseg.jobs import at_work, wait_for_turn
    from frugalseg.project import JobQueue, Project

    project = Project.open(args.project)
    queue = JobQueue(project)
    job = queue.get(args.id)
    if job.source != "page":
        raise InputError(f"job {job.id}", "belongs to the command that added it")
    job = wait_for_turn(project, job, announce=log.info)
    log.info("job %d: %s %s", job.id, job.kind, dict(job.settings))
    with at_work(project, job) as work:
        KINDS[job.kind](project, job, work)
    done = queue.get(job.id)
    log.info("job %d: %s", done.id, done.status)
    return {"job": done.id, "kind": done.kind, "status": done.status, "round": done.round}


def _train(project: Project, job: Job, work: Work) -> None:
    """Train the next round; go on with one only if this job began it, so that all annotations count."""
    from frugalseg.cli.project_training import train_planned
    from frugalseg.project import JobQueue

    queue = JobQueue(project)
    asked, plan = _read_training(job)
    newest = project.newest_round()
    own = newest is not None and newest.number == job.round
    if not (own and newest is not None and newest.status == "trained"):  # else only what follows is left
        train_planned(project, dataclasses.replace(plan, abandon=not own), work, wait=True)
    following = {"k": asked.then_suggest}
    added = job.attempts and any(each.id > job.id and dict(each.settings) == following for each in queue.list())
    if asked.then_suggest is not None and not added:  # it was, if the process before died right after
        queue.add("suggest", following, job.source)


def _read_training(job: Job) -> tuple[TrainJob, RoundPlan]:
    """The settings of a training: the job's own, and those of ``TrainConfig`` and ``EnsembleConfig`` by their names."""
    from frugalseg.cli.project_training import RoundPlan, default_warm_steps, ensemble_preset
    from frugalseg.config import Settings, resolve_config
    from frugalseg.ensemble.config import EnsembleConfig
    from frugalseg.jobs import TrainJob
    from frugalseg.train.config import PRESETS, TrainConfig

    of_config, of_ensemble = (_names(each) for each in (TrainConfig, EnsembleConfig))
    others = (of_config | of_ensemble) - _names(TrainJob)
    source = f"job {job.id}"

    def chosen(belongs: Callable[[str], bool]) -> Settings:
        return Settings({name: value for name, value in job.settings.items() if belongs(name)}, source)

    asked = resolve_config(TrainJob, chosen(lambda name: name not in others))
    net = job.settings.get("net", TrainConfig.net)
    preset = Settings(dict(PRESETS[asked.preset].get(net, {})), f"preset {asked.preset}")
    config = resolve_config(TrainConfig, preset, chosen(lambda name: name in of_config))
    members = {"members": asked.members, **ensemble_preset(asked.preset)}
    ensemble = resolve_config(EnsembleConfig, members, chosen(lambda name: name in of_ensemble))
    warm_steps = None if asked.from_scratch else default_warm_steps(config)
    return asked, RoundPlan(config, ensemble, warm_steps, asked.executor, asked.workers)


def _names(config_class: type) -> set[str]:
    return {field.name for field in dataclasses.fields(config_class)}


def _suggest(project: Project, job: Job, work: Work) -> None:
    from frugalseg.cli.suggest import suggest_and_publish
    from frugalseg.config import Settings, resolve_config
    from frugalseg.jobs import SuggestJob
    from frugalseg.rounds.suggesting import Request

    asked = resolve_config(SuggestJob, Settings(job.settings, f"job {job.id}"))
    suggest_and_publish(project, Request(k=asked.k, diameter_px=asked.object_diameter_px), work)


def _predict(project: Project, job: Job, work: Work) -> None:
    from frugalseg.config import Settings, resolve_config
    from frugalseg.jobs import PredictJob
    from frugalseg.rounds.proposals import propose

    asked = resolve_config(PredictJob, Settings(job.settings, f"job {job.id}"))
    work.in_round(propose(project, project.image_numbered(asked.image)), 1)
    work.tell(1, 1)


KINDS: Mapping[str, Callable[[Project, Job, Work], None]] = {"train": _train, "suggest": _suggest, "predict": _predict}
