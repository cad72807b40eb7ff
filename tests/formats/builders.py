"""Annotations to write, and judges that know nothing of how they were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path as Curve
from numpy.typing import NDArray

from frugalseg.formats import FORMATS, Annotated, AnnotationSet, Canvas, Wanted, Window, WriteSettings
from frugalseg.formats.annotated import present_labels

Labels = NDArray[np.int32]


def canvas_of(labels: Labels, name: str = "x") -> Canvas:
    """An image of the size of a label map; its file is not there."""
    return Canvas(name, Path(f"{name}.png"), labels.shape[0], labels.shape[1])


def one(
    labels: Labels,
    classes: Mapping[int, str | None] | None = None,
    *,
    window: Window | None = None,
    complete: bool | None = True,
    class_names: Sequence[str] = ("gland", "nerve"),
) -> AnnotationSet:
    """A set of one image, ``x``; objects are of the first class where `classes` says nothing."""
    named: dict[int, str | None] = dict.fromkeys(present_labels(labels), class_names[0]) | dict(classes or {})
    drawn = Annotated(canvas_of(labels), labels, named, window, complete)
    return AnnotationSet((drawn.canvas,), lambda _: drawn, tuple(class_names))


def there_and_back(form: str, drawn: AnnotationSet, out: Path, **settings: bool) -> list[Annotated]:
    """Write a set, and read it."""
    FORMATS[form].write(out, drawn, WriteSettings(**settings))
    return read(form, out, *drawn.canvases)


def read(form: str, path: Path, *canvases: Canvas) -> list[Annotated]:
    """Everything in a folder or file."""
    found = FORMATS[form].read(path, Wanted({canvas.name: canvas for canvas in canvases}))
    return [found.load(canvas) for canvas in found.canvases]


def label_maps(low: int = -1) -> st.SearchStrategy[Labels]:
    """Small label maps, noisy or of patches: neighbours that touch, holes, single pixels, objects in pieces."""
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
    noisy = hnp.arrays(np.int32, shapes, elements=st.integers(low, 4))
    patches = hnp.arrays(np.int32, shapes, elements=st.sampled_from([low, 0, 1, 70000]), fill=st.just(1))
    return noisy | patches


def judged_mask(rings: Sequence[Sequence[Sequence[float]]], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels whose centres lie in a polygon (a shell and holes), as matplotlib sees it."""
    y, x = np.mgrid[:height, :width] + 0.5
    centres = np.column_stack([x.ravel(), y.ravel()])
    shell, *holes = (Curve(np.asarray(ring, float)).contains_points(centres).reshape(height, width) for ring in rings)
    for hole in holes:
        shell &= ~hole
    return shell


RING = np.array(  # a diamond chain: two pieces that meet in corners, around holes that touch the outline
    [
        [1, 1, 1, 0, 0, 2],
        [1, 0, 1, 0, 2, 0],
        [0, 1, 1, 2, 2, 2],
        [3, 0, 0, 2, 0, 2],
        [3, 3, 3, 2, 2, 2],
        [3, 0, 3, 0, 0, 1],
    ],
    dtype=np.int32,
)
