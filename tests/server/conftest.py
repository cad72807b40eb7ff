"""A project and its server for every test that asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from frugalseg.project import Project

from .builders import make_client, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


@pytest.fixture
def client(project: Project) -> TestClient:
    return make_client(project)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """For tests that change nothing."""
    return make_project(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared(shared_project: Project) -> TestClient:
    return make_client(shared_project)
