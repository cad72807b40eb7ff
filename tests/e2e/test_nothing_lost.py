"""Whatever ends or comes between, what was drawn is stored, or the page says that it is not."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, Playwright, expect

from frugalseg.project import Project

from .conftest import Enter, Serve, Watch
from .pages import CHROMIUM, FLAGS, Desk, Pictures, make_project, state_of, stored, touching, until

REFUSED = r"the server responded with a status of 40[19]"
GONE = (
    r"net::ERR_(CONNECTION_REFUSED|INTERNET_DISCONNECTED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Image a holds three objects; b is empty."""
    project = make_project(tmp_path)
    project.annotate("a", touching(), complete=False, source="import")
    return project


def save_state(page: Page) -> str:
    """What the head of the page says of saving."""
    return page.get_by_test_id("save-state").get_attribute("data-state") or ""


def two_tabs(project: Project, serve: Serve, enter: Enter) -> Desk:
    """Two tabs show the same image, and the other one has drawn meanwhile: the stale one."""
    first = enter(serve(project.folder))
    mine = Desk.open(first, project)
    second = first.context.new_page()
    second.goto(first.url)
    theirs = Desk(second, project).ready()
    with theirs.change():
        theirs.drag((220, 250), (260, 250))
    first.bring_to_front()
    return mine


@pytest.mark.parametrize("choice", ["Take theirs", "Keep mine on top"])
def test_two_tabs(project: Project, serve: Serve, enter: Enter, watch: Watch, pictures: Pictures, choice: str) -> None:
    mine = two_tabs(project, serve, enter)
    watch.allow(REFUSED)
    before = mine.labels()
    mine.drag((100, 20), (140, 20))
    dialog = mine.page.get_by_test_id("conflict-dialog")
    expect(dialog).to_be_visible()
    assert save_state(mine.page) == "conflict"
    assert (mine.labels() == before).all(), "nothing was overwritten"
    pictures.take(mine.page, "told")
    dialog.get_by_role("button", name="Compare").click()
    compare = mine.page.get_by_test_id("compare")
    pictures.take(mine.page, "difference")
    for what in ("Theirs", "Mine"):
        compare.get_by_role("button", name=what, exact=True).click()
        expect(compare.get_by_role("button", name=what, exact=True)).to_have_attribute("aria-pressed", "true")
        mine.ready()
        pictures.take(mine.page, what.lower())
    assert (mine.labels() == before).all(), "looking changes nothing"
    compare.get_by_role("button", name=choice).click()
    expect(compare).to_have_count(0)
    mine.saved()
    if choice == "Take theirs":
        assert (mine.labels() == before).all()
    else:
        until(lambda: (mine.labels() != before).any())
        after = mine.labels()
        assert (before[after != before] == 0).all(), "mine came on top of background"
        assert after[20, 120] > 0
        assert after[20, 120] != after[250, 240], "an object of its own: the other tab used the number, too"
    settled = mine.labels()
    with mine.change():  # and drawing goes on
        mine.drag((20, 200), (20, 240))
    assert ((mine.labels() == settled) | (settled == 0)).all()


def test_an_import_beside_an_open_tab(project: Project, serve: Serve, enter: Enter, watch: Watch) -> None:
    desk = Desk.open(enter(serve(project.folder)), project)
    with desk.change():
        desk.drag((220, 250), (260, 250))
    drawn = desk.labels()
    other = touching()
    other[other == 3] = 0
    project.annotate("a", other, complete=False, source="import")
    watch.allow(REFUSED)
    desk.drag((20, 200), (20, 240))
    dialog = desk.page.get_by_test_id("conflict-dialog")
    expect(dialog).to_contain_text("newer version")
    dialog.get_by_role("button", name="Take theirs").click()
    expect(dialog).to_have_count(0)
    desk.saved()
    assert (desk.labels() == other).all()
    kept = [project.labels(each) for each in Project.open(project.folder).history("a")]
    assert any((each == drawn).all() for each in kept), "what was drawn before is in the history"


OwnBrowser = tuple[subprocess.Popen[bytes], str]


