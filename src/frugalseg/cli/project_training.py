"""``frugalseg train PROJECT``: the next round of a project."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugalseg.cli.executor_arguments import add_executor_arguments

if TYPE_CHECKING:
    from frugalseg.ensemble.config import EnsembleConfig
    from frugalseg.jobs import Work
    from frugalseg.project import Project, Round
    from frugalseg.train.config import TrainConfig

ROUND_FLAGS = ("members", "shared_trunk", "from_scratch", "warm_steps", "abandon", "executor", "workers", "ray_address")
WARM_SHARE = 0.5
"""Of the preset's steps, where the last round's weights are gone on from."""


def configure_rounds(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only a project's rounds know."""
    group = parser.add_argument_group("rounds of a project")
    group.add_argument("--members", type=int, metavar="N", help="networks of the ensemble (default: 5)")
    group.add_argument(
        "--shared-trunk",
        action="store_true",
        default=None,
        help="train one float network, and each member only from there: cheaper",
    )
    group.add_argument(
        "--from-scratch", action="store_true", default=None, help="do not begin from the last round's weights"
    )
    group.add_argument("--warm-steps", type=int, metavar="N", help="steps where it does (default: half of the steps)")
    group.add_argument(
        "--abandon",
        action="store_true",
        default=None,
        help="give up a round that was interrupted, and begin one with all annotations; without it that round goes on",
    )
    add_executor_arguments(parser)


def is_project(path: Path) -> bool:
    """Whether a folder is a project."""
    return (path / "project.sqlite").is_file()


def refuse_round_flags(args: argparse.Namespace) -> None:
    """Refuse flags of rounds where there is no project, and a missing run folder."""
    from frugalseg.errors import ConfigError, InputError

    for name in ROUND_FLAGS:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')}", f"is for rounds, and {args.data} is no project")
    if args.out is None:
        raise InputError("--out", "must name the run folder to make")


@dataclass(frozen=True)
class RoundPlan:
    """All that is settled of a round before it begins.

    `warm_steps` is None for a round from scratch; `model` is what a round begins from that does not go on from the last
    one; `abandon` gives up an interrupted round.
    """

    config: TrainConfig
    ensemble: EnsembleConfig
    warm_steps: int | None
    executor: str = "processes"
    workers: int = 0
    ray_address: str | None = None
    abandon: bool = False
    model: Path | None = None


def default_warm_steps(config: TrainConfig) -> int:
    """Steps of a round that begins from the last one's weights."""
    return max(1, round(WARM_SHARE * config.steps))


def train_planned(project: Project, plan: RoundPlan, work: Work, *, wait: bool) -> Round:
    """Train the next round as the work of a job that is this process' own."""
    from frugalseg.executors import open_executor
    from frugalseg.rounds.training import train_round

    with open_executor(plan.executor, plan.workers, plan.ray_address) as executor:
        return train_round(
            project,
            plan.config,
            plan.ensemble,
            executor,
            warm_steps=plan.warm_steps,
            model=plan.model,
            wait=wait,
            abandon=plan.abandon,
            begun=lambda current, total: work.in_round(current.number, total),
        )


def print_on_stderr(line: str) -> None:
    """Tell the user what is waited for."""
    print(f"frugalseg: {line}", file=sys.stderr, flush=True)


def train_project(args: argparse.Namespace, config: TrainConfig, preset: str) -> dict[str, Any]:
    """Train the next round when it is its turn, or go on with an interrupted one; say how good it is."""
    plan = _plan(args, config)

    from frugalseg.jobs import at_work, wait_for_turn
    from frugalseg.project import JobQueue, Project
    from frugalseg.project.round_files import round_folder

    project = Project.open(args.data)
    settings = {"preset": preset, "members": plan.ensemble.members, "steps": config.steps, "net": config.net}
    job = JobQueue(project).add("train", settings, "command line")
    with at_work(project, wait_for_turn(project, job, wait=not args.no_wait, announce=print_on_stderr)) as work:
        done = train_planned(project, plan, work, wait=not args.no_wait)
    folder = round_folder(project.folder, done.number)
    document = {"round": done.number, "folder": str(folder), "images": len(done.labelled), **done.metrics}
    if not args.json:
        print(f"round {done.number}: {plan.ensemble.members} networks trained on {len(done.labelled)} images")
        print(_in_words(done.metrics))
        print(f"next: frugalseg suggest {args.data}  (segment with: frugalseg predict {folder / 'ensemble.fseg'} …)")
    return document


def _plan(args: argparse.Namespace, config: TrainConfig) -> RoundPlan:
    from frugalseg.errors import ConfigError

    unset = {"folds": 0}
    for name in ("out", "subset", "groups", "ignore_value", "folds"):
        if getattr(args, name) != unset.get(name):
            raise ConfigError(f"--{name.replace('_', '-')}", "does not go with a project, which has its own")
    if config.validation != type(config).validation:
        reason = "does not go with a project, which sets images aside when it suggests: suggest --validation"
        raise ConfigError("validation", reason)
    if args.resume:
        reason = "is for runs; a project goes on with an interrupted round by itself, unless --abandon is given"
        raise ConfigError("--resume", reason)
    if args.warm_steps is not None and (args.warm_steps < 1 or args.from_scratch):
        raise ConfigError("--warm-steps", "must be at least 1, and means nothing with --from-scratch")
    return RoundPlan(
        config=config,
        ensemble=_ensemble(args),
        warm_steps=None if args.from_scratch else (args.warm_steps or default_warm_steps(config)),
        model=args.start,
        executor=args.executor or "processes",
        workers=args.workers or 0,
        ray_address=args.ray_address,
        abandon=bool(args.abandon),
    )


def _ensemble(args: argparse.Namespace) -> EnsembleConfig:
    from frugalseg.config import Settings, resolve_config
    from frugalseg.ensemble.config import EnsembleConfig

    given = {
        "members": args.members,
        "method": args.quantize,
        "bits": args.bits,
        "quantize_steps": args.quantize_steps,
        "shared_trunk": args.shared_trunk,
    }
    values = {name: value for name, value in given.items() if value is not None}
    preset = Settings(ensemble_preset(args.preset or "round"), "preset")
    return resolve_config(EnsembleConfig, preset, Settings(values, "command line"))


def ensemble_preset(name: str) -> dict[str, int]:
    """What a preset changes of an ensemble: a training that only shows that all works has short phases, too."""
    return {"quantize_steps": 20} if name == "smoke" else {}


def _in_words(metrics: Mapping[str, Any]) -> str:
    if not metrics["n_images"]:
        return "no annotated validation image, so nothing tells how good it is ('frugalseg status' lists them)"
    interval = metrics["object_dice_interval"]
    between = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return (
        f"object Dice {metrics['object_dice']:.3f}{between}, object F1 {metrics['object_f1']:.3f}"
        f" on {metrics['n_images']} validation images"
    )
