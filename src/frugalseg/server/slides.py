"""Tiles of whole slides for the eye: read by a process beside the server, kept for a while."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict

from PIL import Image as Pillow

from frugalseg.errors import InputError
from frugalseg.project import ProjectSlide
from frugalseg.server.pictures import TILE_PX, encode
from frugalseg.slides import ReaderProcess, Slide, SlideView

KEPT_BYTES = 64 * 2**20
"""Tiles are kept up to so many bytes together."""

KEPT_OPEN = 4
"""Slides that are open at once, at most."""


def has_tile(slide: ProjectSlide, level: int, column: int, row: int) -> bool:
    """Whether there is such a tile; each level is half as fine as the one before."""
    side = TILE_PX << min(level, 40)
    return level < slide.tile_levels and column * side < slide.width and row * side < slide.height


class SlideTiles:
    """Tiles of slides, shared by all requests."""

    def __init__(self) -> None:
        self._reader = ReaderProcess()
        self._open: OrderedDict[str, Slide] = OrderedDict()
        self._kept: OrderedDict[tuple[str, int, int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def tile(self, slide: ProjectSlide, level: int, column: int, row: int) -> bytes:
        """A tile as JPEG; the caller has made sure that it exists.

        Raises
        ------
        InputError
            The slide is not there, cannot be read, or is not what it was.
        """
        key = (slide.sha256, level, column, row)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        with self._reading:  # the process reads one after the other anyway, and a slide is not closed meanwhile
            view = SlideView(self._opened(slide), float(1 << level))
            left, top = column * TILE_PX, row * TILE_PX
            width, height = (-(-side // (1 << level)) for side in (slide.width, slide.height))
            pixels = view.read(left, top, min(TILE_PX, width - left), min(TILE_PX, height - top))
        content = encode(Pillow.fromarray(pixels))
        with self._lock:
            self._kept[key] = content
            while sum(map(len, self._kept.values())) > KEPT_BYTES:
                self._kept.popitem(last=False)
        return content

    def _opened(self, slide: ProjectSlide) -> Slide:
        opened = self._open.get(slide.sha256)
        if opened is None:
            opened = self._reader.open(slide.path)
            if (opened.levels[0].width, opened.levels[0].height) != (slide.width, slide.height):
                raise InputError(slide.name, "is not the slide it was when it was added")
            self._open[slide.sha256] = opened
        self._open.move_to_end(slide.sha256)
        while len(self._open) > KEPT_OPEN:
            _, oldest = self._open.popitem(last=False)
            with contextlib.suppress(InputError):
                oldest.close()
        return opened

    def close(self) -> None:
        """End the process."""
        self._reader.close()
