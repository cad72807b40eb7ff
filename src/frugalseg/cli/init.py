"""``frugalseg init``: a project folder made from images, or images added to one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frugalseg.images import Dataset, Sample
    from frugalseg.project import Added, Project, SlideCandidate


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project, made if missing")
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR",
        help="GlaS, images/ + masks/, Cellpose, nnU-Net, images or whole slides; or one slide",
    )  # fmt: skip
    parser.add_argument("--subset", help="only this part: train, testA, or the name of a subfolder")
    parser.add_argument(
        "--groups", metavar="FILE", help="CSV with columns image,group; 'none' leaves GlaS' patients out"
    )
    parser.add_argument(
        "--root",
        metavar="NAME",
        help="name of DIR for slides, and for files of more than 64 MiB: they stay where they are (default: its own)",
    )
    parser.add_argument(
        "--classes",
        metavar="A,B",
        help="names of the object classes of a new project (default: what DIR says, or object)",
    )
    slides = parser.add_argument_group("whole slides")
    slides.add_argument(
        "--pixel-size",
        type=float,
        metavar="UM",
        help="pixel size of the windows to annotate (default: the slide's own)",
    )
    slides.add_argument("--window", type=int, metavar="PX", help="side of a window in its own pixels (default: 1024)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Make the project where there is none, add images and slides, and say what to do next."""
    from frugalseg.project.store import DATABASE, check_new_folder

    fresh = not (args.project / DATABASE).exists()
    if fresh:
        check_new_folder(args.project)
    dataset, slides = judge_folder(
        args.images, subset=args.subset, groups=args.groups, pixel_size_um=args.pixel_size, window_px=args.window
    )
    root = root_of(args.images, slides, args.root)
    if fresh:
        project, added = make_project(args.project, dataset, root, args.classes)
    else:
        project, added = _extend(args, dataset, slides, root)
    added_slides = project.add_slides(slides, root)
    document = {
        "project": str(args.project),
        "classes": list(project.class_names),
        "images": len(project.images()),
        "added": list(added.added),
        "duplicates": [*added.duplicates, *added_slides.duplicates],
        "regrouped": list(added.regrouped),
        "masks_not_imported": len(dataset.labelled),
        "slides": len(project.slides()),
        "added_slides": list(added_slides.added),
    }
    if not args.json:
        _show(args, document)
    return document


def judge_folder(
    images: Path,
    *,
    subset: str | None = None,
    groups: str | None = None,
    pixel_size_um: float | None = None,
    window_px: int | None = None,
) -> tuple[Dataset, tuple[SlideCandidate, ...]]:
    """Images and slides of the folder, all looked at; where there are slides, the other pictures are plain images."""
    from frugalseg.errors import InputError, Problem
    from frugalseg.images import Dataset, Sample, image_stem, open_dataset
    from frugalseg.images.tables import read_groups
    from frugalseg.project import SlideSettings, check_slides, divide_folder

    slides, pictures = divide_folder(images) if images.exists() else ([], [])
    if not slides:
        given = (("--pixel-size", pixel_size_um), ("--window", window_px))
        problems = [Problem(flag, f"is for whole slides, and {images} holds none") for flag, value in given if value]
        if problems:
            raise InputError.of(problems)
        return open_dataset(images, subset=subset, groups=groups), ()
    if subset is not None:
        raise InputError("--subset", f"is for data sets, and {images} holds whole slides")
    names = {image_stem(each) for each in (*slides, *pictures)}
    group_of = {} if groups in (None, "none") else read_groups(Path(groups), names)
    for each in slides:  # a table may have a slide's name with its suffix, too
        if each.name in group_of:
            group_of.setdefault(image_stem(each), group_of[each.name])
    settings = SlideSettings(pixel_size_um) if window_px is None else SlideSettings(pixel_size_um, window_px)
    samples = [Sample(image_stem(each), each, None, "all", group=group_of.get(image_stem(each))) for each in pictures]
    checked = check_slides(slides, settings, group_of)
    of_slides = {each.name.casefold() for each in checked}
    if both := [each for each in samples if each.name.casefold() in of_slides]:
        raise InputError.of(Problem(str(each.image), "has the name of a slide beside it") for each in both)
    return Dataset(images, "slides", tuple(samples)), checked


def root_of(images: Path, slides: Sequence[SlideCandidate], name: str | None = None) -> tuple[str, Path]:
    """Name and folder of the root under which large files stay; a slide that is named alone lies in its folder."""
    folder = images.parent if [each.path for each in slides] == [images] else images
    return name or folder.resolve().name or "images", folder


def make_project(
    folder: Path, dataset: Dataset, root: tuple[str, Path], classes: str | None = None
) -> tuple[Project, Added]:
    """A new project of a data set's images; all are judged first, so that no empty project is left behind."""
    from frugalseg.project import Project, check_images

    candidates = check_images(_samples(dataset))
    project = Project.create(folder, dataset.class_names if classes is None else classes.split(","))
    return project, project.add_images(candidates, root)


def _extend(
    args: argparse.Namespace, dataset: Dataset, slides: Sequence[SlideCandidate], root: tuple[str, Path]
) -> tuple[Project, Added]:
    from frugalseg.errors import InputError
    from frugalseg.project import Project

    project = Project.open(args.project)
    if args.classes is not None and tuple(name.strip() for name in args.classes.split(",")) != project.class_names:
        raise InputError("--classes", f"cannot be changed, {args.project} has {','.join(project.class_names)}")
    project.check_slides(slides, root)  # all or nothing: what is wrong with a slide is said before images are added
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

    slides = len(document["added_slides"])
    if slides:
        print(f"{args.project}: {slides} slide{'s' * (slides != 1)} added, {document['slides']} in all")
    if not slides or document["added"]:
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
