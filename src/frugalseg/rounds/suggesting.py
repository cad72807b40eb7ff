"""Which images of a project to annotate next, and why."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frugalseg.engines import Engine
from frugalseg.ensemble.cold import cold_engine, cold_scale
from frugalseg.ensemble.scoring import Scored, as_pool, score_images
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import Sample, cut_windows
from frugalseg.model_files import ModelCard
from frugalseg.predict import load_model
from frugalseg.project import Project, Reason, Suggested
from frugalseg.project.round_files import round_folder
from frugalseg.rounds.data import as_sample
from frugalseg.rounds.training import ENSEMBLE
from frugalseg.suggest import STRATEGIES, Ask, Pool, Suggestion, suggest

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
    window_px, per_image
        Suggest windows of this side, at most so many of one image; 0 means whole images.
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
    per_image: int = 2
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
    """Choose images to annotate next, and store them in the project.

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
    images = project.pool()
    if not images:
        raise InputError(project.folder, "has no image left to suggest: all are annotated, unusable or set aside")
    samples = [as_sample(image, annotated=False) for image in images]
    annotated = [as_sample(image, annotated=False) for image in project.labelled()]
    if request.window_px:
        samples = cut_windows(samples, request.window_px)
    began = time.monotonic()
    card = None
    engines: tuple[Engine, ...]
    if newest is None:
        engines = (cold_engine("lite"),)
        scale = cold_scale(request.diameter_px, "lite")
    else:
        model = load_model([ensemble_file(project, newest.number)])
        engines, card = model.engines, model.card

        def scale(sample: Sample, card: ModelCard = model.card) -> float:
            return card.scale_for(sample.pixel_size_um)

    scored, labelled = _score(engines, samples, annotated, scale, advance)
    pool = as_pool(scored, [each.descriptor for each in labelled])
    ask = Ask(
        k=request.k,
        n_candidates=request.n_candidates,
        round=0 if newest is None else newest.number + 1,
        seed=request.seed,
        per_image=request.per_image if request.window_px else None,
    )
    picks = suggest(pool, ask, strategy)
    chosen = [samples[pick.index] for pick in picks]
    stored = _store(project, picks, chosen, strategy, request, None if newest is None else newest.number)
    return Answer(
        ask=stored[0].ask,
        round=None if newest is None else newest.number,
        strategy=strategy,
        suggestions=tuple(picks),
        samples=tuple(chosen),
        pool=pool,
        labelled=np.asarray(pool.labelled, dtype=np.float32),
        engines=engines,
        card=card,
        set_aside=tuple(each.name for each in project.validation() if each.annotation is None),
        seconds=time.monotonic() - began,
    )


def _check(project: Project, request: Request) -> str:
    """The strategy to use."""
    cold = project.newest_trained() is None
    if request.strategy == "auto":
        return "cover" if cold else "suggestive"
    if request.strategy not in STRATEGIES:
        raise ConfigError("strategy", f"no strategy {request.strategy!r}; there are {', '.join(STRATEGIES)}")
    if cold and request.strategy not in WITHOUT_LABELS:
        hint = ", ".join(WITHOUT_LABELS)
        raise ConfigError("strategy", f"{request.strategy} needs a trained round; before the first there are {hint}")
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
    advance: Callable[[int, int], None] | None,
) -> tuple[list[Scored], list[Scored]]:
    total, done = len(samples) + len(annotated), 0

    def one_more() -> None:
        nonlocal done
        done += 1
        if advance is not None:
            advance(done, total)

    scored = list(score_images(engines, samples, scale, advance=one_more))
    return scored, list(score_images(engines, annotated, scale, advance=one_more))


def _store(
    project: Project,
    picks: Sequence[Suggestion],
    samples: Sequence[Sample],
    strategy: str,
    request: Request,
    number: int | None,
) -> tuple[Suggested, ...]:
    cold = number is None
    names = {each.path: each.name for each in project.images()}
    reasons = [
        Reason(
            image=names[sample.image],
            window=sample.window,
            uncertainty=None if cold else pick.uncertainty,
            uncertainty_rank=None if cold else pick.uncertainty_rank,
            represents=pick.represents,
            similarity=pick.similarity,
            nearest=pick.nearest,
        )
        for pick, sample in zip(picks, samples, strict=True)
    ]
    return project.add_suggestions(reasons, strategy, dataclasses.asdict(request), number)
