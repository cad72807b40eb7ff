"""``frugalseg quantize RUN --out RUN2``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from frugalseg.config import add_config_arguments, add_config_file_argument
from frugalseg.train.quantize_config import QuantizeConfig


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: the float run, the new run, and every setting of `QuantizeConfig`."""
    parser.usage = "%(prog)s RUN --out RUN2 [OPTIONS]"
    parser.add_argument("run", type=Path, metavar="RUN", help="finished run folder of 'frugalseg train', float weights")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN2", help="run folder to make")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where the run's training data lies now, if it moved")
    parser.add_argument(
        "--teacher", type=Path, action="append", default=[], metavar="RUN",
        help="finished run whose probabilities are imitated; again for more, which are averaged",
    )  # fmt: skip
    parser.add_argument(
        "--unlabelled", type=Path, metavar="DIR", help="images without annotations, to learn from the teachers alone"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN2")
    parser.add_argument("--no-wait", action="store_true", help="fail instead of waiting for another training to end")
    add_config_file_argument(parser)
    settings = parser.add_argument_group("settings (also keys of --config FILE.toml)")
    add_config_arguments(settings, QuantizeConfig)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Quantize, train on, leave pictures in the run folder."""
    from frugalseg.config import Settings, given_settings, load_toml, resolve_config
    from frugalseg.errors import ConfigError

    from_file = load_toml(args.config) if args.config else Settings({}, "none")
    given = given_settings(args, QuantizeConfig)
    config = resolve_config(QuantizeConfig, from_file, given)
    for flag, value in (("--unlabelled", args.unlabelled), ("--distillation", given.get("distillation"))):
        if value is not None and not args.teacher:
            raise ConfigError(flag, "means nothing without --teacher")
    if config.distillation != QuantizeConfig.distillation and not args.teacher:
        raise ConfigError("distillation", "means nothing without --teacher")
    config.spec  # noqa: B018 - refuses what the method cannot do, before any work

    from frugalseg.report.run import write_curves, write_gallery
    from frugalseg.train.lesson import Lesson
    from frugalseg.train.quantized import quantize_run

    result = quantize_run(
        args.run,
        config,
        args.out,
        data=args.data,
        resume=args.resume,
        wait=not args.no_wait,
        on_report=write_curves,
        lesson=Lesson(tuple(args.teacher), args.unlabelled),
    )
    write_gallery(args.out)
    if not args.json:
        print(f"quantized: {args.out}  (segment with: frugalseg predict {args.out} IMAGES --out DIR)")
    return {"run": str(args.out), "scale": result.card.scale, "metrics": result.metrics}
