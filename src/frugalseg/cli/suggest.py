"""``frugalseg suggest PROJECT -k 8``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frugalseg.jobs import Work
    from frugalseg.project import Project
    from frugalseg.rounds.suggesting import Answer, Request


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="folder that 'frugalseg init' made")
    parser.add_argument("-k", type=int, default=8, metavar="N", help="how many images (default: 8)")
    parser.add_argument(
        "--candidates", type=int, metavar="N", help="most uncertain images among which to choose (default: 2 k)"
    )
    parser.add_argument(
        "--strategy",
        default="auto",
        metavar="NAME",
        help="suggestive, uncertainty, entropy, bald, cover, kmeanspp, power, random or foreground_random (default:"
        " suggestive; cover before the first training)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    parser.add_argument(
        "--window", type=int, default=0, metavar="PX", help="suggest windows of this side of large images, such as 512"
    )
    parser.add_argument(
        "--per-image",
        type=int,
        metavar="N",
        help="at most so many windows of an image or slide (default: 2, or as many as -k asks of few slides)",
    )
    parser.add_argument(
        "--slide-candidates",
        type=int,
        default=256,
        metavar="N",
        help="windows of each slide to look at, evenly spread over its tissue (default: 256)",
    )
    parser.add_argument(
        "--object-diameter", type=float, metavar="PX", help="usual width of an object, helps before the first training"
    )
    parser.add_argument(
        "--validation", type=float, default=0.2, metavar="SHARE", help="set aside when images are new (default: 0.2)"
    )
    parser.add_argument("--no-wait", action="store_true", help="fail instead of waiting for jobs that come first")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Choose, store, write the page, say what and why."""
    _check(args)

    import dataclasses

    from frugalseg.cli.project_training import print_on_stderr
    from frugalseg.jobs import at_work, wait_for_turn
    from frugalseg.project import JobQueue, Project
    from frugalseg.rounds.suggesting import Request

    project = Project.open(args.project)
    request = Request(
        k=args.k,
        n_candidates=args.candidates,
        strategy=args.strategy,
        seed=args.seed,
        window_px=args.window,
        per_image=args.per_image,
        slide_candidates=args.slide_candidates,
        diameter_px=args.object_diameter,
        validation=args.validation,
    )
    job = JobQueue(project).add("suggest", dataclasses.asdict(request), "command line")
    with at_work(project, wait_for_turn(project, job, wait=not args.no_wait, announce=print_on_stderr)) as work:
        answer, page = suggest_and_publish(project, request, work)
    if not args.json:
        _show(answer, page)
    return _document(answer, page)


def suggest_and_publish(project: Project, request: Request, work: Work) -> tuple[Answer, Path]:
    """Suggest as the work of a job that is this process' own, with proposals and the page; its path."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from frugalseg.errors import ConfigError
    from frugalseg.rounds.report import publish
    from frugalseg.rounds.suggesting import suggest_round

    newest = project.newest_trained()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("scoring", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)
            if done == 1 and newest is not None:
                work.in_round(newest.number, total)
            work.tell(done, total)

        try:
            answer = suggest_round(project, request, advance=advance)
        except ValueError as error:
            raise ConfigError("suggest", str(error)) from None
    return answer, publish(project, answer)


def _check(args: argparse.Namespace) -> None:
    from frugalseg.errors import ConfigError

    if args.k < 1 or (args.candidates is not None and args.candidates < args.k):
        raise ConfigError("-k", f"must be at least 1, and at most --candidates, not {args.k}")
    if args.window < 0 or (args.per_image is not None and args.per_image < 1) or args.seed < 0:
        raise ConfigError("--window, --per-image, --seed", "must not be negative, and at least one window an image")
    if args.slide_candidates < 1:
        raise ConfigError("--slide-candidates", f"must be at least 1, not {args.slide_candidates}")
    if not 0 <= args.validation < 1:
        raise ConfigError("--validation", f"must lie in 0 ≤ share < 1, not {args.validation:g}")
    if args.object_diameter is not None and not 0 < args.object_diameter < math.inf:
        raise ConfigError("--object-diameter", f"must be a positive number, not {args.object_diameter:g}")


def _show(answer: Answer, page: Path) -> None:
    cold = answer.card is None
    for rank, pick in enumerate(answer.suggestions, start=1):
        uncertain = "" if cold else f"uncertainty {pick.uncertainty:.4f} (rank {pick.uncertainty_rank}), "
        print(f"{rank:2}. {pick.name}: {uncertain}represents {100 * pick.represents:.0f} % of the images")
    if answer.set_aside:
        print(f"for validation, annotate these {len(answer.set_aside)} too: {', '.join(answer.set_aside)}")
    print(f"the report: {page}")


def _document(answer: Answer, page: Path) -> dict[str, Any]:
    cold = answer.card is None
    return {
        "ask": answer.ask,
        "round": answer.round,
        "strategy": answer.strategy,
        "suggestions": [
            {
                "image": pick.name,
                "window": sample.window,
                "uncertainty": None if cold else pick.uncertainty,
                "uncertainty_rank": None if cold else pick.uncertainty_rank,
                "represents": pick.represents,
                "similarity": pick.similarity,
                "nearest": list(pick.nearest),
            }
            for pick, sample in zip(answer.suggestions, answer.samples, strict=True)
        ],
        "validation_to_annotate": list(answer.set_aside),
        "scored": len(answer.pool.names),
        "seconds": round(answer.seconds, 2),
        "report": str(page),
    }
