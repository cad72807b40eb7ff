"""``frugalseg annotations``: a project's annotations out to other programs, and theirs in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

FORMATS = ("labels", "geojson", "coco", "cellpose", "nnunet")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=["export", "import"], help="write files, or read them")
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project")
    parser.add_argument("path", type=Path, nargs="?", metavar="PATH", help="import: the folder or file to read")
    parser.add_argument(
        "--format", choices=FORMATS, required=True, metavar=f"{{{','.join(FORMATS)}}}", help="the format"
    )
    parser.add_argument("--images", metavar="A,B", help="only these images; names separated by commas")
    out = parser.add_argument_group("export")
    out.add_argument("--out", type=Path, metavar="PATH", help="a new folder; for coco a .json file")
    out.add_argument("--complete-only", action="store_true", help="leave out images where not every object is drawn")
    out.add_argument("--gzip", action="store_true", help="geojson: write NAME.geojson.gz")
    out.add_argument("--coco-rle", action="store_true", help="coco: write run lengths for all objects, never polygons")
    into = parser.add_argument_group("import")
    into.add_argument("--incomplete", action="store_true", help="not every object is drawn: do not train on them yet")
    into.add_argument("--class", dest="default_class", metavar="NAME", help="class of objects that the files give none")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write or read, and say what was written or read."""
    _check(args)
    return _export(args) if args.action == "export" else _import(args)


def _check(args: argparse.Namespace) -> None:
    """Refuse flags that belong to the other action, and missing ones."""
    from frugalseg.errors import InputError, Problem

    given = {
        "export": {
            "--out": args.out is not None,
            "--complete-only": args.complete_only,
            "--gzip": args.gzip,
            "--coco-rle": args.coco_rle,
        },
        "import": {
            "PATH": args.path is not None,
            "--incomplete": args.incomplete,
            "--class": args.default_class is not None,
        },
    }
    other = "import" if args.action == "export" else "export"
    problems = [Problem(flag, f"belongs to annotations {other}") for flag, used in given[other].items() if used]
    needed = "--out" if args.action == "export" else "PATH"
    if not given[args.action][needed]:
        problems.append(Problem(needed, f"is needed for annotations {args.action}"))
    if args.gzip and args.format != "geojson":
        problems.append(Problem("--gzip", "belongs to --format geojson"))
    if args.coco_rle and args.format != "coco":
        problems.append(Problem("--coco-rle", "belongs to --format coco"))
    if args.images is not None and not _names(args):
        problems.append(Problem("--images", "names no image"))
    if problems:
        raise InputError.of(problems)


def _names(args: argparse.Namespace) -> list[str] | None:
    return None if args.images is None else [name.strip() for name in args.images.split(",") if name.strip()]


def _export(args: argparse.Namespace) -> dict[str, Any]:
    from frugalseg.formats import FORMATS as FORMATS_BY_NAME
    from frugalseg.formats import WriteSettings
    from frugalseg.project import Project
    from frugalseg.project.exchange import annotation_set

    drawn = annotation_set(Project.open(args.project), _names(args), complete_only=args.complete_only)
    settings = WriteSettings(gzip=args.gzip, coco_rle=args.coco_rle)
    done = FORMATS_BY_NAME[args.format].write(args.out, drawn, settings)
    if not args.json:
        counts = (_count(done.images, "image"), _count(done.objects, "object"), _count(done.files, "file"))
        print(f"{args.out}: {', '.join(counts)}")
        _show(done.notes)
    return {
        "out": str(args.out),
        "format": args.format,
        "images": done.images,
        "objects": done.objects,
        "files": done.files,
        "notes": list(done.notes),
    }


def _import(args: argparse.Namespace) -> dict[str, Any]:
    from frugalseg.formats import FORMATS as FORMATS_BY_NAME
    from frugalseg.formats import Wanted
    from frugalseg.project import Project
    from frugalseg.project.exchange import canvases, import_annotations

    project = Project.open(args.project)
    names = _names(args)
    wanted = Wanted(canvases(project), None if names is None else frozenset(names))
    drawn = FORMATS_BY_NAME[args.format].read(args.path, wanted)
    done = import_annotations(project, drawn, complete=not args.incomplete, default_class=args.default_class)
    cost = project.cost()
    if not args.json:
        imported = _count(len(done.imported), "annotation")
        print(f"{args.project}: {imported} imported, {_count(cost.images, 'image')} annotated in all")
        if done.unchanged:
            print(f"{_count(len(done.unchanged), 'annotation')} left out: equal to the current one")
        _show(done.notes)
    return {
        "imported": list(done.imported),
        "unchanged": list(done.unchanged),
        "notes": list(done.notes),
        "cost": {"images": cost.images, "objects": cost.objects, "contour_px": cost.contour_px},
    }


def _show(notes: tuple[str, ...]) -> None:
    for note in notes:
        print(f"note: {note}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
