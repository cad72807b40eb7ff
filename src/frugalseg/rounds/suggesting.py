"""Which images of a project, and which windows of its slides, to annotate next, and why."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import Image
from frugalseg.engines import Engine
from frugalseg.ensemble.cold import cold_engine, cold_scale
from frugalseg.ensemble.scoring import Scored, as_pool, score_images
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import Sample, cut_windows, load_image
from frugalseg.model_files import ModelCard
from frugalseg.predict import load_model
from frugalseg.project import NewWindow, Project, Reason, Round, Suggested
from frugalseg.project.round_files import round_folder
from frugalseg.rounds.data import as_sample
from frugalseg.rounds.slide_windows import OpenSlides, SlideWindow, candidate_windows, validation_windows
from frugalseg.rounds.training import ENSEMBLE
from frugalseg.stain import Stain
from frugalseg.suggest import COMPARING, STRATEGIES, Ask, Pool, Suggestion, suggest

log = logging.getLogger(__name__)

WITHOUT_LABELS = ("cover", "kmeanspp", "random")
"""Strategies that need no trained network."""


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes
    ----------
    k, n_candidates, seed
        As in :class:`frugalseg.suggest.Ask`.
    strategy
        ``auto`` is the paper's where a round has been trained, and representative images before.
    window_px
        Suggest windows of this side of large images; 0 means whole images. Slides have their own windows.
    per_image
        At most so many windows of one image or slide; None is 2, or more where the slides are too few for `k`.
    slide_candidates
        Windows of each slide that are looked at, evenly spread over its tissue.
    diameter_px
        Usual width of an object, for a cold start; not needed later.
    validation
        Share of the images that is set aside for validation and never suggested.
    """

    k: int = 8
    n_candidates: int | None = None
    strategy: str = "auto"
    seed: int = 0
    window_px: int = 0
    per_image: int | None = None
    slide_candidates: int = 256
    diameter_px: float | None = None
    validation: float = 0.2


@dataclass(frozen=True, eq=False)
class Answer:
    """What was suggested, and all that a report of it needs.

    Attributes
    ----------
    ask
        Number of the answer in the project.
    round
        Number of the round whose ensemble was asked; None for a cold start.
    strategy
        The one that chose.
    suggestions, samples
        In order; the images or windows themselves.
    pool
        Numbers of everything that could have been suggested.
    labelled
        Descriptors of the annotated images, shape (m, D).
    engines, card
        The ensemble; no card for a cold start.
    set_aside
        Names of validation images that are not annotated yet.
    seconds
        Spent on scoring.
    """

    ask: int
    round: int | None
    strategy: str
    suggestions: tuple[Suggestion, ...]
    samples: tuple[Sample, ...]
    pool: Pool
    labelled: NDArray[np.float32]
    engines: tuple[Engine, ...]
    card: ModelCard | None
    set_aside: tuple[str, ...]
    seconds: float


def suggest_round(project: Project, request: Request, *, advance: Callable[[int, int], None] | None = None) -> Answer:
    """Choose images to annotate next, and store them in the project; suggested windows of slides become images of it.

    Parameters
    ----------
    project
        With images; before the first training, those are chosen by what a pretrained encoder sees in them.
    request
        How many, and how.
    advance
        Told how many images of how many have been scored.

    Raises
    ------
    InputError
        Nothing is left to suggest.
    ConfigError
        The strategy needs a trained round, or there is no such strategy.
    """
    strategy = _check(project, request)
    project.draw_validation(request.validation, request.seed)
    newest = project.newest_trained()
    with OpenSlides() as slides:
        candidates = _find_candidates(project, request, slides)
        began = time.monotonic()
        engines, card, scale = _ensemble(project, newest, request)
        annotated = [as_sample(image, annotated=False) for image in project.labelled()]
        stain = None if card is None else card.stain
        load = candidates.loader(slides)
        scored, labelled = _score(engines, candidates.samples, annotated, scale, stain, advance, load)
        pool = as_pool(scored, [each.descriptor for each in labelled])
        pool = dataclasses.replace(pool, images=candidates.sources)
        ask = Ask(
            k=request.k,
            n_candidates=request.n_candidates,
            round=0 if newest is None else newest.number + 1,
            seed=request.seed,
            per_image=_most_of_one(request, candidates),
        )
        picks = suggest(pool, ask, strategy)
        chosen = [candidates.samples[pick.index] for pick in picks]
        new = _cut(project, slides, request, [candidates.windows.get(each.name) for each in chosen])
        stored = _store(project, picks, chosen, strategy, request, None if newest is None else newest.number, new)
    return Answer(
        ask=stored[0].ask,
        round=None if newest is None else newest.number,
        strategy=strategy,
        suggestions=tuple(picks),
        samples=tuple(
            as_sample(project.image(each.name), annotated=False) if each.name in candidates.windows else each
            for each in chosen
        ),
        pool=pool,
        labelled=np.asarray(pool.labelled, dtype=np.float32),
        engines=engines,
        card=card,
        set_aside=tuple(each.name for each in project.validation() if each.annotation is None),
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True, eq=False)
class _Candidates:
    """What may be suggested: samples, the image or slide that each is from, and windows that are no images yet."""

    samples: tuple[Sample, ...]
    sources: tuple[str, ...]
    windows: Mapping[str, SlideWindow]

    def loader(self, slides: OpenSlides) -> Callable[[Sample], Image]:
        """What gives a sample's pixels."""

        def load(sample: Sample) -> Image:
            window = self.windows.get(sample.name)
            return load_image(sample) if window is None else slides.read(window)

        return load


