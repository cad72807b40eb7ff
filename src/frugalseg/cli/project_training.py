"""``frugalseg train PROJECT``: the next round of a project."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugalseg.cli.executor_arguments import add_executor_arguments

if TYPE_CHECKING:
    from frugalseg.ensemble.config import EnsembleConfig
    from frugalseg.train.config import TrainConfig

ROUND_FLAGS = ("members", "shared_trunk", "from_scratch", "warm_steps", "executor", "workers", "ray_address")
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


def train_project(args: argparse.Namespace, config: TrainConfig) -> dict[str, Any]:
    """Train the next round, or go on with an interrupted one; say how good it is."""
    from frugalseg.errors import ConfigError

    unset = {"folds": 0}
    for name in ("out", "subset", "groups", "ignore_value", "folds"):
        if getattr(args, name) != unset.get(name):
            raise ConfigError(f"--{name.replace('_', '-')}", "does not go with a project, which has its own")
    if args.warm_steps is not None and (args.warm_steps < 1 or args.from_scratch):
        raise ConfigError("--warm-steps", "must be at least 1, and means nothing with --from-scratch")
    ensemble = _ensemble(args)
    warm_steps = None if args.from_scratch else (args.warm_steps or max(1, round(WARM_SHARE * config.steps)))

    from frugalseg.executors import open_executor
    from frugalseg.project import Project
    from frugalseg.rounds.training import round_folder, train_round

    project = Project.open(args.data)
    with open_executor(args.executor or "processes", args.workers or 0, args.ray_address) as executor:
        done = train_round(project, config, ensemble, executor, warm_steps=warm_steps, wait=not args.no_wait)
    folder = round_folder(project, done.number)
    document = {"round": done.number, "folder": str(folder), "images": len(done.labelled), **done.metrics}
    if not args.json:
        print(f"round {done.number}: {ensemble.members} networks trained on {len(done.labelled)} images")
        print(_in_words(done.metrics))
        print(f"next: frugalseg suggest {args.data}  (segment with: frugalseg predict {folder / 'ensemble.fseg'} …)")
    return document


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
    return resolve_config(EnsembleConfig, Settings(values, "command line"))


def _in_words(metrics: Mapping[str, Any]) -> str:
    if not metrics["n_images"]:
        return "no annotated validation image, so nothing tells how good it is ('frugalseg status' lists them)"
    interval = metrics["object_dice_interval"]
    between = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return (
        f"object Dice {metrics['object_dice']:.3f}{between}, object F1 {metrics['object_f1']:.3f}"
        f" on {metrics['n_images']} validation images"
    )
