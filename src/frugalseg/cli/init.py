"""``frugalseg init``: a project folder made from images, or images added to one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frugalseg.images import Dataset, Sample
    from frugalseg.project import Added, Project


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project, made if missing")
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="GlaS, images/ + masks/, Cellpose, nnU-Net or images"
    )
    parser.add_argument("--subset", help="only this part: train, testA, or the name of a subfolder")
    parser.add_argument(
        "--groups", metavar="FILE", help="CSV with columns image,group; 'none' leaves GlaS' patients out"
    )
    parser.add_argument(
        "--root",
        metavar="NAME",
        help="name of DIR for files of more than 64 MiB, which stay where they are (default: the folder's own)",
    )
    parser.add_argument(
        "--classes",
        metavar="A,B",
        help="names of the object classes of a new project (default: what DIR says, or object)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Make the project where there is none, add the images, and say what to do next."""
    from frugalseg.images import open_dataset
    from frugalseg.project.store import DATABASE, check_new_folder

    fresh = not (args.project / DATABASE).exists()
    if fresh:
        check_new_folder(args.project)
    dataset = open_dataset(args.images, subset=args.subset, groups=args.groups)
    root = (args.root or args.images.resolve().name or "images", args.images)
    if fresh:
        project, added = make_project(args.project, dataset, root, args.classes)
    else:
        project, added = _extend(args, dataset, root)
    document = {
        "project": str(args.project),
        "classes": list(project.class_names),
        "images": len(project.images()),
        "added": list(added.added),
        "duplicates": list(added.duplicates),
        "regrouped": list(added.regrouped),
        "masks_not_imported": len(dataset.labelled),
    }
    if not args.json:
        _show(args, document)
    return document


def make_project(
    folder: Path, dataset: Dataset, root: tuple[str, Path], classes: str | None = None
) -> tuple[Project, Added]:
    """A new project of a data set's images; all are judged first, so that no empty project is left behind."""
    from frugalseg.project import Project, check_images

    candidates = check_images(_samples(dataset))
    project = Project.create(folder, dataset.class_names if classes is None else classes.split(","))
    return project, project.add_images(candidates, root)


def _extend(args: argparse.Namespace, dataset: Dataset, root: tuple[str, Path]) -> tuple[Project, Added]:
    from frugalseg.errors import InputError
    from frugalseg.project import Project

    project = Project.open(args.project)
    if args.classes is not None and tuple(name.strip() for name in args.classes.split(",")) != project.class_names:
        raise InputError("--classes", f"cannot be changed, {args.project} has {','.join(project.class_names)}")
    return project, project.add_images(_samples(dataset), root)


def _samples(dataset: Dataset) -> list[Sample]:
    """The samples with the pixel size that the data set as a whole has."""
    from dataclasses import replace

    return [
        sample if dataset.pixel_size_um is None else replace(sample, pixel_size_um=dataset.pixel_size_um)
        for sample in dataset.samples
    ]


def _show(args: argparse.Namespace, document: dict[str, Any]) -> None:
    import shlex

    print(f"{args.project}: {_count(len(document['added']))} added, {document['images']} in all")
    if document["duplicates"]:
        print(f"{_count(len(document['duplicates']))} left out: the project has the same content already")
    if document["regrouped"]:
        print(f"{_count(len(document['regrouped']))} got a group")
    if document["masks_not_imported"]:
        words = ["frugalseg", "import", str(args.project), str(args.images)]
        words += [] if args.subset is None else ["--subset", args.subset]
        print(f"masks were found and not imported; to import them: {shlex.join(words)}")


def _count(number: int) -> str:
    return f"{number} image{'' if number == 1 else 's'}"
