"""``frugalseg simulate DATA --strategies suggestive,random --out DIR``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from frugalseg.cli.executor_arguments import add_executor_arguments
from frugalseg.config import add_config_arguments, add_config_file_argument
from frugalseg.simulation.config import SimulationConfig


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: data, strategies, where to run, and every setting of `SimulationConfig`."""
    parser.usage = "%(prog)s DATA --out DIR [OPTIONS]"
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of images that are all annotated")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; those there are kept")
    parser.add_argument(
        "--strategies",
        default="suggestive,random",
        metavar="NAME,…",
        help="strategies, each NAME or NAME:QUANTIZER such as suggestive:inq-5, suggestive:float, cover, random,"
        " cold_cover (default: suggestive,random)",
    )
    parser.add_argument(
        "--subset", help="the pool's part of the data (default: 'train' if there are several, else all)"
    )
    parser.add_argument("--test-subset", help="compare networks on this part instead of held-out images of the pool")
    parser.add_argument("--merge", type=Path, metavar="DIR", help="take over another machine's results first")
    add_executor_arguments(parser)
    parser.add_argument("--no-wait", action="store_true", help="fail instead of waiting for another training to end")
    add_config_file_argument(parser)
    settings = parser.add_argument_group("settings (also keys of --config FILE.toml)")
    add_config_arguments(settings, SimulationConfig)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Play the strategies through, write the report."""
    from frugalseg.config import Settings, given_settings, load_toml, resolve_config
    from frugalseg.simulation.config import Contender

    from_file = load_toml(args.config) if args.config else Settings({}, "none")
    config = resolve_config(SimulationConfig, from_file, given_settings(args, SimulationConfig))
    contenders = [Contender.parse(text.strip()) for text in args.strategies.split(",") if text.strip()]

    from frugalseg.executors import open_executor
    from frugalseg.simulation.report import summarise, write_simulation
    from frugalseg.simulation.run import compare_all, simulate

    with open_executor(args.executor or "processes", args.workers or 0, args.ray_address) as executor:
        curves = simulate(
            args.data,
            args.out,
            contenders,
            config,
            executor,
            subset=args.subset,
            test_subset=args.test_subset,
            merged=args.merge,
            wait=not args.no_wait,
        )
    comparisons = compare_all(curves)
    about = f"Strategies played through on {args.data.resolve().name}, each image's annotation shown when asked for."
    page = write_simulation(args.out, curves, comparisons, about, "windows" if config.window_px else "images")
    if not args.json:
        for each in comparisons:
            area, low, high = each.area
            print(f"{each.name:24} area against random {area:+.4f} [{low:+.4f}, {high:+.4f}]: {each.verdict}")
        print(f"the report: {page}")
    return {"report": str(page), **summarise(curves, comparisons)}
