"""What is to be done to a slide, decided before any of it is read: grid, tiles, frame; immutable.

All lengths are pixels of the view: the slide resampled to the network's scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from typing import Any

from frugalseg.arrays import Mask

CUT_PX = 4096
"""Foreground components longer than this on a side are cut on a grid of this size, at the network's scale."""

BLOCK_PX = 1024
"""Components become objects block by block; one belongs to the block of its box's upper left corner."""

_READ_PX = 3328
"""Largest side of what the network gets at once where a large halo asks for large tiles."""


@dataclass(frozen=True, order=True)
class Rect:
    """A rectangle; right and bottom are excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    def overlap(self, other: Rect) -> Rect:
        """What both cover; may be empty."""
        return Rect(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def grown(self, by: int) -> Rect:
        """The rectangle with so many pixels more on every side."""
        return Rect(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def within(self, outer: Rect) -> tuple[slice, slice]:
        """This rectangle as slices (rows, columns) into an array that covers `outer`."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


@dataclass(frozen=True, order=True)
class Tile:
    """Place of a tile in the grid."""

    row: int
    column: int

    @property
    def name(self) -> str:
        """Of its file in the work folder."""
        return f"{self.row:05d}_{self.column:05d}"


@dataclass(frozen=True)
class SlidePlan:
    """How a slide is taken apart.

    Attributes
    ----------
    slide_width, slide_height
        Of level 0, in its own pixels.
    width, height
        Of the view.
    frame
        What is segmented: the whole view, or the region asked for. Its edge is where objects count as cut.
    stride, core_px, halo_px
        The network's stride; side of a tile's kept part and context around it, multiples of the stride.
    cut_px
        Side of the cells in which too large components are cut; a multiple of `core_px`.
    tiles
        Tiles to run, in reading order: those with tissue, within the frame.
    batches
        The same by what goes through the network at once: tiles of one size. Fixed, so that a resumed run computes
        every tile in the company that it had.
    """

    slide_width: int
    slide_height: int
    width: int
    height: int
    frame: Rect
    stride: int
    core_px: int
    halo_px: int
    cut_px: int
    tiles: tuple[Tile, ...]
    batches: tuple[tuple[Tile, ...], ...]

    @property
    def steps(self) -> tuple[float, float]:
        """Level 0 pixels for one of the view, across and down; they differ by what rounding to whole pixels does."""
        return self.slide_width / self.width, self.slide_height / self.height

    def core(self, tile: Tile) -> Rect:
        """The part of the view that a tile's result is kept for."""
        left, top = tile.column * self.core_px, tile.row * self.core_px
        return Rect(left, top, min(left + self.core_px, self.width), min(top + self.core_px, self.height))

    def reading(self, tile: Tile) -> Rect:
        """What the network is given for a tile; reaches beyond the view where that is no multiple of the stride."""
        left, top = tile.column * self.core_px, tile.row * self.core_px
        right = self.width + -self.width % self.stride
        bottom = self.height + -self.height % self.stride
        return Rect(
            max(left - self.halo_px, 0),
            max(top - self.halo_px, 0),
            min(left + self.core_px + self.halo_px, right),
            min(top + self.core_px + self.halo_px, bottom),
        )

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "frame": astuple(self.frame),
            "tiles": [astuple(tile) for tile in self.tiles],
            "batches": [[astuple(tile) for tile in batch] for batch in self.batches],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> SlidePlan:
        """What :meth:`to_document` gave."""
        return cls(
            **{
                **document,
                "frame": Rect(*document["frame"]),
                "tiles": tuple(Tile(*each) for each in document["tiles"]),
                "batches": tuple(tuple(Tile(*each) for each in batch) for batch in document["batches"]),
            }
        )

    def tiles_of(self, window: Rect) -> Iterator[Tile]:
        """Places of the grid that a window touches, whether or not their tiles are run."""
        inside = window.overlap(Rect(0, 0, self.width, self.height))
        if inside.empty:
            return
        for row in range(inside.top // self.core_px, (inside.bottom - 1) // self.core_px + 1):
            for column in range(inside.left // self.core_px, (inside.right - 1) // self.core_px + 1):
                yield Tile(row, column)


def make_plan(
    *,
    slide_width: int,
    slide_height: int,
    width: int,
    height: int,
    stride: int,
    halo_px: int,
    tissue: Mask | None = None,
    frame: Rect | None = None,
    core_px: int | None = None,
    cut_px: int = CUT_PX,
    batch: int = 1,
) -> SlidePlan:
    """The plan of a view of this size.

    Parameters
    ----------
    slide_width, slide_height, width, height
        Of level 0 and of the view.
    stride, halo_px
        Of the network.
    tissue
        Coarse mask that covers the view evenly; tiles without any of it are left out. None runs every tile.
    frame
        Part of the view that is asked for; all by default.
    core_px
        Side of a tile; by default as :func:`core_for` says. Rounded up to the stride.
    batch
        Tiles that go through the network at once, at most.
    """
    core = core_for(halo_px, stride) if core_px is None else core_px + -core_px % stride
    halo = halo_px + -halo_px % stride
    whole = Rect(0, 0, width, height)
    inside = whole if frame is None else frame.overlap(whole)
    cut = core * max(1, cut_px // core)
    sizes = (slide_width, slide_height, width, height)
    grid = SlidePlan(*sizes, inside, stride, core, halo, cut, (), ())
    tiles = tuple(tile for tile in grid.tiles_of(inside) if tissue is None or _has_tissue(grid, tile, tissue))
    batches = tuple(_batches(grid, tiles, batch))
    return SlidePlan(*sizes, inside, stride, core, halo, cut, tiles, batches)


def core_for(halo_px: int, stride: int) -> int:
    """Side of tiles that divides the cutting grid: 1024, or 2048 where the halo would be most of the work.

    A halo of 576 around a core of 1024 makes the network do 4.5 times the work of the core, around 2048 2.4 times.
    """
    side = 2 * BLOCK_PX if halo_px > BLOCK_PX // 4 and 2 * (BLOCK_PX + halo_px) <= _READ_PX else BLOCK_PX
    return max(stride, side - side % stride)


def _has_tissue(plan: SlidePlan, tile: Tile, tissue: Mask) -> bool:
    core = plan.core(tile).overlap(plan.frame)
    down, across = tissue.shape[0] / plan.height, tissue.shape[1] / plan.width
    rows = slice(math.floor(core.top * down), max(math.ceil(core.bottom * down), 1))
    columns = slice(math.floor(core.left * across), max(math.ceil(core.right * across), 1))
    return bool(tissue[rows, columns].any())


def _batches(plan: SlidePlan, tiles: tuple[Tile, ...], size: int) -> Iterator[tuple[Tile, ...]]:
    """Tiles of one row and one size, `size` at a time."""
    together: list[Tile] = []
    for tile in tiles:
        if together and not (len(together) < size and _alike(plan, together[0], tile)):
            yield tuple(together)
            together = []
        together.append(tile)
    if together:
        yield tuple(together)


def _alike(plan: SlidePlan, one: Tile, other: Tile) -> bool:
    first, second = plan.reading(one), plan.reading(other)
    return one.row == other.row and (first.width, first.height) == (second.width, second.height)
