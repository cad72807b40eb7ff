"""Small projects of synthetic glands, some of them annotated by their true masks."""

from __future__ import annotations

from pathlib import Path

from frugalseg.images import open_dataset, read_label_map
from frugalseg.project import Project
from frugalseg.synthetic import write_synthetic_dataset


def annotated_project(folder: Path, n_annotated: int) -> Path:
    """Eight images in ``folder/project``: of the pool so many annotated, and all for validation."""
    write_synthetic_dataset(folder / "data", 8, 0, 1, height=72, width=88)
    project = Project.create(folder / "project")
    project.add_images(open_dataset(folder / "data").samples)
    project.draw_validation(0.2, 0)
    for image in (*project.pool()[:n_annotated], *project.validation()):
        labels = read_label_map(folder / "data" / f"{image.name}_anno.png")
        project.annotate(image.name, labels, complete=True, source="test")
    return project.folder
