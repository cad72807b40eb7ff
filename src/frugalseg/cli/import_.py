"""``frugalseg import``: masks of a folder become new versions of a project's annotations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project")
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="data set with masks, or masks named as the project's images"
    )
    parser.add_argument("--incomplete", action="store_true", help="not every object is drawn: do not train on them yet")
    parser.add_argument("--subset", help="only this part of a data set: train, testA, or the name of a subfolder")
    parser.add_argument("--ignore-value", type=int, metavar="N", help="mask value of pixels that nobody annotated")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Import the masks, and say what was imported and what it cost."""
    from frugalseg.project import Project

    project = Project.open(args.project)
    done = project.import_masks(
        args.directory, complete=not args.incomplete, subset=args.subset, ignore_value=args.ignore_value
    )
    cost = project.cost()
    document = {
        "imported": list(done.imported),
        "unchanged": list(done.unchanged),
        "others": list(done.others),
        "notes": list(done.notes),
        "cost": {"images": cost.images, "objects": cost.objects, "contour_px": cost.contour_px},
    }
    if not args.json:
        _show(args, document)
    return document


def _show(args: argparse.Namespace, document: dict[str, Any]) -> None:
    cost = document["cost"]
    print(f"{args.project}: {_count(document['imported'])} imported, {cost['images']} images annotated in all")
    print(f"{cost['objects']} objects, {cost['contour_px']:.0f} px of outline")
    if document["unchanged"]:
        print(f"{_count(document['unchanged'])} left out: equal to the current one")
    if document["others"]:
        print(f"{_count(document['others'])} left out: their images are not in the project")
    for note in document["notes"]:
        print(f"note: {note}")


def _count(names: list[str]) -> str:
    return f"{len(names)} mask{'' if len(names) == 1 else 's'}"
