"""From an empty project to the second round, in the page alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from scipy.ndimage import distance_transform_edt

from frugalseg.arrays import LabelMap
from frugalseg.images import read_label_map
from frugalseg.project import Project
from frugalseg.project.round_files import proposal_file, round_folder

from .conftest import Enter, Serve
from .pages import Desk, Pictures, Place, corners, state_of, truth, until, write_glands

N_IMAGES = 8


def test_from_a_folder_to_the_second_round(tmp_path: Path, serve: Serve, enter: Enter, pictures: Pictures) -> None:
    files = write_glands(tmp_path / "source", N_IMAGES)
    server = serve(tmp_path / "glands")  # a project that is not there is made
    project = Project.open(tmp_path / "glands")
    page = enter(server)
    set_up(page, project, files, pictures)
    suggested = suggestions(page)
    page.get_by_test_id("suggestion").first.locator("a").first.click()
    annotate_first(Desk(page, project, suggested[0]).ready(), pictures)
    page.keyboard.press("n")
    annotate_second(Desk(page, project, suggested[1]).ready())
    page.get_by_role("link", name="Back to the queue").click()
    train(page, project, pictures)
    found = proposals(project, suggestions(page))
    assert found, "the round proposes objects for none of the images that it suggests"
    image, proposed = found[0]
    page.locator(f"[data-testid=suggestion][data-image='{image}'] a").first.click()
    correct(Desk(page, project, image).ready(), proposed, pictures)


def suggestions(page: Page) -> list[int]:
    """Images that the queue shows, in its order."""
    expect(page.get_by_test_id("suggestion").first).to_be_visible(timeout=60_000)
    return [int(it.get_attribute("data-image") or 0) for it in page.get_by_test_id("suggestion").all()]


def set_up(page: Page, project: Project, files: list[Path], pictures: Pictures) -> None:
    """Three steps: classes, images, first suggestions."""
    page.get_by_role("textbox", name="Class 1").fill("gland")
    pictures.take(page, "1-classes")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_test_id("drop")).to_be_visible()
    assert Project.open(project.folder).class_names == ("gland",)
    with page.expect_file_chooser() as chosen:
        page.get_by_text("Choose a folder").click()
    chosen.value.set_files(files[0].parent)
    expect(page.get_by_test_id("upload-state")).to_contain_text(f"{N_IMAGES} of {N_IMAGES} sent · {N_IMAGES} added")
    pictures.take(page, "2-images")
    assert {each.name for each in Project.open(project.folder).images()} == {file.stem for file in files}
    page.get_by_role("button", name="Next").click()
    page.get_by_role("spinbutton", name="How many images").fill("3")
    pictures.take(page, "3-suggest")
    page.get_by_role("button", name="Suggest the first images").click()
    shown = suggestions(page)
    pictures.take(page, "4-queue")
    asked = Project.open(project.folder).suggestions()
    ids = {each.name: each.id for each in Project.open(project.folder).images()}
    assert shown == [ids[each.image] for each in asked]
    assert len(shown) == 3


def annotate_first(desk: Desk, pictures: Pictures) -> None:
    """Glands by polygon, one by the brush, taken back and done again; then all is complete."""
    assert not desk.labels().any()
    wanted = truth(desk.name)
    first, *others = largest_first(wanted)
    desk.tool("p")
    for corner in corners(wanted == first):
        desk.click(*corner)
    desk.hover(*middle_of(wanted, first))
    pictures.take(desk.page, "5-polygon")
    with desk.change():
        desk.key("Enter")
    polygon = desk.labels()
    assert set(np.unique(polygon)) == {0, 1}
    assert overlap(polygon == 1, wanted == first) > 0.9
    desk.tool("b")
    x, y = middle_of(wanted, others[0])
    with desk.change():
        desk.drag((x - 8, y - 8), (x + 8, y - 4), (x - 8, y), (x + 8, y + 4), (x - 8, y + 8))
    both = desk.labels()
    assert both[round(y), round(x)] == 2
    assert ((both == 1) == (polygon == 1)).all()
    with desk.change():
        desk.key("Control+z")
    assert (desk.labels() == polygon).all()
    with desk.change():
        desk.key("Control+y")
    assert (desk.labels() == both).all()
    desk.key("Control+z")
    outline(desk, wanted, others)
    pictures.take(desk.page, "6-drawn")
    complete(desk)


def annotate_second(desk: Desk) -> None:
    """All glands by polygon."""
    wanted = truth(desk.name)
    outline(desk, wanted, largest_first(wanted))
    labels = desk.labels()
    assert overlap(labels > 0, wanted > 0) > 0.9
    complete(desk)


def outline(desk: Desk, wanted: LabelMap, glands: list[int]) -> None:
    """Polygons around glands that are large enough for some corners."""
    desk.tool("p")
    for gland in glands:
        places = corners(wanted == gland)
        if len(places) > 3:
            with desk.change():
                desk.polygon(*places)


def largest_first(labels: LabelMap) -> list[int]:
    """Objects, the largest first."""
    found, sizes = np.unique(labels[labels > 0], return_counts=True)
    return [int(each) for each in found[np.argsort(-sizes)]]


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Common share of two areas."""
    return float((a & b).sum() / (a | b).sum())


def complete(desk: Desk) -> None:
    """Key C makes a version of exactly what was drawn."""
    labels = desk.labels()
    desk.key("c")
    expect(desk.page.get_by_test_id("state").first).to_have_attribute("data-state", "annotated")
    newest = until(desk.newest)
    assert newest.complete
    assert newest.source == "page:submit"
    assert (desk.project.labels(newest) == labels).all()


