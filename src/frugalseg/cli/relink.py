"""``frugalseg relink``: where the large images and slides of a project lie now."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project")
    parser.add_argument("root", metavar="ROOT", help="name under which the folder is known to the project")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where it is now; the files in it are compared")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare the images, then change the root."""
    from frugalseg.project import Project

    count = Project.open(args.project).relink(args.root, args.directory)
    if not args.json:
        print(f"{args.root}: {args.directory}, {count} file{'' if count == 1 else 's'} found there")
    return {"root": args.root, "path": str(args.directory.resolve()), "images": count}
