"""``frugalseg backup``: a project as one zip file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project")
    parser.add_argument("file", type=Path, metavar="FILE.zip", help="the file to write; unzipped, it is the project")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the file, and say what is not in it."""
    from frugalseg.project import Project

    project = Project.open(args.project)
    count = project.backup(args.file)
    outside = sum(image.root is not None for image in project.images())
    outside += sum(slide.root is not None for slide in project.slides())
    if not args.json:
        print(f"{args.file}: {count} files, {args.file.stat().st_size / 1e6:.1f} MB; unzipped, it is the project")
        if outside:
            print(f"{outside} file{'' if outside == 1 else 's'} outside the project (large images, slides) not in it")
    return {"file": str(args.file), "files": count, "bytes": args.file.stat().st_size, "images_left_out": outside}
