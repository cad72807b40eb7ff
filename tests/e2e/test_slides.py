"""A suggested window of a slide: opened, seen inside its slide, corrected, and stored at the slide's right place."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from shapely.geometry import Point, shape

from frugalseg.cli import main
from frugalseg.images import read_image
from frugalseg.project import Project, SlideSettings, check_slides
from frugalseg.rounds.suggesting import Request, suggest_round
from frugalseg.slides import open_slide
from frugalseg.synthetic.slides import write_synthetic_slide

from .conftest import Enter, Serve, Watch
from .pages import Desk, Pictures

SIDE = 512


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one slide, of which a window is suggested."""
    folder = tmp_path_factory.mktemp("slides")
    write_synthetic_slide(folder / "data" / "slide.svs", 6144, 4608, seed=3, pixel_size_um=0.5, tissue=0.5)
    project = Project.create(folder / "project", ("gland",))
    slides = check_slides([folder / "data" / "slide.svs"], SlideSettings(window_px=SIDE))
    project.add_slides(slides, ("data", folder / "data"))
    suggest_round(project, Request(k=1, slide_candidates=12))
    return project.folder


def test_a_slide_that_is_gone_costs_its_surroundings_alone(
    template: Path, tmp_path: Path, serve: Serve, enter: Enter, watch: Watch
) -> None:
    watch.allow(r"422|failed to load")
    project = Project.open(Path(shutil.copytree(template, tmp_path / "project")))
    with closing(sqlite3.connect(project.folder / "project.sqlite")) as connection, connection:
        connection.execute("UPDATE roots SET path = ?", (str(tmp_path / "nowhere"),))
    (image,) = project.images()
    page = enter(serve(project.folder))
    page.get_by_test_id("suggestion").locator("a").first.click()
    desk = Desk(page, project, image.id).ready()
    with desk.change():
        desk.drag((100, 100), (150, 100))
    assert desk.labels()[100, 120] == 1


def test_a_window_is_annotated_inside_its_slide(
    template: Path, tmp_path: Path, serve: Serve, enter: Enter, pictures: Pictures
) -> None:
    project = Project.open(template)
    (image,) = project.images()
    place = image.slide
    assert place is not None
    page = enter(serve(project.folder))
    page.get_by_test_id("suggestion").locator("a").first.click()
    desk = Desk(page, project, image.id).ready()
    slide = page.locator(".osd")
    expect(slide).to_have_attribute("data-slide", "loaded", timeout=30_000)
    pictures.take(page, "window")
    near = desk.view()[0]

    # The whole slide: what is seen at a place is what the slide holds there, dimmed outside the window.
    page.keyboard.press("w")
    desk.ready()
    expect(slide).to_have_attribute("data-slide", "loaded", timeout=30_000)
    assert desk.view()[0] < near / 4
    seen = read_image(pictures.take(page, "slide")).astype(int)
    with open_slide(project.slides()[0].path) as opened:
        level = opened.levels[-1]
        small = opened.read_region(len(opened.levels) - 1, 0, 0, level.width, level.height).astype(int)

    def error(x: int, y: int, shift: int) -> float:
        """How far the colours around a place of the slide are from what the page shows, `shift` pixels beside it."""
        across, down = (x - place.x) * image.width / place.width, (y - place.y) * image.height / place.height
        left, top = desk.at(across, down)
        shown = seen[int(top) - 2 : int(top) + 3, int(left) - 2 : int(left) + 3].reshape(-1, 3).mean(axis=0)
        row, column = int(y / level.downsample), int((x + shift) / level.downsample)
        there = small[row - 3 : row + 4, column - 3 : column + 4].reshape(-1, 3).mean(axis=0)
        inside = 0 <= across < image.width and 0 <= down < image.height
        return float(np.abs(shown - (there if inside else 0.7 * there + (3, 4, 6))).mean())

    places = [
        (x, y) for x in range(300, place.slide_width - 600, 250) for y in range(300, place.slide_height - 300, 250)
    ]
    tissue = [(x, y) for x, y in places if small[int(y / level.downsample), int(x / level.downsample)].min() < 200]
    right, wrong = (np.median([error(x, y, shift) for x, y in tissue]) for shift in (0, 150))
    assert right < 8, (right, wrong)
    assert wrong > 2 * right, "the slide lies where it belongs"
    page.get_by_role("button", name="Show in slide").click()
    desk.ready()
    assert desk.view()[0] == pytest.approx(near)

    # Drawing: within the window only, even if the pointer leaves it.
    desk.tool("p")
    with desk.change():
        desk.polygon((100, 120), (220, 120), (220, 260), (100, 260))
    desk.tool("b")
    desk.brush_size(12)
    with desk.change():
        desk.drag((40, 400), (-60, 400))
    labels = desk.labels()
    assert labels.shape == (SIDE, SIDE)
    assert (labels[130:250, 110:210] == labels[200, 150]).all()
    assert labels[400, 0] > 0
    desk.key("c")
    expect(page.get_by_test_id("state").first).to_have_attribute("data-state", "annotated")
    pictures.take(page, "drawn")

    # Stored at the right place of the slide.
    newest = desk.newest()
    assert newest.complete
    stored = project.labels(newest)
    assert (stored == labels).all()
    assert (
        main(["annotations", "export", str(project.folder), "--format", "geojson", "--out", str(tmp_path / "out")]) == 0
    )
    document = json.loads((tmp_path / "out" / "slides" / "slide.geojson").read_text())
    objects = {
        each["properties"]["measurements"]["Label"]: shape(each["geometry"])
        for each in document["features"]
        if "measurements" in each["properties"]
    }
    assert set(objects) == set(np.unique(stored)[1:].tolist())
    for label, outline in objects.items():
        assert outline.area == pytest.approx((stored == label).sum())
        rows, columns = (stored == label).nonzero()
        middle = len(rows) // 2
        assert outline.contains(Point(place.x + columns[middle] + 0.5, place.y + rows[middle] + 0.5))
        assert outline.bounds == (
            place.x + columns.min(), place.y + rows.min(), place.x + columns.max() + 1, place.y + rows.max() + 1
        )  # fmt: skip
