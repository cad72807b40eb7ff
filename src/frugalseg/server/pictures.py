"""Images for the eye: tiles of a pyramid, thumbnails, outlines; decoded images are kept for a while."""

from __future__ import annotations

import contextlib
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from frugalseg.arrays import Image, LabelMap
from frugalseg.errors import FrugalsegError
from frugalseg.images import read_image
from frugalseg.project import ProjectImage

TILE_PX = 512
THUMBNAIL_PX = 320
OVERLAY_PX = 900
KEPT_BYTES = 800 * 2**20
"""Decoded images are kept up to so many bytes together, and always the last one."""

ORANGE, BLUE = (230, 159, 0), (0, 114, 178)
"""What the networks found, and what was drawn (Okabe and Ito's colours)."""


def n_levels(width: int, height: int) -> int:
    """Levels of the pyramid: each half as large as the one before, until one fits in a tile."""
    levels = 1
    while max(width, height) > TILE_PX:
        width, height = (width + 1) // 2, (height + 1) // 2
        levels += 1
    return levels


@dataclass
class _Pyramid:
    levels: list[Pillow.Image]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def level(self, number: int) -> Pillow.Image:
        with self.lock:
            while len(self.levels) <= number:
                self.levels.append(self.levels[-1].reduce(2))
            return self.levels[number]

    @property
    def n_bytes(self) -> int:
        width, height = self.levels[0].size
        return 4 * width * height  # three channels, and a third more for the smaller levels


class Pictures:
    """Decoded images, shared by all requests."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Pyramid] = OrderedDict()
        self._lock = threading.Lock()
        self._decoding: dict[str, threading.Lock] = {}

    def prepare(self, image: ProjectImage) -> None:
        """Decode an image in the background, since its tiles will be asked for next."""
        with self._lock:
            if image.sha256 in self._kept:
                return
        threading.Thread(target=self._quietly, args=(image,), daemon=True).start()

    def _quietly(self, image: ProjectImage) -> None:
        with contextlib.suppress(FrugalsegError, OSError):  # who asks for a tile is told
            pyramid = self._pyramid(image)
            pyramid.level(n_levels(image.width, image.height) - 1)

    def tile(self, image: ProjectImage, level: int, column: int, row: int) -> bytes:
        """A tile as JPEG; the caller has made sure that it exists."""
        picture = self._pyramid(image).level(level)
        left, top = column * TILE_PX, row * TILE_PX
        return encode(picture.crop((left, top, min(left + TILE_PX, picture.width), min(top + TILE_PX, picture.height))))

    def thumbnail(self, image: ProjectImage) -> bytes:
        """The whole image, small, as JPEG."""
        return encode(_at_most(self._pyramid(image), THUMBNAIL_PX))

    def outlined(self, image: ProjectImage, layers: Sequence[tuple[LabelMap, tuple[int, int, int]]]) -> bytes:
        """The whole image with the outlines of label maps of its size, each in its colour, as JPEG."""
        pixels = np.array(_at_most(self._pyramid(image), OVERLAY_PX))
        height, width = pixels.shape[:2]
        for labels, colour in layers:
            pixels[_edges(_nearest(labels, height, width))] = colour
        return encode(Pillow.fromarray(pixels))

    def _pyramid(self, image: ProjectImage) -> _Pyramid:
        with self._lock:
            turn = self._decoding.setdefault(image.sha256, threading.Lock())
        with turn:  # tiles are asked for together; the image is decoded once
            with self._lock:
                kept = self._kept.get(image.sha256)
                if kept is not None:
                    self._kept.move_to_end(image.sha256)
                    return kept
            pyramid = _Pyramid([Pillow.fromarray(_decode(image))])
            with self._lock:
                self._kept[image.sha256] = pyramid
                while len(self._kept) > 1 and sum(each.n_bytes for each in self._kept.values()) > KEPT_BYTES:
                    self._kept.popitem(last=False)
                return pyramid


def encode(picture: Pillow.Image) -> bytes:
    """A picture as JPEG, without loss of colour resolution."""
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=90, subsampling=0)
    return stream.getvalue()


def stretched(path: Path) -> bytes:
    """A grey picture as PNG, each value replaced by its square root (255 stays): small differences are seen, too."""
    with Pillow.open(path) as picture:
        grey = picture.convert("L").point([round(255 * (value / 255) ** 0.5) for value in range(256)])
    stream = io.BytesIO()
    grey.save(stream, format="PNG")
    return stream.getvalue()


def _decode(image: ProjectImage) -> Image:
    return read_image(image.path)


def _at_most(pyramid: _Pyramid, side_px: int) -> Pillow.Image:
    level = 0
    width, height = pyramid.levels[0].size
    while max(width, height) > 2 * side_px:
        width, height, level = (width + 1) // 2, (height + 1) // 2, level + 1
    picture = pyramid.level(level).copy()
    picture.thumbnail((side_px, side_px))
    return picture


def _nearest(labels: LabelMap, height: int, width: int) -> LabelMap:
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    return np.asarray(labels[rows[:, None], columns[None, :]])


def _edges(labels: LabelMap) -> NDArray[np.bool_]:
    """Pixels beside another label, on both sides of the border."""
    padded = np.pad(labels, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.asarray(np.logical_or.reduce([each != labels for each in neighbours]))