def train(page: Page, project: Project, pictures: Pictures) -> None:
    """A smoke round of two members, its values followed on the progress screen; suggestions come by themselves."""
    before = Project.open(project.folder).suggestions()[0].ask
    page.get_by_role("button", name="Train the next round").click()
    dialog = page.get_by_test_id("train-dialog")
    dialog.get_by_role("radio", name="A quick try").check()
    dialog.get_by_role("spinbutton", name="Networks").fill("2")
    dialog.get_by_role("spinbutton", name="How many").fill("3")
    pictures.take(page, "7-train")
    dialog.get_by_role("button", name="Train", exact=True).click()
    page.get_by_role("link", name="Progress").click()
    seen = follow(page, project, pictures)
    rows = written(project)
    assert len(seen) >= 5, "the page moved on while the round trained"
    assert seen <= {(member, step, f"{loss:.4f}") for member, step, loss in rows}
    page.get_by_role("link", name="Queue").click()
    expect(page.get_by_test_id("job")).to_have_count(0, timeout=120_000)
    until(lambda: Project.open(project.folder).suggestions()[0].ask > before, 120, "suggestions of the round")
    expect(page.get_by_text("chosen by round 0")).to_be_visible(timeout=20_000)
    expect(page.get_by_test_id("suggestion")).to_have_count(3)
    pictures.take(page, "9-queue")


def follow(page: Page, project: Project, pictures: Pictures) -> set[tuple[str, int, str]]:
    """All values that the table of newest losses shows until the round is trained."""
    losses = page.get_by_test_id("losses")
    losses.get_by_text("Newest values as a table").click(timeout=120_000)
    seen: set[tuple[str, int, str]] = set()
    table = losses.locator("tbody")
    next_picture = 9
    while Project.open(project.folder).rounds()[0].status != "trained":
        for _ in range(5):
            for row in table.inner_text().splitlines():
                name, step, loss = row.split("\t")
                seen.add((name, int(step), loss))
            page.wait_for_timeout(80)
        if len(seen) >= next_picture:
            next_picture += 25
            pictures.take(page, "8-progress", full_page=True)
    return seen


def written(project: Project) -> list[tuple[str, int, float]]:
    """Rows of the run folders, named as the page names them."""
    members = round_folder(project.folder, 0) / "members"
    found = []
    for file in members.rglob("metrics.jsonl"):
        run = file.parent
        member = re.search(r"member-(\d+)", str(run.relative_to(members)))
        config: dict[str, Any] = json.loads((run / "config.json").read_text())
        assert member, run
        quantized = "quantize" in config
        offset = 0
        if quantized and (run / "float" / "config.json").is_file():
            offset = json.loads((run / "float" / "config.json").read_text())["config"]["steps"]
        name = f"network {int(member[1]) + 1}{', few bits' if quantized else ''}"
        for line in file.read_text().splitlines():
            row = json.loads(line)
            found.append((name, row["step"] + offset, row["loss"]))
    return found


def proposals(project: Project, images: list[int]) -> list[tuple[int, LabelMap]]:
    """Images for which the round proposes at least two objects, and what it proposes."""
    found = []
    for image in images:
        file = proposal_file(project.folder, 0, project.image_numbered(image).name)
        labels = read_label_map(file)
        if np.unique(labels).size > 2:
            found.append((image, labels))
    return found


def correct(desk: Desk, proposed: LabelMap, pictures: Pictures) -> None:
    """A proposed object is corrected by the brush, another accepted by key; then the image is complete."""
    page = desk.page
    labels = np.unique(proposed)[1:].tolist()
    assert (desk.labels() == proposed).all(), "the drawing starts from the proposal"
    expect(page.get_by_test_id("proposal-count")).to_contain_text(f"0 of {len(labels)}")
    pictures.take(page, "10-proposal")
    largest = max(labels, key=lambda label: int((proposed == label).sum()))
    inside, outside = border_of(proposed, largest)
    desk.tool("b")
    with desk.change():
        desk.drag(inside, outside)
    after = desk.labels()
    touched = after != proposed
    assert touched.any()
    assert (proposed[touched] == 0).all()
    assert (after[touched] == largest).all()
    assert set(state_of(desk.project, desk.image).accepted) == {largest}, "what is corrected counts as looked at"
    desk.tool("v")
    other = next(label for label in labels if label != largest)
    desk.click(*middle_of(after, other))
    expect(page.get_by_test_id("selected")).to_contain_text(f"object {other}")
    with desk.change():
        desk.key("a")
    assert set(state_of(desk.project, desk.image).accepted) == {largest, other}
    assert (desk.labels() == after).all(), "accepting changes no pixel"
    pictures.take(page, "11-corrected")
    desk.key("c")
    if len(labels) > 2:
        dialog = page.get_by_test_id("complete-dialog")
        expect(dialog).to_contain_text("not been looked at")
        pictures.take(page, "12-left")
        assert desk.newest() is None
        dialog.get_by_role("button", name="Accept all and complete").click()
    newest = until(desk.newest)
    assert newest.complete
    assert (desk.project.labels(newest) == after).all()


def middle_of(labels: LabelMap, label: int) -> Place:
    """The pixel of an object that is farthest from its edge."""
    depth = distance_transform_edt(np.pad(labels == label, 1))
    y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return float(x - 1), float(y - 1)


def border_of(labels: LabelMap, label: int) -> tuple[Place, Place]:
    """The middle of an object, and the nearest background that is at some distance from all objects."""
    inside = middle_of(labels, label)
    away = distance_transform_edt(labels == 0)[10:-10, 10:-10] > 12
    rows, columns = np.nonzero(away)
    nearest = int(np.argmin(np.hypot(rows + 10 - inside[1], columns + 10 - inside[0])))
    return inside, (float(columns[nearest] + 10), float(rows[nearest] + 10))
