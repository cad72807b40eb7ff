"""An empty project and its queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from frugalseg.project import JobQueue, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project")


@pytest.fixture
def queue(project: Project) -> JobQueue:
    return JobQueue(project)
