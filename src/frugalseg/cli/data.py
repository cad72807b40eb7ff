"""``frugalseg data check``: everything in a folder decoded, counted and described."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``data``."""
    parser.add_argument("action", choices=["check"], help="decode every image and mask, and describe them")
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="GlaS, images/ + masks/, Cellpose, nnU-Net or images"
    )
    parser.add_argument("--subset", help="only this part: train, testA, or the name of a subfolder")
    parser.add_argument("--groups", metavar="FILE", help="CSV with columns image,group; 'none' splits GlaS by image")
    parser.add_argument("--ignore-value", type=int, metavar="N", help="mask value of pixels that nobody annotated")
    parser.add_argument("--pixel-size", type=float, metavar="UM", help="edge of a pixel in µm, if the files do not say")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check a data set and print its summary.

    Returns
    -------
    dict
        The summary, for ``--json``.

    Raises
    ------
    InputError
        With every problem found.
    """
    import math

    from frugalseg.errors import InputError
    from frugalseg.images import open_dataset
    from frugalseg.images.survey import survey

    if args.pixel_size is not None and not 0 < args.pixel_size < math.inf:
        raise InputError("--pixel-size", f"must be a positive number, not {args.pixel_size}")

    dataset = open_dataset(
        args.directory,
        subset=args.subset,
        groups=args.groups,
        ignore_value=args.ignore_value,
        pixel_size_um=args.pixel_size,
    )
    summary = survey(dataset)
    if not args.json:
        _print_summary(summary)
    return summary


def _print_summary(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=True)
    table = Table(title=summary["root"], title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, value in _rows(summary):
        table.add_row(Text(name, style="bold"), Text(value))
    console.print(table)
    for note in summary["notes"]:
        console.print(Text(f"note: {note}", style="yellow"))


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    objects, sizes = summary["objects"], summary["sizes"]
    diameter, pixel = objects["median_diameter_px"], summary["pixel_size_um"]
    span = "-".join(dict.fromkeys(str(objects[key]) for key in ("fewest_per_image", "most_per_image")))
    in_um = f" ({diameter * pixel:.1f} µm)" if diameter is not None and pixel is not None else ""
    rows = [
        ("layout", summary["layout"]),
        ("images", f"{summary['images']}, {summary['with_mask']} with mask, {summary['without_mask']} without"),
        ("subsets", _counts(summary["subsets"])),
        ("sizes", _counts(dict(list(sizes.items())[:4])) + (f", {len(sizes) - 4} more" if len(sizes) > 4 else "")),
        ("bit depth", _counts(summary["bit_depths"])),
        ("pixel size", "unknown" if pixel is None else f"{pixel:g} µm"),
        ("groups", f"{summary['groups']} in all" if summary["groups"] else "none"),
    ]
    if summary["categories"]:
        rows.append(("grades", _counts(summary["categories"])))
    if summary["with_mask"]:
        rows += [
            ("objects", f"{objects['total']}, an image {span}, median {objects['median_per_image']:g}"),
            ("median diameter", "no objects" if diameter is None else f"{diameter:.1f} px{in_um}"),
            ("classes", _counts(summary["classes"])),
        ]
    return rows


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())
