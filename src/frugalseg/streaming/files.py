"""Several slides one after another: which files are slides, and what one bad slide costs (itself)."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from frugalseg.engines import Engine
from frugalseg.errors import ConfigError, InputError, Problem, TaskError
from frugalseg.images import image_stem, is_image_name, is_mask_name
from frugalseg.images.names import is_mask_beside, is_text
from frugalseg.model_files import ModelCard
from frugalseg.slides import Slide, is_slide, open_slide
from frugalseg.streaming.outputs import OUTPUTS
from frugalseg.streaming.run import Report, StreamSettings, segment_slide

log = logging.getLogger(__name__)

NEEDS = {"parquet": "pyarrow", "zarr": "zarr"}
"""Libraries of outputs that only the extra ``wsi`` brings."""


def divide_inputs(inputs: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Slides among files and folders, and everything else; a folder without slides stays a folder.

    Raises
    ------
    InputError
        Two slides of one stem, whose results would overwrite each other; a name that is no text.
    """
    slides: list[Path] = []
    others: list[Path] = []
    for path in inputs:
        if is_slide(path):
            slides.append(path)
            continue
        inside = sorted(path.iterdir()) if path.is_dir() else []
        found = [each for each in inside if not each.name.startswith(".") and is_slide(each)]
        stems = {image_stem(each) for each in inside}
        masks = [each for each in found if is_mask_beside(each, stems)]
        if masks:
            log.info("masks beside slides are skipped: %s%s", masks[0].name, ", …" if masks[1:] else "")
            found = [each for each in found if each not in masks]
        slides += found
        if found:
            others += [each for each in inside if each not in found and each.is_file() and _is_picture(each)]
        else:
            others.append(path)
    slides = list(dict.fromkeys(slides))
    by_stem: dict[str, Path] = {}
    problems = [
        Problem(str(path), f"has the same stem as {first}, so their results would overwrite")
        for path in slides
        if (first := by_stem.setdefault(slide_stem(path), path)) != path
    ]
    problems += [
        Problem(str(path), "has a name that is not UTF-8 text; rename it") for path in slides if not is_text(path.name)
    ]
    if problems:
        raise InputError.of(problems)
    return slides, others


def slide_stem(path: Path) -> str:
    """Name of a slide's results: its own without suffix; ``x.ome.zarr`` is ``x``."""
    return image_stem(path)


def _is_picture(path: Path) -> bool:
    return is_image_name(path) and not is_mask_name(path)


def chosen_formats(asked: str | None) -> tuple[str, ...]:
    """Names of outputs from a list with commas; without one, all that the installed libraries allow.

    Raises
    ------
    ConfigError
        An unknown name, none at all, or one whose library is not installed.
    """
    missing = {name for name, library in NEEDS.items() if importlib.util.find_spec(library) is None}
    if asked is None:
        if missing:
            log.info("not written without the extra wsi (pip install 'frugalseg[wsi]'): %s", ", ".join(sorted(missing)))
        return tuple(name for name in OUTPUTS if name not in missing)
    names = [name.strip() for name in asked.split(",") if name.strip()]
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or not names:
        what = f"{unknown[0]!r} is unknown" if unknown else "is empty"
        raise ConfigError("--formats", f"{what}; there are {', '.join(OUTPUTS)}")
    for name in names:
        if name in missing:
            raise ConfigError("--formats", f"{name} needs {NEEDS[name]}: pip install 'frugalseg[wsi]'")
    return tuple(name for name in OUTPUTS if name in names)


def segment_slides(
    engines: Sequence[Engine],
    card: ModelCard,
    slides: Sequence[Path],
    out: Path,
    settings: StreamSettings,
    *,
    pixel_size_um: float | None = None,
    check_size: Callable[[Path, float | None], None] = lambda path, size: None,
    model_key: Sequence[str] = (),
    resume: bool = False,
    report: Callable[[str], Report] = lambda name: lambda stage, done, total: None,
) -> tuple[list[dict[str, Any]], InputError | None]:
    """Segment slides one after another; see :func:`frugalseg.streaming.run.segment_slide`.

    Parameters
    ----------
    check_size
        Raises `InputError` for a pixel size that cannot be right.
    report
        Gives each slide what is told of its progress.

    Returns
    -------
    Summaries of the slides that are done, and what was wrong with the others, for the caller to raise in the end.
    """
    summaries: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for path in slides:
        name = slide_stem(path)
        try:
            with open_slide(path) as slide:
                size_um = pixel_size_um or _known_size(slide, card)
                check_size(path, size_um)
                summaries.append(
                    segment_slide(
                        engines, card, slide, name, out, settings,
                        pixel_size_um=size_um, model_key=model_key, resume=resume, report=report(name),
                    )
                )  # fmt: skip
        except ConfigError as error:  # a reader's library is missing: the other slides do not need it
            problems.append(Problem(str(path), str(error)))
        except KeyboardInterrupt:
            log.info("%s: stopped; --resume goes on with it", name)
            raise
        except InputError as error:
            problems += error.problems
        except TaskError as error:
            problems += error.problems or (Problem(str(path), str(error)),)
    return summaries, InputError.of(problems) if problems else None


def _known_size(slide: Slide, card: ModelCard) -> float | None:
    if slide.pixel_size_um is None and card.pixel_size_um is not None:
        log.warning(
            "%s: says no pixel size; taken for %g µm, as the training images had (--pixel-size UM corrects it)",
            slide.path.name,
            card.pixel_size_um,
        )
    return slide.pixel_size_um
