"""``frugalseg train DATA --out RUN``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugalseg.cli.project_training import configure_rounds, is_project, refuse_round_flags, train_project
from frugalseg.config import add_config_arguments, add_config_file_argument
from frugalseg.train.config import PRESETS, TrainConfig
from frugalseg.train.quantize_config import CONTROLS, QuantizeConfig

if TYPE_CHECKING:
    from frugalseg.train.folder import RunResult


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: the data, the run folder, and every setting of `TrainConfig`."""
    parser.usage = "%(prog)s DATA --out RUN [OPTIONS] | PROJECT [OPTIONS]"  # short: the flags are listed below anyway
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="folder of images and masks ('frugalseg data check' says what is seen), or a project, whose next round"
        " is trained: an ensemble on all complete annotations",
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="run folder to make; a project's rounds have their own")
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), help="how long to train (default: cpu, in a project round)"
    )
    parser.add_argument(
        "--subset", help="train on this subset only (default: 'train' where the data has one, else all)"
    )
    parser.add_argument(
        "--groups", type=Path, metavar="FILE.csv", help="columns image,group: groups (patients) are never split"
    )
    parser.add_argument("--ignore-value", type=int, metavar="N", help="mask value of pixels that nobody annotated")
    parser.add_argument(
        "--folds", type=int, default=0, metavar="K", help="cross-validate: K runs, each scored on its held-out fold"
    )
    parser.add_argument(
        "--quantize",
        choices=("none", "inq", "dorefa", "twn", "ttq", "lsq", *CONTROLS),
        metavar="METHOD",
        help="then bring the weights to few bits: inq, dorefa, twn, ttq or lsq (more settings: frugalseg quantize);"
        " a project's members take inq unless this says none; freeze and noise are controls of experiments, INQ's"
        " schedule with weights that stay float",
    )
    parser.add_argument("--bits", type=int, metavar="N", help="with --quantize: bits a weight")
    parser.add_argument("--quantize-steps", type=int, metavar="N", help="with --quantize: steps of that phase")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="MODEL",
        help="begin from the weights of this model and not from ImageNet's: a run folder, a packed file or the name of"
        " one that comes with frugalseg ('glands'); a project begins with them where it does not go on from its last"
        " round",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN; a project needs no such flag")
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="fail instead of waiting for another training to end, or for a project's jobs that come first",
    )
    add_config_file_argument(parser)
    configure_rounds(parser)
    settings = parser.add_argument_group(
        "settings (also keys of --config FILE.toml)",
        "The preset changes steps, batch size and patch size from the defaults that are given here.",
    )
    add_config_arguments(settings, TrainConfig)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, leave pictures in the run folder, say where it is."""
    from frugalseg.config import Settings, given_settings, load_toml, resolve_config
    from frugalseg.errors import ConfigError

    given = given_settings(args, TrainConfig)
    from_file = load_toml(args.config) if args.config else Settings({}, "none")
    net = given.get("net", from_file.get("net", TrainConfig.net))
    in_project = is_project(args.data)
    name = args.preset or ("round" if in_project else "cpu")
    changes = next((values for of, values in PRESETS[name].items() if of == net), {})
    preset = Settings(changes, f"preset {name}")
    config = resolve_config(TrainConfig, preset, from_file, given)
    args.start = _start_of(args.start)
    if in_project:
        return train_project(args, config, name)
    refuse_round_flags(args)
    if args.folds and config.validation:
        raise ConfigError("validation", "does not go with --folds: each fold is validated on its held-out images")
    phase = _quantized_phase(args)

    from frugalseg.report.run import write_curves, write_gallery
    from frugalseg.train.folds import train_folds
    from frugalseg.train.plan import DataChoice
    from frugalseg.train.run import train

    choice = DataChoice(args.data, args.subset, args.groups, args.ignore_value)
    common: dict[str, Any] = {"resume": args.resume, "wait": not args.no_wait, "on_report": write_curves}
    begun: dict[str, Any] = {**common, "start": args.start}
    if args.folds:
        figures = train_folds(config, choice, args.out, args.folds, **begun)
        document = {"run": str(args.out), **figures}
    else:
        result = (
            _train_both(config, phase, choice, args.out, common, args.start)
            if phase
            else train(config, choice, args.out, **begun)
        )
        write_gallery(args.out)
        document = {"run": str(args.out), "scale": result.card.scale, "metrics": result.metrics}
    if not args.json:
        if args.folds:
            _print_folds(document)
        print(f"trained: {args.out}  (segment with: frugalseg predict {args.out} IMAGES --out DIR)")
    return document


def _start_of(model: Path | None) -> Path | None:
    """The file or folder that `--start` means; shows the terms of its weights at their first use."""
    if model is None:
        return None
    from frugalseg.cli.terms import show_terms
    from frugalseg.shipped import resolve_model
    from frugalseg.train.weights import licence_of, load_start

    path = resolve_model(model)
    load_start(path)  # what is wrong with it is said before its terms are
    show_terms([licence_of(path)])
    return path


def _quantized_phase(args: argparse.Namespace) -> QuantizeConfig | None:
    """Settings of the quantized phase, checked before any work; None without one."""
    from frugalseg.config import Settings, resolve_config
    from frugalseg.errors import ConfigError

    given = {"method": args.quantize, "bits": args.bits, "steps": args.quantize_steps}
    if args.quantize in (None, "none"):
        for flag, value in (("--bits", args.bits), ("--quantize-steps", args.quantize_steps)):
            if value is not None:
                raise ConfigError(flag, "means nothing without --quantize")
        return None
    if args.folds:
        raise ConfigError("--quantize", "does not go with --folds; quantize each fold's run with 'frugalseg quantize'")
    settings = {name: value for name, value in given.items() if value is not None}
    phase = resolve_config(QuantizeConfig, Settings(settings, "command line"))
    if phase.schedule is None:
        raise ConfigError("--quantize", "needs a method")
    return phase


def _train_both(
    config: TrainConfig, phase: QuantizeConfig, choice: Any, out: Path, common: dict[str, Any], start: Path | None
) -> RunResult:
    """The float phase in ``RUN/float``, then the quantized one in RUN; either goes on where it stopped."""
    from frugalseg.errors import InputError
    from frugalseg.train.folder import CONFIG, holds_files
    from frugalseg.train.quantized import quantize_run
    from frugalseg.train.run import train

    first = out / "float"
    if not common["resume"] and holds_files(out):
        raise InputError(out, "is not empty; choose another folder, or --resume")
    train(config, choice, first, start=start, **common)
    going_on = common["resume"] and (out / CONFIG).exists()
    return quantize_run(first, phase, out, **{**common, "resume": going_on}, beside=first)


def _print_folds(document: dict[str, Any]) -> None:
    """Pooled figures of the held-out images, then those of each category and fold, and what the rejector does."""
    rows = [("held out, pooled", document["pooled"])]
    rows += list(document["by_category"].items()) if len(document["by_category"]) > 1 else []
    rows += [(f"fold {index}", figures) for index, figures in enumerate(document["by_fold"])]
    if document["with_rejector"]:
        rows.append(("with the rejector", document["with_rejector"]["pooled"]))
    print(f"{'':18}  images  object F1  object Dice  Hausdorff (px)")
    for name, figures in rows:
        f1, dice, hausdorff = (figures[key] for key in ("object_f1", "object_dice", "object_hausdorff"))
        print(
            f"{name:18}  {figures['n_images']:6}  {_shown(f1, 9, 3)}  {_shown(dice, 11, 3)}  {_shown(hausdorff, 14, 1)}"
        )


def _shown(value: float | None, width: int, decimals: int) -> str:
    return f"{'–' if value is None else format(value, f'.{decimals}f'):>{width}}"
