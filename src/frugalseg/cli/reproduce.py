"""``frugalseg reproduce glas DATA --out DIR``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugalseg.cli.executor_arguments import add_executor_arguments
from frugalseg.config import add_config_arguments, add_config_file_argument
from frugalseg.study.config import PRESETS, StudyConfig, estimated_minutes
from frugalseg.study.grid import StudyCell, choose_cells

if TYPE_CHECKING:
    from frugalseg.study.run import StudyData


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the study, its data, which cells, where to run, and every setting of `StudyConfig`."""
    parser.usage = "%(prog)s glas DATA --out DIR [OPTIONS]"
    parser.add_argument("study", choices=("glas",), help="the study: 'glas', that of Xu et al. 2018")
    parser.add_argument("data", type=Path, metavar="DATA", help="GlaS' folder; part B is scored where it is there")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; those there are kept")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="cpu", help="how long to train (default: cpu)")
    parser.add_argument(
        "--cells",
        default="core",
        metavar="PATTERN,…",
        help="cells to run: patterns of names such as 'lite/half/*/inq-5/x1/*'; 'core' is what two cores can do,"
        " 'core:PATTERN' a part of that, 'all' everything (default: core)",
    )
    parser.add_argument("--list", action="store_true", help="only list the cells, with their minutes, and end")
    parser.add_argument("--merge", type=Path, metavar="DIR", help="take over another machine's cells first")
    parser.add_argument(
        "--merge-selection", type=Path, metavar="DIR", help="take over images chosen by 'frugalseg simulate' first"
    )
    add_executor_arguments(parser)
    parser.add_argument("--no-wait", action="store_true", help="fail instead of waiting for another training to end")
    add_config_file_argument(parser)
    settings = parser.add_argument_group(
        "settings (also keys of --config FILE.toml)",
        "Presets change them, by network, from the defaults that are given here.",
    )
    add_config_arguments(settings, StudyConfig)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the cells that are not there yet, write the report; or list them."""
    cells = choose_cells(args.preset, args.cells)
    configs = _configs(args)

    from frugalseg.executors import open_executor
    from frugalseg.study.reading import read_results
    from frugalseg.study.report import write_study
    from frugalseg.study.run import LEDGER, StudyData, check_ledger, merge, merge_selection, reproduce

    data = StudyData.open(args.data)
    check_ledger(args.out / LEDGER, data, configs)
    if args.merge is not None:
        merge(args.out, args.merge, data, configs)
    if args.merge_selection is not None:
        merge_selection(args.out, args.merge_selection, data, configs[cells[0].net])
    if args.list:
        return _list(args, cells, configs, data)
    with open_executor(args.executor or "processes", args.workers or 0, args.ray_address) as executor:
        reproduce(data, args.out, cells, configs, executor, wait=not args.no_wait)
    results = read_results(args.out / LEDGER)
    page = write_study(args.out, results)
    if not args.json:
        _print_rows(args.out / LEDGER)
        print(f"the report: {page}")
    return {"report": str(page), "cells": {result.cell.name: list(result.sha256) for result in results}}


def _configs(args: argparse.Namespace) -> dict[str, StudyConfig]:
    """Settings by network: preset < file < flags."""
    from frugalseg.config import Settings, given_settings, load_toml, resolve_config

    from_file = load_toml(args.config) if args.config else Settings({}, "none")
    given = given_settings(args, StudyConfig)
    return {
        net: resolve_config(StudyConfig, Settings(values, f"preset {args.preset}"), from_file, given)
        for net, values in PRESETS[args.preset].items()
    }


def _list(
    args: argparse.Namespace, cells: Sequence[StudyCell], configs: dict[str, StudyConfig], data: StudyData
) -> dict[str, Any]:
    """Cells, whether they are done, and estimates; networks that cells share count for the first of them."""
    from frugalseg.study.run import not_done

    left = set(not_done(args.out, data, cells, configs))
    trained: set[tuple[object, ...]] = set()
    rows: list[dict[str, Any]] = []
    for cell in cells:
        minutes = estimated_minutes(cell, configs[cell.net], trained) if cell in left else 0.0
        rows.append({"cell": cell.name, "done": cell not in left, "minutes": round(minutes, 1)})
    if not args.json:
        for row in rows:
            print(f"{'done   ' if row['done'] else 'not run'} {row['minutes']:8.1f}  {row['cell']}")
        total = sum(row["minutes"] for row in rows)
        print(
            f"{len(cells) - len(left)} of {len(cells)} done; about {total:.0f} minutes of one thread for the rest,"
            " on a server processor with bf16, without choosing the images"
        )
    return {"cells": rows}


def _print_rows(ledger: Path) -> None:
    from frugalseg.study.reading import read_results
    from frugalseg.study.tables import table_rows

    print(f"{'cells':46} {'seeds':8} object F1 / Dice / Hausdorff, part A")
    for row in table_rows(read_results(ledger)):
        figures = " / ".join(row.figures.get("testA", ("–",)))
        print(f"{row.cell.row:46} {','.join(map(str, row.seeds)):8} {figures}")
