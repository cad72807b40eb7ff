"""All that the outputs are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from frugalseg.slides import Slide
from frugalseg.streaming.label_tiles import ObjectIndex
from frugalseg.streaming.objects import Objects
from frugalseg.streaming.plan import SlidePlan
from frugalseg.streaming.store import ArrayStore


@dataclass(frozen=True)
class Findings:
    """Objects of a slide and where they lie.

    Attributes
    ----------
    name
        Of the slide, without suffix.
    path
        Of the file to write; the folder for all of them before one is chosen.
    slide, plan
        The slide, open; how it was taken apart.
    pixel_size_um
        Of level 0, where it is known.
    class_names
        Of the objects.
    index, objects, labels, tiles
        The objects' order; the stores of objects, of label tiles, of what the network gave.
    """

    name: str
    path: Path
    slide: Slide
    plan: SlidePlan
    pixel_size_um: float | None
    class_names: tuple[str, ...]
    index: ObjectIndex
    objects: ArrayStore
    labels: ArrayStore
    tiles: ArrayStore

    @property
    def view_pixel_um(self) -> tuple[float, float] | None:
        """Size of the view's pixels, across and down."""
        if self.pixel_size_um is None:
            return None
        across, down = self.plan.steps
        return across * self.pixel_size_um, down * self.pixel_size_um

    def parts(self) -> Iterator[tuple[int, Objects]]:
        """Blocks of objects, each with the label of its first; in order of labels."""
        label = 1
        for name in self.index.names:
            arrays = self.objects.get(name)
            assert arrays is not None  # the index was made from it
            part = Objects.from_arrays(arrays)
            yield label, part
            label += len(part)
