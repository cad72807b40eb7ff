"""Tiles of slides, and what a window's document says of its slide."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from project.builders import write_slide
from starlette.testclient import TestClient

from frugalseg.project import NewWindow, Project, Reason, SlideSettings, check_slides
from frugalseg.server.app import guarded, make_app
from frugalseg.server.context import Context

from .builders import HOME, PORT, TOKEN, picture
from .serving import serving

HEIGHT, WIDTH = 700, 1300


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A slide with one window, and a slide that has gone."""
    folder = tmp_path_factory.mktemp("slides")
    project = Project.create(folder / "project")
    for seed, name in enumerate("st"):
        write_slide(folder / "data" / f"{name}.tif", picture(seed, HEIGHT, WIDTH))
    slides = check_slides([folder / "data" / f"{name}.tif" for name in "st"], SlideSettings(window_px=128))
    project.add_slides(slides, ("data", folder / "data"))
    project.draw_validation(share=0.0)
    pixels = picture(0, HEIGHT, WIDTH)[64:192, 256:384]
    window = NewWindow("s", "s_x256_y64", (256, 64, 128, 128), pixels, "pool")
    project.add_suggestions([Reason("s_x256_y64")], "cover", windows=[window])
    (folder / "data" / "t.tif").unlink()
    return project


@pytest.fixture(scope="module")
def context(project: Project) -> Iterator[Context]:
    context = Context.open(project.folder)
    yield context
    context.slides.close()


@pytest.fixture(scope="module")
def client(context: Context) -> TestClient:
    app = guarded(make_app(context), token=TOKEN, port=PORT)
    return TestClient(app, base_url=HOME, headers={"authorization": f"Bearer {TOKEN}"}, raise_server_exceptions=False)


def tile(client: TestClient, path: str) -> np.ndarray:
    answer = client.get(f"/api/slides/{path}")
    assert answer.status_code == 200, answer.text
    return np.asarray(Pillow.open(io.BytesIO(answer.content)))


def test_tiles_show_the_slide(client: TestClient) -> None:
    whole = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for row in range(2):
        for column in range(3):
            part = tile(client, f"1/tiles/0/{column}_{row}")
            whole[row * 512 :, column * 512 :][:512, :512] = part
    assert np.median(np.abs(whole.astype(int) - picture(0, HEIGHT, WIDTH)).max(axis=2)) <= 4
    assert tile(client, "1/tiles/1/1_0").shape == (350, 138, 3)
    assert tile(client, "1/tiles/2/0_0").shape == (175, 325, 3)


@pytest.mark.parametrize("path", ["1/tiles/0/3_0", "1/tiles/0/0_2", "1/tiles/3/0_0", "1/tiles/99/0_0", "9/tiles/0/0_0"])
def test_what_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(f"/api/slides/{path}").status_code == 404


@pytest.mark.parametrize("path", ["1/tiles/0/a_0", "1/tiles/0/-1_0", "1/tiles/x/0_0", "0/tiles/0/0_0", "x/tiles/0/0_0"])
def test_what_makes_no_sense_is_refused(client: TestClient, path: str) -> None:
    assert client.get(f"/api/slides/{path}").status_code == 422


def test_browsers_keep_tiles(client: TestClient) -> None:
    tag = client.get("/api/slides/1/tiles/0/0_0").headers["etag"]
    assert client.get("/api/slides/1/tiles/0/0_0", headers={"if-none-match": tag}).status_code == 304
    assert client.get("/api/slides/1/tiles/0/1_0").headers["etag"] != tag


def test_nobody_without_the_token(context: Context) -> None:
    stranger = TestClient(guarded(make_app(context), token=TOKEN, port=PORT), base_url=HOME)
    assert stranger.get("/api/slides/1/tiles/0/0_0").status_code == 401


def test_a_slide_that_has_gone_is_told(client: TestClient) -> None:
    answer = client.get("/api/slides/2/tiles/0/0_0")
    assert answer.status_code == 422
    assert "t.tif" in answer.json()["problems"][0]["where"]


def test_the_reader_dies_and_another_goes_on(client: TestClient, context: Context) -> None:
    before = tile(client, "1/tiles/0/2_1")
    pid = context.slides._reader.pid
    assert pid is not None
    import psutil

    psutil.Process(pid).kill()
    context.slides._kept.clear()
    assert (tile(client, "1/tiles/0/2_1") == before).all()


def test_a_window_says_where_it_lies(client: TestClient, project: Project) -> None:
    image = project.image("s_x256_y64")
    assert client.get(f"/api/images/{image.id}").json()["slide"] == {
        "id": 1,
        "name": "s",
        "x": 256,
        "y": 64,
        "width": 128,
        "height": 128,
        "slide_width": WIDTH,
        "slide_height": HEIGHT,
        "tile_levels": 3,
    }
    queue = client.get("/api/queue").json()
    assert [each["image"]["name"] for each in queue["suggestions"]] == ["s_x256_y64"]
    document = client.get("/api/project").json()
    assert (document["n_slides"], document["n_images"], document["first_run"]) == (2, 1, False)


def test_slides_come_by_the_page(tmp_path: Path) -> None:
    content = write_slide(tmp_path / "s.tif", picture(0, HEIGHT, WIDTH)).read_bytes()
    project = Project.create(tmp_path / "project")
    context = Context.open(project.folder)
    client = TestClient(
        guarded(make_app(context), token=TOKEN, port=PORT),
        base_url=HOME,
        headers={"authorization": f"Bearer {TOKEN}"},
    )
    assert client.post("/api/uploads?name=s.tif", content=content).json() == {"added": ["s"], "duplicate": False}
    assert client.post("/api/uploads?name=t.tif", content=content).json() == {"added": [], "duplicate": True}
    assert [each.name for each in project.slides()] == ["s"]
    assert project.images() == ()
    assert tile(client, "1/tiles/0/0_0").shape == (512, 512, 3)
    refused = client.post("/api/uploads?name=u.svs", content=b"nothing of the kind")
    assert refused.status_code == 422
    assert refused.json()["problems"][0]["where"] == "u.svs"
    assert client.post("/api/uploads?name=u.mrxs", content=b"x").status_code == 422
    context.slides.close()


def test_slides_alone_can_be_asked_for_suggestions(tmp_path: Path) -> None:
    write_slide(tmp_path / "s.tif", picture(0, HEIGHT, WIDTH))
    project = Project.create(tmp_path / "project")
    with TestClient(
        guarded(make_app(Context.open(project.folder)), token=TOKEN, port=PORT),
        base_url=HOME,
        headers={"authorization": f"Bearer {TOKEN}"},
    ) as client:
        assert client.get("/api/project").json()["first_run"]
        assert client.post("/api/jobs", json={"kind": "suggest"}).status_code == 422
        project.add_slides(check_slides([tmp_path / "s.tif"], SlideSettings()), ("data", tmp_path))
        assert not client.get("/api/project").json()["first_run"]
        assert client.post("/api/jobs", json={"kind": "suggest"}).status_code == 201


def test_a_new_project_takes_slides_as_slides(tmp_path: Path) -> None:
    """As `init` does: a slide is a place to take windows from, a picture beside it is an image."""
    write_slide(tmp_path / "data" / "s.tif", picture(0, HEIGHT, WIDTH))
    Pillow.fromarray(picture(1, 64, 64)).save(tmp_path / "data" / "p.png")
    with serving(tmp_path / "project", images=tmp_path / "data"):
        pass
    project = Project.open(tmp_path / "project")
    assert [each.path for each in project.slides()] == [tmp_path / "data" / "s.tif"]
    assert [each.name for each in project.images()] == ["p"]
