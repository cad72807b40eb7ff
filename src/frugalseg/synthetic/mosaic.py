"""What a synthetic slide shows: islands of tissue on glass, made of a few pictures, so that any part is soon drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from frugalseg.arrays import Image
from frugalseg.synthetic.dataset import PIXEL_UM
from frugalseg.synthetic.glands import SMALLEST_SIDE_PX, synthetic_glands

GLASS = 243
"""Grey of bare glass."""

FIELD_PX = 1024
"""Side of a field at level 0: all glass, or one of the pictures."""

N_PICTURES = 8
LEVEL_FACTOR = 4
MAX_LEVELS = 6
"""Field and level factor are powers of 2, so that fields fill whole pixels of that many levels."""

_LAST_LEVEL_PX = 2048


@dataclass(frozen=True)
class Mosaic:
    """The slide at every level.

    Attributes
    ----------
    sizes
        (width, height) of every level; each is the one before divided by 4, rounded down.
    fields
        Shape (rows, columns): -1 glass, 0… the number of a picture.
    pictures
        By level, then by number: the square pictures of that level.
    """

    sizes: tuple[tuple[int, int], ...]
    fields: NDArray[np.int8]
    pictures: tuple[tuple[Image, ...], ...]

    def key(self, level: int, x: int, y: int, side: int) -> tuple[int, ...]:
        """Equal for tiles of a level that look the same; empty for bare glass.

        The tile's side is a power of 2 and its corner a multiple of it, as in :meth:`tile`.
        """
        numbers = self._covered(level, x, y, side)
        if (numbers < 0).all():
            return ()
        field = FIELD_PX // LEVEL_FACTOR**level
        return (level, x % field, y % field, *numbers.ravel().tolist())

    def tile(self, level: int, x: int, y: int, side: int) -> Image:
        """Pixels of a tile (side, side, 3); glass beyond the slide's last field."""
        field = FIELD_PX // LEVEL_FACTOR**level
        numbers = self._covered(level, x, y, side)
        tile = np.full((side, side, 3), GLASS, dtype=np.uint8)
        part = min(side, field)
        for row, column in zip(*np.nonzero(numbers >= 0), strict=True):
            picture = self.pictures[level][numbers[row, column]]
            piece = picture[y % field : y % field + part, x % field : x % field + part]
            tile[row * part : (row + 1) * part, column * part : (column + 1) * part] = piece
        return tile

    def _covered(self, level: int, x: int, y: int, side: int) -> NDArray[np.int8]:
        field = FIELD_PX // LEVEL_FACTOR**level
        rows, columns = (slice(at // field, (at + side - 1) // field + 1) for at in (y, x))
        numbers = self.fields[rows, columns]
        missing = (rows.stop - rows.start - numbers.shape[0], columns.stop - columns.start - numbers.shape[1])
        return np.pad(numbers, ((0, missing[0]), (0, missing[1])), constant_values=-1)


def draw_mosaic(width: int, height: int, *, seed: int, pixel_size_um: float, tissue: float) -> Mosaic:
    """A slide of this size whose tissue covers about the share `tissue` of it (0-1, in whole fields).

    Glands are as large as real ones at that pixel size. Where `tissue` is above 0, one field at least shows some.
    """
    sizes = [(width, height)]
    while max(sizes[-1]) > _LAST_LEVEL_PX and min(sizes[-1]) >= LEVEL_FACTOR and len(sizes) < MAX_LEVELS:
        sizes.append((sizes[-1][0] // LEVEL_FACTOR, sizes[-1][1] // LEVEL_FACTOR))
    fields = _islands(-(-height // FIELD_PX), -(-width // FIELD_PX), tissue, seed)
    finest = [_picture(seed, number, pixel_size_um) for number in range(int(fields.max()) + 1)]
    pictures = [finest]
    for _ in sizes[1:]:
        pictures.append([_reduced(picture) for picture in pictures[-1]])
    return Mosaic(tuple(sizes), fields, tuple(tuple(level) for level in pictures))


def _islands(rows: int, columns: int, tissue: float, seed: int) -> NDArray[np.int8]:
    """Numbers of the fields' pictures; fields with tissue lie together."""
    rng = np.random.default_rng([seed, 0])
    height = ndimage.gaussian_filter(rng.normal(size=(rows, columns)), 1.5, mode="wrap").ravel()
    n = min(rows * columns, max(round(tissue * rows * columns), 1 if tissue > 0 else 0))
    fields = np.full(rows * columns, -1, dtype=np.int8)
    # Each picture in turn, so that a small slide needs no more than it shows.
    fields[np.argsort(-height, kind="stable")[:n]] = np.arange(n) % N_PICTURES
    return fields.reshape(rows, columns)


def _picture(seed: int, number: int, pixel_size_um: float) -> Image:
    side = max(SMALLEST_SIDE_PX, round(FIELD_PX * pixel_size_um / PIXEL_UM))
    stream = np.random.SeedSequence([seed, 1, number]).generate_state(1, np.uint64)
    drawn = synthetic_glands(int(stream[0]), height=side, width=side, stain_seed=seed)
    resized = Pillow.fromarray(drawn.image).resize((FIELD_PX, FIELD_PX), Pillow.Resampling.BICUBIC)
    return np.asarray(resized)


def _reduced(picture: Image) -> Image:
    return np.asarray(Pillow.fromarray(picture).reduce(LEVEL_FACTOR))
