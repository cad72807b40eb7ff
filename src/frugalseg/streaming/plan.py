"""What is to be done to a slide, decided before any of it is read: grid, tiles, frame; immutable.

All lengths are pixels of the view: the slide resampled to the network's scale.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from frugalseg.arrays import Mask

CUT_PX = 4096
"""Foreground components longer than this on a side are cut on a grid of whole tiles, at the network's scale."""

BLOCK_PX = 1024
"""Components become objects block by block; one belongs to the block of its box's upper left corner."""

CROP_PX = 512
"""Tiles with little tissue are cropped around it, to multiples of this: few sizes, for an engine compiles each anew."""

ENOUGH_PX: Mapping[str, int] = {"lite": 320}
"""Halos that are enough, by network, where the whole field of view (576 px of `lite`) costs much and gives nothing.

On GlaS images with `lite`, 320 px against 576 changes probabilities by at most .0022, and 3 of a million pixels'
foreground; 256 px already .047 and 115 of a million.
"""

_READ_PX = 2368
"""Side of what the network gets at once where a large halo asks for large tiles: `lite` takes 140 bytes a pixel."""


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
    longest_px, cut_px
        Components longer than the first on a side are cut; side of the cells in which, a multiple of `core_px`.
    tiles, kept
        Tiles to run, in reading order: those with tissue, within the frame; and of each the part around its tissue,
        which is what is run and kept.
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
    longest_px: int
    cut_px: int
    tiles: tuple[Tile, ...]
    kept: tuple[Rect, ...]
    batches: tuple[tuple[Tile, ...], ...]

    @property
    def steps(self) -> tuple[float, float]:
        """Level 0 pixels for one of the view, across and down; they differ by what rounding to whole pixels does."""
        return self.slide_width / self.width, self.slide_height / self.height

    def core(self, tile: Tile) -> Rect:
        """The part of the view that belongs to a tile."""
        left, top = tile.column * self.core_px, tile.row * self.core_px
        return Rect(left, top, min(left + self.core_px, self.width), min(top + self.core_px, self.height))

    def reading(self, tile: Tile) -> Rect:
        """What the network is given for a tile; reaches beyond the view where that is no multiple of the stride."""
        kept = self._kept_of[tile]
        right = self.width + -self.width % self.stride
        bottom = self.height + -self.height % self.stride
        return Rect(
            max(kept.left - self.halo_px, 0),
            max(kept.top - self.halo_px, 0),
            min(kept.right + -kept.right % self.stride + self.halo_px, right),
            min(kept.bottom + -kept.bottom % self.stride + self.halo_px, bottom),
        )

    def runs(self, tile: Tile) -> bool:
        """Whether a tile is run; the others hold nothing but glass."""
        return tile in self._kept_of

    def kept_of(self, tile: Tile) -> Rect:
        """The part of a tile that is run and kept."""
        return self._kept_of[tile]

    @functools.cached_property
    def _kept_of(self) -> dict[Tile, Rect]:
        return dict(zip(self.tiles, self.kept, strict=True))

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "frame": astuple(self.frame),
            "tiles": [astuple(tile) for tile in self.tiles],
            "kept": [astuple(rect) for rect in self.kept],
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
                "kept": tuple(Rect(*each) for each in document["kept"]),
                "batches": tuple(tuple(Tile(*each) for each in batch) for batch in document["batches"]),
            }
        )

    def tiles_of(self, window: Rect) -> Iterator[Tile]:
        """Places of the grid that a window touches, whether or not their tiles :meth:`are run <runs>`."""
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
    cut_px
        Longest side of a component that is not cut; the grid has the largest cells of whole tiles within it.
    batch
        Tiles that go through the network at once, at most.
    """
    core = core_for(halo_px, stride) if core_px is None else core_px + -core_px % stride
    halo = halo_px + -halo_px % stride
    whole = Rect(0, 0, width, height)
    inside = whole if frame is None else frame.overlap(whole)
    cut = core * max(1, cut_px // core)
    sizes = (slide_width, slide_height, width, height)
    grid = SlidePlan(*sizes, inside, stride, core, halo, cut_px, cut, (), (), ())
    cropped = {tile: _cropped(grid, tile, tissue) for tile in grid.tiles_of(inside)}
    tiles = tuple(tile for tile, kept in cropped.items() if not kept.empty)
    plan = replace(grid, tiles=tiles, kept=tuple(cropped[tile] for tile in tiles))
    return replace(plan, batches=tuple(_batches(plan, tiles, batch)))


def halo_for(halo_px: int, net: str) -> int:
    """The halo that a network gets: its own, or what is enough of it."""
    return min(halo_px, ENOUGH_PX.get(net, halo_px))


def core_for(halo_px: int, stride: int) -> int:
    """Side of tiles: 1024, or more where the halo would be most of the work, as much as `_READ_PX` allows.

    A halo of 320 around a core of 1024 makes the network do 2.6 times the work of the core, around 1728 1.9 times.
    """
    halo = halo_px + -halo_px % stride
    side = max(BLOCK_PX, _READ_PX - 2 * halo) if halo_px > BLOCK_PX // 4 else BLOCK_PX
    return max(stride, side - side % stride)


def _cropped(plan: SlidePlan, tile: Tile, tissue: Mask | None) -> Rect:
    """The part of a tile around its tissue within the frame, in steps of `CROP_PX`; empty where there is none."""
    core = plan.core(tile)
    wanted = core.overlap(plan.frame)
    if tissue is not None:
        down, across = tissue.shape[0] / plan.height, tissue.shape[1] / plan.width
        first_row, first_column = math.floor(wanted.top * down), math.floor(wanted.left * across)
        rows = slice(first_row, max(math.ceil(wanted.bottom * down), 1))
        columns = slice(first_column, max(math.ceil(wanted.right * across), 1))
        ys, xs = tissue[rows, columns].nonzero()
        if not len(ys):
            return Rect(0, 0, 0, 0)
        seen = Rect(
            math.floor((first_column + int(xs.min())) / across),
            math.floor((first_row + int(ys.min())) / down),
            math.ceil((first_column + int(xs.max()) + 1) / across),
            math.ceil((first_row + int(ys.max()) + 1) / down),
        )
        wanted = seen.overlap(wanted)
    step = plan.stride * max(1, CROP_PX // plan.stride)
    stepped = Rect(
        wanted.left - (wanted.left - core.left) % step,
        wanted.top - (wanted.top - core.top) % step,
        wanted.right + -(wanted.right - core.left) % step,
        wanted.bottom + -(wanted.bottom - core.top) % step,
    )
    return stepped.overlap(core)


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
