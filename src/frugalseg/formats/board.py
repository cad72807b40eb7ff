"""Where the objects of a file are drawn, one after another, until they are a label map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import UNKNOWN, LabelMap, Mask
from frugalseg.formats.annotated import Annotated, Canvas, Window, outside_unknown
from frugalseg.formats.raster import Polygon, Spans, crossing_polygons, fill

_CROSSING = "an outline that crosses itself; what it encloses an odd number of times counts"

MAX_LABEL = np.iinfo(np.int32).max


class Board:
    """Objects drawn on one image; where they overlap, the later one stays on top.

    Areas that nobody annotated (:meth:`ignore`) lie below all objects; where there are regions (:meth:`region`), all
    that is outside them is not annotated.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self._pixels = np.zeros((canvas.height, canvas.width), dtype=np.int32)
        self._ignored = np.zeros((0, 0), dtype=bool)
        self._regions = np.zeros((0, 0), dtype=bool)
        self._wanted: list[int | None] = []
        self._classes: list[str | None] = []
        self._areas: list[int] = []
        self._counts = dict.fromkeys(("clipped", "crossing"), 0)

    def draw(self, polygons: Sequence[Polygon], class_name: str | None, label: int | None) -> None:
        """Draw an object of one polygon or several; `label` is the number it would like to have."""
        with_faults = crossing_polygons(polygons)
        spans = [self._spans(polygon) for polygon in polygons]
        self._begin(class_name, label)
        self._areas.append(sum(fill(self._pixels, each, len(self._wanted)) for each in spans))
        self._counts["crossing"] += with_faults > 0
        self._counts["clipped"] += any(p.reaches_beyond(self.canvas.height, self.canvas.width) for p in polygons)

    def draw_columns(self, spans: Spans, class_name: str | None, label: int | None) -> None:
        """Draw an object given as runs down its columns: columns, first rows, rows behind the last."""
        self._begin(class_name, label)
        self._areas.append(fill(self._pixels.T, spans, len(self._wanted)))

    def ignore(self, polygons: Sequence[Polygon]) -> None:
        """Note an area that nobody annotated."""
        for polygon in polygons:
            fill(self._ignored_pixels(), self._spans(polygon), 1)

    def ignore_columns(self, spans: Spans) -> None:
        """As :meth:`ignore`, given as runs down columns."""
        fill(self._ignored_pixels().T, spans, 1)

    def region(self, polygons: Sequence[Polygon]) -> None:
        """Note an area that was annotated, outside of which nothing is known."""
        if not self._regions.size:
            self._regions = np.zeros(self._pixels.shape, dtype=bool)
        for polygon in polygons:
            fill(self._regions, self._spans(polygon), 1)

    def finish(self, *, complete: bool | None = None, notes: Sequence[str] = ()) -> Annotated:
        """What has been drawn, with warnings about what was lost. The board is used up."""
        window = self._window()
        if self._regions.size and window is None and not self._regions.all():
            self._pixels[~self._regions] = UNKNOWN
        if self._ignored.size:
            self._pixels[self._ignored & (self._pixels == 0)] = UNKNOWN
        drawn = outside_unknown(self._pixels, window)
        n = len(self._wanted)
        left = np.zeros(n + 1, dtype=np.int64)
        for band in _bands(drawn):
            left += np.bincount(band[band > 0], minlength=n + 1)
        numbers = self._numbers(left)
        for band in _bands(drawn):
            np.copyto(band, numbers[band], where=band > 0)
        classes = {int(numbers[i]): self._classes[i - 1] for i in range(1, n + 1) if left[i]}
        told = (*notes, *self._notes(left))
        return Annotated(self.canvas, drawn, classes, window, complete, tuple(f"{self.canvas.name}: {t}" for t in told))

    def _begin(self, class_name: str | None, label: int | None) -> None:
        self._wanted.append(label)
        self._classes.append(class_name)

    def _spans(self, polygon: Polygon) -> Spans:
        return polygon.spans(self.canvas.height, self.canvas.width)

    def _ignored_pixels(self) -> Mask:
        if not self._ignored.size:
            self._ignored = np.zeros(self._pixels.shape, dtype=bool)
        return self._ignored

    def _window(self) -> Window | None:
        """The annotated region as a window, if it is one rectangle and not the whole image."""
        if not self._regions.size:
            return None
        rows, columns = np.flatnonzero(self._regions.any(axis=1)), np.flatnonzero(self._regions.any(axis=0))
        if not len(rows):
            return None
        x, y, w, h = int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
        whole = (h, w) == self._regions.shape
        return None if whole or not self._regions[y : y + h, x : x + w].all() else (x, y, w, h)

    def _numbers(self, left: NDArray[np.int64]) -> NDArray[np.int32]:
        """Label of each object: the one it would like to have, where no earlier one has it, else the lowest free."""
        numbers = np.zeros(len(left), dtype=np.int32)
        taken: set[int] = set()
        for index, wanted in enumerate(self._wanted, 1):
            if wanted is not None and 0 < wanted <= MAX_LABEL and wanted not in taken and left[index]:
                taken.add(wanted)
                numbers[index] = wanted
        free = 0
        for index in range(1, len(left)):
            if left[index] and not numbers[index]:
                free += 1
                while free in taken:
                    free += 1
                numbers[index] = free
        return numbers

    def _notes(self, left: NDArray[np.int64]) -> list[str]:
        areas = np.array([0, *self._areas])
        told = (
            (self._counts["clipped"], "reach", "reaches", "beyond the image and {} cut off there"),
            (self._counts["crossing"], "have", "has", _CROSSING),
            (np.count_nonzero(areas[1:] == 0), "cover", "covers", "no pixel's centre in the image and {} left out"),
            (
                np.count_nonzero((left > 0) & (left < areas)),
                "are",
                "is",
                "covered by later ones, or cut by the window, in part",
            ),
            (
                np.count_nonzero((left == 0) & (areas > 0)),
                "are",
                "is",
                "covered by later ones, or outside the window, and {} left out",
            ),
        )
        return [
            f"{count} objects {many} {rest.format('are')}" if count > 1 else f"1 object {one} {rest.format('is')}"
            for count, many, one, rest in told
            if count
        ]


def _bands(pixels: LabelMap) -> Iterator[LabelMap]:
    """Views of a few rows each: what is computed of the whole image at once would take its memory several times."""
    height = max(1, 2**20 // max(1, pixels.shape[1]))
    return (pixels[start : start + height] for start in range(0, len(pixels), height))
