"""``frugalseg status PROJECT``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frugalseg.project import ProjectImage, ProjectSlide


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder that 'frugalseg init' made")
    parser.add_argument("-k", type=int, default=8, metavar="N", help="images of the next round (default: 8)")
    parser.add_argument("--check", action="store_true", help="look at every file, which takes time")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Count, show the rounds, look ahead."""
    import dataclasses

    from frugalseg.errors import InputError
    from frugalseg.project import Project
    from frugalseg.rounds.status import outlook, progress

    if args.k < 1:
        raise InputError("-k", f"must be at least 1, not {args.k}")
    project = Project.open(args.project)
    if args.check and (problems := project.integrity()):
        raise InputError.of(problems)
    images, slides = project.images(), project.slides()
    validation = project.validation()
    rounds = progress(project)
    ahead = outlook(rounds, args.k)
    suggested = dict.fromkeys(each.image for each in project.suggestions())  # of one image there may be several windows
    asked = [project.image(name) for name in suggested]
    waiting = [each.name for each in asked if each.usable and not each.annotated]
    document = {
        "images": len(images),
        "unusable": {each.name: each.unusable_reason for each in images if not each.usable}
        | {each.name: each.unusable_reason for each in slides if not each.usable},
        "slides": {each.name: _slide(each, images) for each in slides},
        "pool": sum(each.may_be_suggested for each in project.images()),
        "labelled": len(project.labelled()) + len(project.not_drawn()),
        "validation": len(validation),
        "validation_to_annotate": [
            each.name for each in validation if not (each.annotation and each.annotation.complete)
        ],
        "suggested_to_annotate": waiting,
        "cost": dataclasses.asdict(project.cost()),
        "rounds": [dataclasses.asdict(each) for each in rounds],
        "interrupted_round": _interrupted(project),
        "outlook": dataclasses.asdict(ahead),
    }
    if not args.json:
        _show(document)
    return document


def _slide(slide: ProjectSlide, images: Sequence[ProjectImage]) -> dict[str, Any]:
    windows = [each for each in images if each.slide is not None and each.slide.id == slide.id]
    done = sum(each.annotated for each in windows)
    return {"role": slide.role, "windows": len(windows), "annotated": done}


def _interrupted(project: Any) -> int | None:
    newest = project.newest_round()
    return newest.number if newest is not None and newest.status == "training" else None


def _show(document: dict[str, Any]) -> None:
    cost = document["cost"]
    print(
        f"{document['images']} images: {document['labelled']} annotated, {document['pool']} to choose from,"
        f" {document['validation']} for validation, {len(document['unusable'])} unusable"
    )
    for name, each in document["slides"].items():
        role = "" if each["role"] is None else f", for {'validation' if each['role'] == 'validation' else 'training'}"
        print(f"slide {name}: {each['windows']} windows, {each['annotated']} of them annotated{role}")
    print(f"drawn so far: {cost['objects']} objects, {cost['contour_px']:,.0f} px of outlines")
    for name, text in (("suggested_to_annotate", "suggested, to annotate"),
                       ("validation_to_annotate", "for validation, to annotate")):  # fmt: skip
        if document[name]:
            print(f"{text}: {', '.join(document[name])}")
    for each in document["rounds"]:
        dice = "–" if each["dice"] is None else f"{each['dice']:.3f}"
        between = "" if each["low"] is None else f" [{each['low']:.3f}, {each['high']:.3f}]"
        print(f"round {each['number']}: {each['n_labelled']} images, validation object Dice {dice}{between}")
    if document["interrupted_round"] is not None:
        ways = "'frugalseg train' goes on with it, or gives it up with --abandon"
        print(f"round {document['interrupted_round']} was interrupted: {ways}")
    ahead = document["outlook"]
    gain = "" if ahead["gain"] is None else f"about {ahead['gain']:+.3f} object Dice, "
    print(f"the next round: {gain}{ahead['reason']}")
