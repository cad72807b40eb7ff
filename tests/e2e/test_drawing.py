"""Every tool changes the one object it is meant for; judged by the label map that is stored."""

from __future__ import annotations

import numpy as np
import pytest

from frugalseg.project import Project

from .conftest import Enter, Serve
from .pages import Desk, Pictures, make_project, touching


@pytest.fixture
def project(tmp_path):
    project = make_project(tmp_path, classes=("gland", "artefact"))
    project.annotate("a", touching(), complete=False, source="import")
    return project


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_stroke_changes_one_object_beside_one_that_touches(project: Project, serve: Serve, enter: Enter, pictures: Pictures, ratio: int) -> None:
    page = enter(serve(project.folder), device_scale_factor=ratio)
    desk = Desk.open(page, project)
    pictures.take(page, "open")
    with desk.change():
        desk.drag((110, 80), (110, 40))
    print(np.argwhere(desk.labels() != touching()).min(0))