def _find_candidates(project: Project, request: Request, slides: OpenSlides) -> _Candidates:
    images = project.pool()
    samples = [as_sample(image, annotated=False) for image in images]
    if request.window_px:
        samples = cut_windows(samples, request.window_px)
    slide_of = {image.path: f"slide {image.slide.id}" for image in images if image.slide is not None}
    sources = [slide_of.get(each.image, str(each.image)) for each in samples]
    windows = candidate_windows(project, slides, request.slide_candidates, request.seed)
    samples += [each.as_sample() for each in windows]
    sources += [f"slide {each.slide.id}" for each in windows]
    if not samples:
        raise InputError(project.folder, "has no image left to suggest: all are annotated, unusable or set aside")
    return _Candidates(tuple(samples), tuple(sources), {each.name: each for each in windows})


def _cut(
    project: Project, slides: OpenSlides, request: Request, chosen: Sequence[SlideWindow | None]
) -> list[NewWindow]:
    """What is to become images: the chosen windows, and others for validation; None is an image already."""
    new = [slides.as_new(each, "pool") for each in chosen if each is not None]
    aside = validation_windows(project, slides, len(new), request.validation, request.seed)
    return [*new, *(slides.as_new(each, "validation") for each in aside)]


def _most_of_one(request: Request, candidates: _Candidates) -> int | None:
    """Windows of one image or slide, at most; None where every image is there once."""
    sources = set(candidates.sources)
    of_slides = any(each.startswith("slide ") for each in sources)
    if request.window_px == 0 and not of_slides:
        return None
    enough = math.ceil(request.k / len(sources)) if of_slides else 0
    return max(2, enough) if request.per_image is None else request.per_image


def _ensemble(
    project: Project, newest: Round | None, request: Request
) -> tuple[tuple[Engine, ...], ModelCard | None, Callable[[Sample], float]]:
    """Who is asked: the newest round's networks, or the pretrained encoder; and the scale at which they look."""
    if newest is None:
        return (cold_engine("lite"),), None, cold_scale(request.diameter_px, "lite")
    model = load_model([ensemble_file(project, newest.number)])
    return model.engines, model.card, lambda sample: model.card.scale_for(sample.pixel_size_um)


def _check(project: Project, request: Request) -> str:
    """The strategy to use."""
    newest = project.newest_trained()
    cold, alone = newest is None, newest is not None and len(newest.members) == 1
    if request.strategy == "auto":
        return "cover" if cold or alone else "suggestive"
    if request.strategy not in STRATEGIES:
        raise ConfigError("strategy", f"no strategy {request.strategy!r}; there are {', '.join(STRATEGIES)}")
    if cold and request.strategy not in WITHOUT_LABELS:
        hint = ", ".join(WITHOUT_LABELS)
        raise ConfigError("strategy", f"{request.strategy} needs a trained round; before the first there are {hint}")
    if alone and request.strategy in COMPARING:
        others = ", ".join(name for name in STRATEGIES if name not in COMPARING)
        reason = f"{request.strategy} compares networks, and the last round has one; there are {others}"
        raise ConfigError("strategy", f"{reason}, or 'frugalseg train --members 3'")
    return request.strategy


def ensemble_file(project: Project, number: int) -> Path:
    """The packed networks of a trained round; an `InputError` if they are not there any more."""
    path = round_folder(project.folder, number) / ENSEMBLE
    if not path.is_file():
        raise InputError(path, "is missing: the round's networks cannot be asked; train another round")
    return path


def _score(
    engines: Sequence[Engine],
    samples: Sequence[Sample],
    annotated: Sequence[Sample],
    scale: Callable[[Sample], float],
    stain: Stain | None,
    advance: Callable[[int, int], None] | None,
    load: Callable[[Sample], Image],
) -> tuple[list[Scored], list[Scored]]:
    total, done = len(samples) + len(annotated), 0

    def one_more() -> None:
        nonlocal done
        done += 1
        if advance is not None:
            advance(done, total)

    scored = list(score_images(engines, samples, scale, stain=stain, advance=one_more, load=load))
    return scored, list(score_images(engines, annotated, scale, stain=stain, advance=one_more))


def _store(
    project: Project,
    picks: Sequence[Suggestion],
    samples: Sequence[Sample],
    strategy: str,
    request: Request,
    number: int | None,
    windows: Sequence[NewWindow],
) -> tuple[Suggested, ...]:
    cold = number is None
    new = {each.name for each in windows}
    names = {each.path: each.name for each in project.images()}
    reasons = [
        Reason(
            image=sample.name if sample.name in new else names[sample.image],
            window=sample.window,
            uncertainty=None if cold else pick.uncertainty,
            uncertainty_rank=None if cold else pick.uncertainty_rank,
            represents=pick.represents,
            similarity=pick.similarity,
            nearest=pick.nearest,
        )
        for pick, sample in zip(picks, samples, strict=True)
    ]
    return project.add_suggestions(reasons, strategy, dataclasses.asdict(request), number, windows)
