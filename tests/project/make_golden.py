"""The golden projects: one for each schema, made once, kept in ``tests/golden``, and opened by every later version.

``python -m tests.project.make_golden`` makes that of the present schema, if there is none; those that are there must
not be made anew. What is written here is what the present schema can hold.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

from frugalseg.images import Sample, write_image
from frugalseg.project import (
    Drawings,
    JobQueue,
    NewWindow,
    Project,
    Reason,
    SlideSettings,
    Stroke,
    check_slides,
    pack_labels,
)

from .builders import picture, two_objects, write_slide

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = FOLDER / "project-v1"
GOLDEN_2 = FOLDER / "project-v2"
GOLDEN_3 = FOLDER / "project-v3"
SLIDES = "slides-of-v3"
"""Folder beside the golden projects in which the slide of the third lies."""


def make_golden(folder: Path) -> None:
    """Three images (pool, validation, unusable), versions of a mask, rounds, suggestions, a job, strokes, a slide."""
    project = Project.create(folder, ("gland",))
    with tempfile.TemporaryDirectory() as source:
        samples = []
        for seed, name in enumerate("abc"):
            path = Path(source) / f"{name}.png"
            write_image(path, picture(seed), pixel_size_um=0.5)
            samples.append(Sample(name, path, None, "all", group=f"p{seed + 1}"))
        project.add_images(samples)
    project.draw_validation(share=0.3, seed=5)  # draws b
    project.annotate("a", two_objects() * 0 - 1, complete=False, source="test")
    project.annotate("a", two_objects(), complete=True, source="test")
    opened = project.begin_round({"net": "lite"}, project.labelled())
    project.add_member(opened.number, 0, "rounds/000/member-0", 1)
    project.finish_round(opened.number, {"object_dice": 0.75})
    project.add_suggestions([Reason("c", uncertainty=0.5, uncertainty_rank=1)], "uncertainty", {"k": 1}, 0)
    project.abandon_round(project.begin_round({}, project.labelled()).number)
    project.mark_unusable("c", "out of focus")
    labels = pack_labels(np.full((2, 3), 4))
    stroke = Stroke("stroke-of-the-golden-project", "brush", (20, 1, 3, 2), labels, accepted=(4,))
    drawings = Drawings(project)
    drawings.draw(project.image("a").id, "v2.0", stroke)
    drawings.close()
    queue = JobQueue(project)
    queue.finish(queue.add("suggest", {"k": 1}, "page").id, "failed", "for the golden project")
    _add_slide(project, folder.parent / SLIDES)
    _shrink(folder / "project.sqlite")
    (folder / "project.lock").unlink()


def _add_slide(project: Project, folder: Path) -> None:
    """A slide with a window that is annotated; where it lay is said relative to the golden projects."""
    rows, columns = np.mgrid[:160, :192].astype(np.uint8)
    pixels = np.stack([rows, columns, rows ^ columns], axis=2)
    write_slide(folder / "s.tif", pixels)
    project.add_slides(check_slides([folder / "s.tif"], SlideSettings(window_px=64)), ("slides", folder))
    project.draw_validation(share=0.3, seed=5)
    window = NewWindow("s", "s_x64_y48", (64, 48, 32, 24), pixels[48:72, 64:96], "pool")
    project.add_suggestions([Reason("s_x64_y48")], "cover", {"k": 1}, windows=[window])
    project.annotate("s_x64_y48", two_objects(), complete=True, source="test")
    with closing(sqlite3.connect(project.folder / "project.sqlite")) as connection, connection:
        connection.execute("UPDATE roots SET path = ? WHERE name = 'slides'", (f"/nowhere/{SLIDES}",))


def _shrink(database: Path) -> None:
    """Smaller pages: a few kB in the repository instead of many."""
    connection = sqlite3.connect(database, isolation_level=None)
    for command in ("journal_mode=DELETE", "page_size=512"):
        connection.execute(f"PRAGMA {command}")
    connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


if __name__ == "__main__":
    if GOLDEN_3.exists():
        raise SystemExit(f"{GOLDEN_3} is there; it must stay what it is")
    make_golden(GOLDEN_3)