@pytest.fixture
def own_browser(tmp_path: Path) -> Iterator[OwnBrowser]:
    """A browser that a test may kill, and where to steer it from."""
    profile = tmp_path / "profile"
    command = [str(CHROMIUM), *FLAGS, "--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    with (tmp_path / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    port = profile / "DevToolsActivePort"
    until(lambda: port.exists() and port.read_text().count("\n"), 60, "the browser's port")
    yield process, f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_browser_loses_the_stroke_in_hand_only(
    project: Project,
    serve: Serve,
    enter: Enter,
    playwright: Playwright,
    own_browser: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, address = own_browser
    server = serve(project.folder)
    page = playwright.chromium.connect_over_cdp(address).new_context().new_page()
    page.goto(f"http://127.0.0.1:{server.port}/?token={server.token}")
    desk = Desk.open(page, project)
    for x in (30, 290):
        with desk.change():
            desk.drag((x, 200), (x, 240))
    drawn = desk.labels()
    desk.press([(200, 250), (220, 260), (240, 250)])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (stored(project) == drawn).all()
    again = Desk.open(enter(server), project)
    assert (again.labels() == drawn).all()
    expect(again.page.get_by_test_id("object-count")).to_have_attribute("data-count", "5")
    with again.change():
        again.drag((200, 250), (240, 250))
    assert ((again.labels() == drawn) | (drawn == 0)).all()


def test_a_killed_server_ends_the_session_and_loses_nothing_stored(
    project: Project, serve: Serve, enter: Enter, watch: Watch, pictures: Pictures
) -> None:
    server = serve(project.folder)
    page = enter(server)
    desk = Desk.open(page, project)
    with desk.change():
        desk.drag((30, 200), (30, 240))
    drawn = desk.labels()
    watch.allow(GONE)
    watch.allow(REFUSED)
    server.kill()
    desk.drag((220, 250), (260, 250))
    expect(page.get_by_test_id("save-state")).to_have_attribute("data-state", "failed")
    expect(page.get_by_test_id("server-gone")).to_be_visible()
    pictures.take(page, "gone")
    again = serve(project.folder, port=server.port)
    ended = page.get_by_test_id("session-ended")
    expect(ended).to_be_visible(timeout=30_000)
    expect(ended).to_contain_text("1 change is not saved")
    pictures.take(page, "ended")
    assert (stored(project) == drawn).all()
    # The new address in a tab of the same browser brings the session back, and the stroke is saved after all.
    other = page.context.new_page()
    other.goto(f"http://127.0.0.1:{again.port}/?token={again.token}")
    page.bring_to_front()
    with contextlib.suppress(PlaywrightError):  # it also tries by itself, and may be quicker
        page.get_by_role("button", name="Try again").click(timeout=1000)
    expect(page.get_by_test_id("save-state")).to_have_attribute("data-state", "saved", timeout=30_000)
    after = stored(project)
    assert after[250, 240] > 0
    assert ((after == drawn) | (drawn == 0)).all()


def test_without_a_network_strokes_wait(
    project: Project, serve: Serve, enter: Enter, watch: Watch, pictures: Pictures
) -> None:
    page = enter(serve(project.folder))
    desk = Desk.open(page, project)
    watch.allow(GONE)
    before = state_of(project).edit
    page.context.set_offline(True)
    for x in (220, 250, 280):
        desk.drag((x, 200), (x, 240))
    expect(page.get_by_test_id("save-state")).to_have_attribute("data-state", "failed")
    expect(page.get_by_test_id("save-state")).to_contain_text("not saved: retrying")
    pictures.take(page, "retrying")
    assert state_of(project).edit == before
    page.context.set_offline(False)
    desk.saved()
    labels = desk.labels()
    assert len({int(labels[220, x]) for x in (220, 250, 280)} - {0}) == 3
    assert state_of(project).n_strokes == 3, "each stroke once"


def test_an_old_version_comes_back(project: Project, serve: Serve, enter: Enter, pictures: Pictures) -> None:
    page = enter(serve(project.folder))
    desk = Desk.open(page, project)
    with desk.change():
        desk.drag((220, 250), (260, 250))
    drawn = desk.labels()
    page.get_by_role("button", name="Versions").click()
    row = page.get_by_test_id("version").filter(has_text="Version 1")
    row.get_by_role("button", name="Preview").click()
    desk.ready()
    assert (desk.labels() == drawn).all(), "looking changes nothing"
    pictures.take(page, "preview")
    row.get_by_role("button", name="Restore this version").click()
    expect(page.get_by_test_id("version")).to_have_count(3)
    assert (desk.labels() == touching()).all()
    history = Project.open(project.folder).history("a")
    assert [each.source for each in history] == ["import", "page:before-restore", "restore:1"]
    assert (project.labels(history[1]) == drawn).all()


def test_unusable_and_back(project: Project, serve: Serve, enter: Enter, pictures: Pictures) -> None:
    page = enter(serve(project.folder))
    Desk.open(page, project).key("x")
    dialog = page.get_by_test_id("unusable-dialog")
    dialog.get_by_role("combobox", name="Reason").fill("out of focus")
    pictures.take(page, "reason")
    dialog.get_by_role("button", name="Mark as unusable").click()
    row = page.locator("[data-testid=image-row][data-image='1']")
    expect(row.get_by_test_id("state")).to_have_attribute("data-state", "unusable")
    assert Project.open(project.folder).image("a").unusable_reason == "out of focus"
    row.get_by_role("button", name="Usable after all").click()
    expect(row.get_by_test_id("state")).not_to_have_attribute("data-state", "unusable")
    assert Project.open(project.folder).image("a").usable
    assert (stored(project) == touching()).all()


def test_leaving_makes_a_version(project: Project, serve: Serve, enter: Enter) -> None:
    page = enter(serve(project.folder))
    desk = Desk.open(page, project)
    with desk.change():
        desk.drag((220, 250), (260, 250))
    drawn = desk.labels()
    page.get_by_role("link", name=re.compile("Back to the queue")).click()
    newest = until(lambda: (it := desk.newest()) and it.version == 2 and it)
    assert newest.source == "page:leave"
    assert not newest.complete
    assert (project.labels(newest) == drawn).all()
    assert not np.array_equal(drawn, touching())
