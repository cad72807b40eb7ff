"""``frugalseg demo``: the whole job, with a report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``demo``."""
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder to fill (default: demo)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="your annotated images instead of synthetic glands; some are held out"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="training steps; more take longer and find more")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the demo and say where the report is.

    Raises
    ------
    InputError
        The data cannot be used, or the folder holds something else.
    """
    from frugalseg.errors import InputError

    if args.steps is not None and args.steps < 1:
        raise InputError("--steps", f"must be at least 1, not {args.steps}")

    from frugalseg.demo import STEPS, run_demo

    document = run_demo(args.out, data=args.data, steps=args.steps or STEPS)
    if not args.json:
        print(f"object F1 {_shown(document['object_f1'])}, object Dice {_shown(document['object_dice'])}")
        print(f"the report: {document['report']}")
    return document


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
