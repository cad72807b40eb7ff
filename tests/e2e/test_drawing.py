"""Every tool changes the one object it is meant for; judged by the label map that is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import expect

from frugalseg.project import Project, Reason

from .conftest import Enter, Serve
from .pages import SIDE, Desk, Pictures, make_project, state_of, touching


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Image a holds two objects that touch, and a third one."""
    project = make_project(tmp_path, classes=("gland", "artefact"))
    project.annotate("a", touching(), complete=False, source="import")
    return project


def changed(before: NDArray[np.int32], after: NDArray[np.int32]) -> dict[tuple[int, int], int]:
    """How many pixels went from which object to which."""
    differ = before != after
    kinds, counts = np.unique(np.stack([before[differ], after[differ]]), axis=1, return_counts=True)
    return {(int(old), int(new)): int(n) for old, new, n in zip(*kinds, counts, strict=True)}


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_stroke_changes_one_object(
    project: Project, serve: Serve, enter: Enter, pictures: Pictures, ratio: int
) -> None:
    page = enter(serve(project.folder), device_scale_factor=ratio)
    desk = Desk.open(page, project)
    with desk.change():
        desk.drag((110, 80), (110, 40))
    grown = desk.labels()
    assert list(changed(touching(), grown)) == [(0, 1)], "only object 1 grew, and over background only"
    assert grown[41:60, 110].all()
    # Far in, over the neighbour that touches: the pointer moves over it, but it keeps all its pixels.
    before = desk.view()[0]
    desk.hover(160, 110)
    for _ in range(4):
        page.mouse.wheel(0, -300)
    desk.ready()
    assert desk.view()[0] > 2 * before
    with desk.change():
        desk.drag((155, 110), (166, 112), (155, 114))
        desk.key("Escape")
        desk.drag((164, 120), (156, 121))
        desk.drag((158, 116), (158, 118), (140, 118))
        desk.key("0")
        desk.ready()
        desk.drag((250, 150), (272, 170))
    pictures.take(page, f"at-{ratio}")
    after = desk.labels()
    assert list(changed(grown, after)) == [(0, 2)], "neither of two that touch took a pixel of the other"


def test_shift_takes_from_the_neighbour(project: Project, serve: Serve, enter: Enter) -> None:
    page = enter(serve(project.folder))
    desk = Desk.open(page, project)
    desk.tool("v")
    desk.click(110, 110)
    expect(page.get_by_test_id("selected")).to_contain_text("object 1")
    desk.tool("b")
    with desk.change():
        page.keyboard.down("Shift")
        desk.drag((150, 100), (175, 100))
        page.keyboard.up("Shift")
    after = desk.labels()
    assert list(changed(touching(), after)) == [(2, 1)]
    assert after[100, 170] == 1


def test_the_eraser_takes_from_one_object(project: Project, serve: Serve, enter: Enter) -> None:
    desk = Desk.open(enter(serve(project.folder)), project)
    desk.tool("e")
    with desk.change():
        desk.drag((140, 100), (200, 100))
    after = desk.labels()
    assert list(changed(touching(), after)) == [(1, 0)], "the one it was pressed on"
    assert (after[100, 140:160] == 0).all()
    with desk.change():
        desk.page.keyboard.down("Shift")
        desk.drag((140, 130), (200, 130))
        desk.page.keyboard.up("Shift")
    assert set(changed(after, desk.labels())) == {(1, 0), (2, 0)}


def test_fill_split_merge_delete(project: Project, serve: Serve, enter: Enter, pictures: Pictures) -> None:
    page = enter(serve(project.folder))
    desk = Desk.open(page, project)
    desk.tool("e")
    desk.brush_size(20)
    with desk.change():
        desk.drag((110, 110), (114, 110))
    holed = desk.labels()
    assert holed[110, 110] == 0
    desk.tool("f")
    with desk.change():
        desk.click(110, 110)
    assert (desk.labels() == touching()).all(), "the hole is filled with what surrounds it"
    desk.tool("s")
    with desk.change():
        desk.drag((90, 210), (92, 250), (90, 290))
    cut = desk.labels()
    assert list(changed(touching(), cut)) == [(3, 4)], "a new number for one piece, and no pixel lost"
    assert {cut[250, 70], cut[250, 110]} == {3, 4}
    pictures.take(page, "split")
    desk.tool("m")
    with desk.change():
        desk.click(110, 110)
        desk.click(200, 110)
    merged = desk.labels()
    assert list(changed(cut, merged)) == [(2, 1)]
    with desk.change():
        desk.drag((70, 250), (110, 250))
    assert set(np.unique(desk.labels()[220:280, 60:120])) == {int(cut[250, 70])}
    desk.tool("v")
    desk.click(200, 110)
    with desk.change():
        desk.key("Delete")
    after = desk.labels()
    assert not after[60:160, 60:260].any()
    assert (after[220:280, 60:120] > 0).all(), "the other object stays"
    for _ in range(4):
        with desk.change():
            desk.key("Control+z")
    assert (desk.labels() == touching()).all(), "all of it is undone"


def test_classes_by_key(project: Project, serve: Serve, enter: Enter) -> None:
    page = enter(serve(project.folder))
    desk = Desk.open(page, project)
    desk.tool("v")
    desk.click(110, 110)
    with desk.change():
        desk.key("2")
    assert state_of(project).object_classes[1] == 1
    expect(page.get_by_test_id("class").nth(1)).to_have_attribute("aria-pressed", "true")
    desk.key("Escape")
    desk.tool("b")
    with desk.change():
        desk.drag((200, 240), (240, 260))
    desk.key("1")
    with desk.change():
        desk.drag((200, 290), (240, 300))
    labels = desk.labels()
    classes = {label: state_of(project).object_classes.get(label, 0) for label in np.unique(labels)[1:].tolist()}
    assert classes == {1: 1, 2: 0, 3: 0, int(labels[240, 200]): 1, int(labels[290, 200]): 0}
    desk.key("c")
    expect(page.get_by_test_id("state").first).to_have_attribute("data-state", "annotated")
    newest = desk.newest()
    assert {label: newest.object_classes.get(label, 0) for label in classes} == classes
    with desk.change():
        desk.key("Control+z")
    assert not desk.labels()[280:310, 190:250].any()


def test_drawing_stays_in_the_window(project: Project, serve: Serve, enter: Enter, pictures: Pictures) -> None:
    window = (40, 60, 200, 160)
    project.add_suggestions([Reason("b", window=window)], "test")
    page = enter(serve(project.folder))
    page.get_by_test_id("suggestion").locator("a").first.click()
    desk = Desk(page, project, project.image("b").id).ready()
    with desk.change():
        desk.drag((100, 100), (100, 30), (10, 30), (10, 300), (200, 300), (200, 200))
    pictures.take(page, "window")
    labels = desk.labels()
    x, y, w, h = window
    inside = np.zeros((SIDE, SIDE), bool)
    inside[y : y + h, x : x + w] = True
    assert labels[inside].any()
    assert not labels[~inside].clip(0).any()
    assert (labels[y, 90:110] == 1).any(), "up to the very edge"
    assert (labels[y + h - 1, 190:210] == 1).any()
    desk.key("c")
    expect(page.get_by_test_id("state").first).to_have_attribute("data-state", "annotated")
    assert desk.newest().window == window
    kept = project.labels(desk.newest())
    assert (kept[~inside] == -1).all(), "nothing is known of what lies outside"
