"""Windows of a project's slides that may be suggested: an even grid over the tissue, thinned where it has too many."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from frugalseg.arrays import Image, Mask
from frugalseg.errors import InputError
from frugalseg.images import Sample
from frugalseg.project import NewWindow, Project, ProjectImage, ProjectSlide, Role, Window
from frugalseg.project.windows import window_name
from frugalseg.slides import ReaderProcess, SlideView
from frugalseg.streaming.tissue import tissue_mask

LEAST_TISSUE = 0.1
"""Share of a window that shows tissue, at least."""


@dataclass(frozen=True)
class SlideWindow:
    """A part of a slide: `box` in pixels of the windows, `place` in pixels of level 0; each x, y, width, height."""

    slide: ProjectSlide
    box: Window
    place: Window

    @property
    def name(self) -> str:
        """Of the image that it may become."""
        return window_name(self.slide.name, self.place[0], self.place[1])

    def as_sample(self) -> Sample:
        """For scoring; it cannot be loaded as an image file, see :meth:`OpenSlides.read`."""
        return Sample(
            self.name,
            self.slide.path,
            None,
            "pool",
            group=self.slide.group or self.slide.name,
            size=(self.box[3], self.box[2]),
            pixel_size_um=self.slide.window_pixel_size_um,
        )


class OpenSlides:
    """The slides of a project, opened once each, and decoded by one process beside this one."""

    def __init__(self) -> None:
        self._reader = ReaderProcess()
        self._views: dict[int, SlideView] = {}

    def view(self, slide: ProjectSlide) -> SlideView:
        """A slide at its windows' pixel size.

        Raises
        ------
        InputError
            It is not there, cannot be read, or is not what it was.
        """
        if slide.id not in self._views:
            opened = self._reader.open(slide.path)
            if (opened.levels[0].width, opened.levels[0].height) != (slide.width, slide.height):
                raise InputError(slide.path, "is not the slide it was when it was added")
            self._views[slide.id] = SlideView(opened, slide.factor)
        return self._views[slide.id]

    def read(self, window: SlideWindow) -> Image:
        """The pixels of a window."""
        return self.view(window.slide).read(*window.box)

    def as_new(self, window: SlideWindow, role: Role) -> NewWindow:
        """A window with its pixels, as a project takes it."""
        return NewWindow(window.slide.name, window.name, window.place, self.read(window), role)

    def close(self) -> None:
        """End the process."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def free_windows(slides: OpenSlides, slide: ProjectSlide, taken: Sequence[Window]) -> list[SlideWindow]:
    """Windows of the slide's grid with tissue that touch none of the places in `taken` (level 0), row by row."""
    view = slides.view(slide)
    mask = tissue_mask(view.slide, slide.factor, margin_px=0)
    found = []
    for box in grid(view.width, view.height, slide.window_px):
        place = place_of(box, (view.width, view.height), (slide.width, slide.height))
        window = SlideWindow(slide, box, place)
        if tissue_share(mask, view, box) >= LEAST_TISSUE and not any(_overlap(window.place, each) for each in taken):
            found.append(window)
    return found


def grid(width: int, height: int, side: int) -> list[Window]:
    """As many windows of this side as fit without overlap, in the middle; a smaller image is one window."""
    return [(x, y, w, h) for y, h in _steps(height, side) for x, w in _steps(width, side)]


def _steps(length: int, side: int) -> list[tuple[int, int]]:
    if length < side:
        return [(0, length)]
    n = length // side
    return [((length - n * side) // 2 + index * side, side) for index in range(n)]


def tissue_share(mask: Mask, view: SlideView, box: Window) -> float:
    """Share of a window of the view that a coarse mask, which covers the view evenly, calls tissue."""
    down, across = mask.shape[0] / view.height, mask.shape[1] / view.width
    x, y, width, height = box
    top, left = math.floor(y * down), math.floor(x * across)
    part = mask[
        top : max(top + 1, math.ceil((y + height) * down)), left : max(left + 1, math.ceil((x + width) * across))
    ]
    return float(part.mean()) if part.size else 0.0


def place_of(box: Window, view: tuple[int, int], slide: tuple[int, int]) -> Window:
    """Where a rectangle of the view lies in the slide's level 0, to the pixel; `view` and `slide` are width, height.

    Rectangles that touch in the view touch in the slide, and never overlap.
    """
    across, down = slide[0] / view[0], slide[1] / view[1]
    left, top = round(box[0] * across), round(box[1] * down)
    right, bottom = round((box[0] + box[2]) * across), round((box[1] + box[3]) * down)
    return left, top, right - left, bottom - top


def _overlap(one: Window, other: Window) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def thinned(windows: Sequence[SlideWindow], most: int, seed: Sequence[int]) -> list[SlideWindow]:
    """At most so many, evenly spread: one drawn from each of `most` runs of equal length."""
    if len(windows) <= most:
        return list(windows)
    edges = np.linspace(0, len(windows), most + 1).astype(int)
    draw = np.random.default_rng(seed)
    return [windows[int(draw.integers(first, last))] for first, last in itertools.pairwise(edges)]


def places_taken(images: Iterable[ProjectImage], slide: ProjectSlide) -> list[Window]:
    """Places of the windows of a slide that are images already, in pixels of level 0."""
    own = [each.slide for each in images if each.slide is not None and each.slide.id == slide.id]
    return [(each.x, each.y, each.width, each.height) for each in own]


def candidate_windows(project: Project, slides: OpenSlides, most: int, seed: int) -> list[SlideWindow]:
    """What may be suggested of the project's slides for training, at most so many windows of each."""
    images = project.images()
    found: list[SlideWindow] = []
    for slide in project.slides_for("pool"):
        taken = places_taken(images, slide)
        # with the windows that are there already, so that every suggestion sees others
        found += thinned(free_windows(slides, slide, taken), most, [seed, slide.id, len(taken)])
    return found


def validation_windows(project: Project, slides: OpenSlides, n_new: int, share: float, seed: int) -> list[SlideWindow]:
    """Windows drawn at random from the slides for validation, so that these have their share of all windows.

    Parameters
    ----------
    n_new
        Windows that are about to join those for training.
    share
        0 ≤ share < 1, of the windows of all slides.
    """
    images = project.images()
    of_slides = [each for each in images if each.slide is not None]
    n_validation = sum(each.role == "validation" for each in of_slides)
    n_training = len(of_slides) - n_validation + n_new
    missing = math.ceil(share / (1 - share) * n_training) - n_validation
    sources = project.slides_for("validation")
    if missing <= 0 or not sources:
        return []
    draw = np.random.default_rng([seed, len(of_slides)])
    free = [free_windows(slides, each, places_taken(images, each)) for each in sources]
    shuffled = [[windows[place] for place in draw.permutation(len(windows))] for windows in free]
    rounds = max(len(windows) for windows in shuffled)
    in_turn = [windows[number] for number in range(rounds) for windows in shuffled if number < len(windows)]
    return in_turn[:missing]
