"""A small project behind its server, and clients that talk to it."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.testclient import TestClient

from frugalseg.images import write_image
from frugalseg.project import Project, pack_labels
from frugalseg.server.app import guarded, make_app
from frugalseg.server.context import Context

PORT = 8377
TOKEN = "a-token-for-tests"
HOME = f"http://127.0.0.1:{PORT}"
HEIGHT, WIDTH = 600, 800


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A picture whose colours tell where a pixel lies."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, np.full_like(rows, 40 * seed % 256)], axis=2).astype(np.uint8)


def make_project(folder: Path, n: int = 2, classes: tuple[str, ...] = ("gland", "artefact")) -> Project:
    """A project of pictures named a, b, …"""
    project = Project.create(folder / "project", classes)
    paths = []
    for seed, name in enumerate("abcdefgh"[:n]):
        paths.append(folder / "source" / f"{name}.png")
        write_image(paths[-1], picture(seed))
    project.add_images(paths)
    return project


def make_client(project: Project, **headers: str) -> TestClient:
    """A client of a server of its own; without further headers it bears the token."""
    app = guarded(make_app(Context.open(project.folder)), token=TOKEN, port=PORT)
    headers = headers or {"authorization": f"Bearer {TOKEN}"}
    return TestClient(app, base_url=HOME, headers=headers, raise_server_exceptions=False, follow_redirects=False)


def stroke(edit: str, x: int, y: int, labels: NDArray[Any], **more: Any) -> dict[str, Any]:
    """The body of a stroke."""
    h, w = labels.shape
    return {
        "edit": edit,
        "stroke": str(uuid.uuid4()),
        "tool": "brush",
        "x": x,
        "y": y,
        "w": w,
        "h": h,
        "labels": base64.b64encode(pack_labels(labels)).decode(),
        **more,
    }
