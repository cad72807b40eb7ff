"""Which images are validated on: drawn once, whole patients, and never moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from sqlalchemy import select

from frugalseg.errors import InputError
from frugalseg.project.records import ProjectImage
from frugalseg.project.schema import ImageRow, SlideRow
from frugalseg.project.store import Store

Drawn = ImageRow | SlideRow

SHARE = 0.2
"""Of the images, set aside for validation where nobody says another."""


def draw(store: Store, share: float, seed: int, only: Collection[str] | None = None) -> tuple[str, ...]:
    """Give every usable image and slide without a role one; returns the names that became validation images.

    Slides are drawn among slides, images among images; with `only`, images of these names alone are drawn.
    """
    if not 0 <= share < 1:
        raise InputError("validation share", f"must lie in 0 ≤ share < 1, not {share}")
    if seed < 0:
        raise InputError("seed", f"must not be negative, is {seed}")
    with store.write() as session:
        # windows of slides got their slide's role when they were cut
        images = session.scalars(select(ImageRow).where(ImageRow.slide_id.is_(None)).order_by(ImageRow.name)).all()
        slides = session.scalars(select(SlideRow).order_by(SlideRow.name)).all()
        both: tuple[Drawn, ...] = (*images, *slides)
        if only is not None:
            images, slides = [row for row in images if row.role is not None or row.name in only], []
        aside: list[str] = []
        for rows in (images, slides):  # each for itself: else a single slide could be lost to validation
            roles = {row.group: row.role for row in both if row.role is not None and row.group is not None}
            aside += _draw_among(rows, roles, share, seed)
    return tuple(sorted(aside))


def admit(store: Store, images: Sequence[ProjectImage]) -> None:
    """Give completely annotated images that have no role one.

    Where validation images have been drawn already they are for training, but for those of a group that is set aside;
    else a share of them is drawn.
    """
    names = {each.name for each in images if each.usable and each.role is None and each.annotated}
    if names:
        draw(store, 0.0 if any(each.role is not None for each in images) else SHARE, 0, only=names)


def _draw_among(rows: Sequence[Drawn], settled: Mapping[str, str], share: float, seed: int) -> Iterator[str]:
    """Give rows of one kind their roles; groups that are `settled` have theirs already."""
    drawn = [row for row in rows if row.role is not None]
    new = [row for row in rows if row.role is None and row.unusable_reason is None]
    for row in new:
        row.role = settled.get(row.group) if row.group is not None else None
    yield from (row.name for row in new if row.role == "validation")
    usable = [row for row in rows if row.role is not None and row.unusable_reason is None]
    open_rows = [row for row in new if row.role is None]
    validated = sum(row.role == "validation" for row in usable)
    units = _units(open_rows)
    chosen = _choose(
        [len(unit) for unit in units],
        wanted=share * (len(usable) + len(open_rows)) - validated,
        generator=np.random.default_rng([seed, len(drawn)]),
        leave_one=not any(row.role == "pool" for row in usable),
        take_one=share > 0 and validated == 0,
    )
    for index, unit in enumerate(units):
        for row in unit:
            row.role = "validation" if index in chosen else "pool"
            if index in chosen:
                yield row.name


def _units(rows: Sequence[Drawn]) -> list[list[Drawn]]:
    """Images that stay together, in order of their first names."""
    units: dict[tuple[str, str], list[Drawn]] = defaultdict(list)
    for row in rows:
        units[("image", row.name) if row.group is None else ("group", row.group)].append(row)
    return list(units.values())


def _choose(
    sizes: Sequence[int], *, wanted: float, generator: np.random.Generator, leave_one: bool, take_one: bool
) -> set[int]:
    """Places of units, drawn at random, that together come as near to `wanted` images as their sizes allow."""
    chosen: set[int] = set()
    taken = 0
    for index in generator.permutation(len(sizes)).tolist():
        nearer = abs(taken + sizes[index] - wanted) < abs(taken - wanted)
        if nearer and not (leave_one and len(chosen) + 1 == len(sizes)):
            chosen.add(index)
            taken += sizes[index]
    if take_one and not chosen and len(sizes) > 1:
        chosen.add(int(np.argmin(sizes)))
    return chosen
