"""What a slide is: a pyramid of images of which rectangles are read, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from frugalseg.arrays import Image


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Attributes
    ----------
    width, height
        Pixels.
    downsample
        Level 0 pixels for one of this level's, along a side; 1.0 for level 0.
    """

    width: int
    height: int
    downsample: float


class Slide(Protocol):
    """An image too large to decode whole; a context manager that closes it.

    Attributes
    ----------
    path
        The file or folder, for messages.
    levels
        Finest first, at least one.
    pixel_size_um
        Of level 0; None where the file says nothing that a microscope could mean.
    """

    @property
    def path(self) -> Path: ...

    @property
    def levels(self) -> tuple[Level, ...]: ...

    @property
    def pixel_size_um(self) -> float | None: ...

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Image:
        """RGB pixels (height, width, 3) of a rectangle, in the level's own pixels; white outside the image.

        Raises
        ------
        InputError
            The rectangle is too large to read at once, or the pixels cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Let go of the file; nothing can be read afterwards. May be called again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
