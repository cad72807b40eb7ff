"""``frugalseg serve``: the page on which images are annotated."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project, made if missing")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="make the project from these images or slides if it has none"
    )
    parser.add_argument("--port", type=int, metavar="N", help="port to listen on, 0 for any (default: 8377 or near it)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Make the project if there is none, serve it until Ctrl-C."""
    from frugalseg.cli.init import judge_folder, make_project, root_of
    from frugalseg.errors import ConfigError
    from frugalseg.project import Project
    from frugalseg.project.store import DATABASE, check_new_folder

    if args.port is not None and not 0 <= args.port <= 65535:
        raise ConfigError("--port", f"must lie in 0-65535, not {args.port}")
    if not (args.project / DATABASE).exists():
        check_new_folder(args.project)
        if args.images is not None:
            dataset, slides = judge_folder(args.images)
            root = root_of(args.images, slides)
            project, _ = make_project(args.project, dataset, root)
            project.add_slides(slides, root)
        else:
            Project.create(args.project)
    elif args.images is not None:
        raise ConfigError("--images", f"is for new projects; add images with: frugalseg init {args.project} --images")

    from frugalseg.server.serving import serve

    def announce(url: str, port: int) -> None:
        print(f"annotate here: {url}", file=sys.stderr if args.json else sys.stdout, flush=True)
        print("the address holds the key to this session; Ctrl-C ends it", file=sys.stderr, flush=True)

    address = serve(args.project, port=args.port, browser=not args.no_browser, announce=announce)
    return {"project": str(args.project), "address": address}
