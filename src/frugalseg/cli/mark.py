"""``frugalseg mark``: an image or a slide of a project is unusable, or usable again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project")
    parser.add_argument("image", metavar="IMAGE", help="name of the image or slide")
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--unusable", metavar="REASON", help="leave it out of suggestions, training and validation")
    either.add_argument("--usable", action="store_true", help="take that back")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Mark the image or slide."""
    from frugalseg.project import Project

    project = Project.open(args.project)
    if args.usable:
        project.mark_usable(args.image)
    else:
        project.mark_unusable(args.image, args.unusable)
    reasons = {slide.name: slide.unusable_reason for slide in project.slides()}
    reasons |= {image.name: image.unusable_reason for image in project.images()}
    reason = reasons[args.image]
    if not args.json:
        print(f"{args.image}: {'usable' if reason is None else f'unusable ({reason})'}")
    return {"image": args.image, "usable": reason is None, "reason": reason}
