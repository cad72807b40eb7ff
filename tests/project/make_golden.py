"""The golden project of version 1: made once, kept in ``tests/golden/project-v1``, and opened by every later version.

It was made by ``python -m tests.project.make_golden``; it must not be made anew when the schema changes. A new version
gets a golden project of its own beside it.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

from frugalseg.images import Sample, write_image
from frugalseg.project import Project, Reason

from .builders import picture, two_objects

GOLDEN = Path(__file__).parents[1] / "golden" / "project-v1"


def make_golden(folder: Path) -> None:
    """Three images (pool, validation, unusable), a mask of two versions, one round and one suggestion."""
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
    project.mark_unusable("c", "out of focus")
    _shrink(folder / "project.sqlite")
    (folder / "project.lock").unlink()


def _shrink(database: Path) -> None:
    """Smaller pages: a few kB in the repository instead of many."""
    connection = sqlite3.connect(database, isolation_level=None)
    for command in ("journal_mode=DELETE", "page_size=512"):
        connection.execute(f"PRAGMA {command}")
    connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    make_golden(GOLDEN)
