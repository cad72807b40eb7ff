"""What a report consists of. All texts are plain: markup in them is shown, not obeyed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextSection:
    """Paragraphs."""

    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class NumbersSection:
    """A few figures in large type: (what, value, remark) each; the remark may be empty."""

    title: str
    numbers: tuple[tuple[str, str, str], ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture with a text that stands for it where it cannot be seen."""

    picture: bytes
    """PNG or JPEG."""
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class FigureSection:
    """Pictures: one takes the width of the page, several stand side by side where there is room."""

    title: str
    figures: tuple[Figure, ...]
    caption: str = ""


@dataclass(frozen=True)
class TableSection:
    """A table; numbers (int, float) are aligned to the right, None is a dash."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    caption: str = ""
    decimals: tuple[int, ...] = ()
    """Of the floats of each column; three where not given."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: a row of {len(row)} cells under {len(self.columns)} columns")


Section = TextSection | NumbersSection | FigureSection | TableSection
