"""The part of ``frugalseg predict`` that is about whole slides."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frugalseg.errors import InputError
    from frugalseg.predict import Model
    from frugalseg.streaming.run import StreamSettings


def configure_slides(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that only slides take."""
    group = parser.add_argument_group("whole slides")
    group.add_argument("--region", metavar="X,Y,W,H", help="segment this part alone, in pixels of the finest level")
    group.add_argument(
        "--formats", metavar="LIST",
        help="what to write: geojson, tiff, zarr, parquet, overview, with commas (default: all)",
    )  # fmt: skip
    group.add_argument("--resume", action="store_true", help="go on where an earlier run was stopped")
    group.add_argument("--glass", action="store_true", help="run the network on glass too")


def slide_settings(args: argparse.Namespace, *, alone: bool) -> StreamSettings:
    """Settings of slides from the arguments; `alone` if there are no plain images, which take more flags.

    Raises
    ------
    InputError
        Impossible values, or flags that slides do not take.
    """
    from frugalseg.errors import InputError, Problem
    from frugalseg.streaming.files import chosen_formats
    from frugalseg.streaming.run import StreamSettings

    refused = [("--tta", args.tta), ("--probabilities", args.probabilities)]
    if alone:
        refused += [("--no-overlays", args.no_overlays), ("--format", args.format != "png")]
    problems = [Problem(flag, "is not for whole slides") for flag, given in refused if given]
    if problems:
        raise InputError.of(problems)
    region = None if args.region is None else _region(args.region)
    return StreamSettings(
        formats=chosen_formats(args.formats),
        region=region,
        skip_glass=not args.glass,
        batch=4 if args.device == "cuda" else 1,
        workers=args.threads,
    )


def _region(text: str) -> tuple[int, int, int, int]:
    from frugalseg.errors import InputError

    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError("--region", f"must be four whole numbers X,Y,W,H, not {text!r}") from None
    if width < 1 or height < 1:
        raise InputError("--region", f"must have a width and a height above 0, not {text!r}")
    return x, y, width, height


def refuse_slide_flags(args: argparse.Namespace) -> None:
    """Complain about flags that only slides take, where there is no slide.

    Raises
    ------
    InputError
        Names the flags.
    """
    from frugalseg.errors import InputError, Problem

    given = [("--region", args.region), ("--formats", args.formats), ("--resume", args.resume), ("--glass", args.glass)]
    problems = [Problem(flag, "is for whole slides, and none is among the images") for flag, value in given if value]
    if problems:
        raise InputError.of(problems)


def run_slides(
    args: argparse.Namespace, model: Model, models: Sequence[Path], slides: Sequence[Path], settings: StreamSettings
) -> tuple[list[dict[str, Any]], InputError | None]:
    """Segment slides with a bar of progress; their summaries, and what was wrong with some, if anything."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from frugalseg.model_files import check_sizes
    from frugalseg.streaming.files import segment_slides
    from frugalseg.streaming.work import files_key

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def report(name: str) -> Callable[[str, int, int], None]:
            tasks: dict[str, Any] = {}

            def step(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    for task in progress.task_ids:
                        progress.update(task, visible=False)
                    tasks[stage] = progress.add_task(f"{name}: {stage}", total=total)
                progress.update(tasks[stage], completed=done, total=total)

            return step

        return segment_slides(
            model.engines,
            model.card,
            slides,
            args.out,
            settings,
            pixel_size_um=args.pixel_size,
            check_size=lambda path, size: check_sizes(model.card, [path], [size], args.pixel_size),
            model_key=[*files_key(list(models)), *(engine.how for engine in model.engines)],
            resume=args.resume,
            report=report,
        )
