"""What a project hands out and takes in: frozen copies of rows, free of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from frugalseg.arrays import Image

Window = tuple[int, int, int, int]
"""Part of an image: x, y, width, height in pixels."""

Role = Literal["pool", "validation"]


@dataclass(frozen=True)
class Annotation:
    """One version of an image's mask.

    Attributes
    ----------
    image, version
        Name of the image; versions ascend from 1, the highest counts.
    mask
        The file, of the size of the whole image; 65535 means not annotated. :meth:`Project.labels` reads it.
    window
        The part that was worked on, of what lies outside nothing is known; None is the whole image.
    complete
        Whether every object in the window is drawn.
    source
        Where it came from (``import``, …).
    n_objects, contour_px
        Objects drawn, and the length of their outlines in pixels: what the annotation cost.
    object_classes
        Index into the project's classes for each object; empty where the project has one class.
    created_at
        In UTC.
    """

    image: str
    version: int
    mask: Path
    sha256: str
    window: Window | None
    complete: bool
    source: str
    n_objects: int
    contour_px: float
    object_classes: Mapping[int, int]
    created_at: datetime


@dataclass(frozen=True)
class ProjectSlide:
    """A whole slide of the project, of which windows are suggested.

    Attributes
    ----------
    width, height, pixel_size_um
        Of level 0.
    factor
        Level 0 pixels for one pixel of a window, along a side.
    window_px
        Side of a window, in its own pixels.
    tile_levels
        Levels in which the slide is shown, each half as fine as the one before.
    role
        Where its windows go; None until validation images have been drawn.
    group
        The patient, where known.
    root
        Name of the folder in which it lies; None for one in the project's own.
    """

    id: int
    name: str
    path: Path
    sha256: str
    height: int
    width: int
    pixel_size_um: float | None
    factor: float
    window_px: int
    tile_levels: int
    group: str | None
    role: Role | None
    unusable_reason: str | None
    root: str | None
    added_at: datetime

    @property
    def usable(self) -> bool:
        """Whether nobody has said that it is unusable."""
        return self.unusable_reason is None

    @property
    def window_pixel_size_um(self) -> float | None:
        """Of a pixel of a window."""
        return None if self.pixel_size_um is None else self.pixel_size_um * self.factor


@dataclass(frozen=True)
class SlidePlace:
    """Where in a slide an image lies.

    Attributes
    ----------
    id, name
        Of the slide.
    x, y, width, height
        The image's place, in pixels of the slide's level 0.
    slide_width, slide_height, tile_levels
        Of the slide; see :class:`ProjectSlide`.
    """

    id: int
    name: str
    x: int
    y: int
    width: int
    height: int
    slide_width: int
    slide_height: int
    tile_levels: int


@dataclass(frozen=True, eq=False)
class NewWindow:
    """A part of a slide that is to become an image.

    Attributes
    ----------
    slide
        Name of the slide.
    name
        Of the image.
    place
        In pixels of the slide's level 0.
    pixels
        RGB, shape (H, W, 3), at the slide's `factor`.
    role
        What the image is for.
    """

    slide: str
    name: str
    place: Window
    pixels: Image
    role: Role


@dataclass(frozen=True)
class ProjectImage:
    """An image of the project; `id` names it where a name would not do.

    `role` is None until validation images have been drawn; `group` is the patient, where known; `root` names the folder
    in which a large image stays; `slide` says where in a slide a window lies. `annotation` is the current one, None
    where there is none.
    """

    id: int
    name: str
    path: Path
    sha256: str
    height: int
    width: int
    pixel_size_um: float | None
    group: str | None
    role: Role | None
    unusable_reason: str | None
    root: str | None
    added_at: datetime
    annotation: Annotation | None = None
    slide: SlidePlace | None = None

    @property
    def usable(self) -> bool:
        """Whether nobody has said that it is unusable."""
        return self.unusable_reason is None

    @property
    def annotated(self) -> bool:
        """Whether its current annotation is complete."""
        return self.annotation is not None and self.annotation.complete

    @property
    def may_be_suggested(self) -> bool:
        """Whether a suggestion may take it: usable, not annotated, and not drawn for validation, as far as is known."""
        return self.usable and not self.annotated and self.role in (None, "pool")


@dataclass(frozen=True)
class Added:
    """What adding images did: names added, names of files whose content was there already, groups learnt late."""

    added: tuple[str, ...]
    duplicates: tuple[str, ...]
    regrouped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """What an import of masks did, by image name; `others` have no image in the project, `notes` are warnings."""

    imported: tuple[str, ...]
    unchanged: tuple[str, ...]
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What has been annotated: images, objects, and the length of the objects' outlines in pixels."""

    images: int
    objects: int
    contour_px: float


@dataclass(frozen=True)
class Member:
    """One network of a round; `folder` is relative to the project's."""

    round: int
    index: int
    folder: str
    seed: int


@dataclass(frozen=True)
class Round:
    """A training of an ensemble; `labelled` gives for each image's name the version of the mask it was trained on."""

    number: int
    status: Literal["training", "trained", "abandoned"]
    settings: Mapping[str, Any]
    labelled: Mapping[str, int]
    metrics: Mapping[str, Any]
    created_at: datetime
    finished_at: datetime | None
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Reason:
    """An image to be suggested, and why; the rank is its place in the list. What is not known stays None."""

    image: str
    window: Window | None = None
    uncertainty: float | None = None
    uncertainty_rank: int | None = None
    represents: float | None = None
    similarity: float | None = None
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suggested:
    """A suggestion as it was stored; `round` is None if no trained ensemble was asked, `rank` starts at 1."""

    ask: int
    rank: int
    round: int | None
    reason: Reason
    strategy: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None

    @property
    def image(self) -> str:
        """Name of the image."""
        return self.reason.image
