"""Arguments of commands whose work can be shared out."""

from __future__ import annotations

import argparse


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """Where several tasks run: ``--executor``, ``--workers``, ``--ray-address``."""
    group = parser.add_argument_group("where to run several networks")
    group.add_argument("--executor", choices=("serial", "processes", "ray"), help="default: processes")
    group.add_argument("--workers", type=int, metavar="N", help="networks at once (default: one for each core)")
    group.add_argument("--ray-address", metavar="HOST:PORT", help="head of a Ray cluster that runs already")
