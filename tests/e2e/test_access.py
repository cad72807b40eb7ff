"""All of the page by keyboard, by finger and by name, on a small screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from frugalseg.project import Project, Reason

from .conftest import Enter, Serve
from .pages import Desk, Pictures, make_project, propose, state_of, touching, until

TOOLS = {"v": "Select", "b": "Brush", "e": "Eraser", "p": "Polygon", "f": "Fill", "s": "Split", "m": "Merge"}

# What a control is called by those who do not see it, is asked of the browser's own accessibility tree.
CONTROLS = {"button", "link", "textbox", "checkbox", "radio", "slider", "spinbutton", "combobox", "application"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Image a holds three objects; b is suggested and empty."""
    project = make_project(tmp_path, n=3, classes=("gland", "artefact"))
    project.annotate("a", touching(), complete=False, source="import")
    project.add_suggestions([Reason("b"), Reason("c")], "test")
    return project


def focused(page: Page) -> dict[str, Any]:
    """The element that has the focus: its name, and whether that can be seen."""
    found: dict[str, Any] = page.evaluate(
        """() => {
            const it = document.activeElement, style = getComputedStyle(it);
            const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
            const named = it.getAttribute("aria-label") || it.innerText || it.getAttribute("data-testid") || it.tagName;
            return { name: named.trim(), tag: it.tagName, ring: ring || style.boxShadow !== "none",
                     inDialog: it.closest("dialog") !== null };
        }"""
    )
    return found


def tab_to(page: Page, name: str, most: int = 60) -> None:
    """Press Tab until what is called so has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        it = focused(page)
        if it["tag"] != "BODY" and name in it["name"]:
            return
    raise AssertionError(f"Tab does not reach {name!r}")


def test_all_but_drawing_by_keyboard(project: Project, serve: Serve, enter: Enter) -> None:
    page = enter(serve(project.folder))
    expect(page.get_by_test_id("suggestion")).to_have_count(2)
    tab_to(page, "annotate b")
    page.keyboard.press("Enter")
    image = project.image("b").id
    desk = Desk(page, project, image).ready()
    for key in TOOLS:
        desk.tool(key)
    page.keyboard.press("n")
    Desk(page, project, project.image("c").id).ready()
    page.keyboard.press("n")
    Desk(page, project, image).ready()
    page.keyboard.press("c")
    expect(page.get_by_test_id("state").first).to_have_attribute("data-state", "annotated")
    before = desk.view()[0]
    page.keyboard.press("+")
    desk.ready()
    assert desk.view()[0] > before
    page.keyboard.press("ArrowRight")
    page.keyboard.press("0")
    desk.ready()
    assert desk.view()[0] == pytest.approx(before)
    tab_to(page, "Back to the queue")
    page.keyboard.press("Enter")
    tab_to(page, "Train the next round")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("train-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("train-dialog")).to_have_count(0)
    until(lambda: focused(page)["name"] == "Train the next round", what="the focus that comes back")
    tab_to(page, "Progress")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("rounds")).to_be_visible()


@pytest.mark.parametrize(("key", "dialog"), [("?", "help"), ("x", "unusable-dialog")])
def test_dialogs_keep_the_focus_and_close(
    project: Project, serve: Serve, enter: Enter, pictures: Pictures, key: str, dialog: str
) -> None:
    page = enter(serve(project.folder))
    desk = Desk.open(page, project)
    page.keyboard.press(key)
    expect(page.get_by_test_id(dialog)).to_be_visible()
    pictures.take(page, dialog)
    for _ in range(8):
        page.keyboard.press("Tab")
        it = focused(page)
        assert it["inDialog"] or it["tag"] == "BODY", it  # the browser's own bar counts as the body
    page.keyboard.press("Escape")
    expect(page.get_by_test_id(dialog)).to_have_count(0)
    desk.tool("e")
    before = state_of(project).edit
    page.keyboard.press(key)
    if dialog == "unusable-dialog":
        page.keyboard.type("bec")  # letters are text here, not tools
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Eraser (E)")).to_have_attribute("aria-pressed", "true")
    assert state_of(project).edit == before


def nameless(page: Page) -> list[str]:
    """Controls of the accessibility tree without a name."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    nodes = [node for node in tree if not node.get("ignored") and node.get("role", {}).get("value") in CONTROLS]
    assert nodes
    return [str(node["role"]) for node in nodes if not node.get("name", {}).get("value", "").strip()]


def clashing(page: Page) -> list[str]:
    """Ids that are there twice, pictures without an alternative, texts of low contrast."""
    found: list[str] = page.evaluate(
        """() => {
            const out = [];
            const ids = [...document.querySelectorAll("[id]")].map(it => it.id);
            for (const id of new Set(ids)) if (ids.filter(it => it === id).length > 1) out.push("id twice: " + id);
            for (const it of document.images) if (!it.hasAttribute("alt")) out.push("no alt: " + it.src);
            const rgb = text => { const v = text.match(/[\\d.]+/g).map(Number); return v.length < 4 ? [...v, 1] : v; };
            const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walk.nextNode()) {
                const it = walk.currentNode.parentElement;
                if (!walk.currentNode.data.trim() || !it.checkVisibility({ visibilityProperty: true })) continue;
                if (it.closest("[disabled], option, svg, .hidden")) continue;
                let back = null;
                for (let at = it; at && !back; at = at.parentElement) {
                    const style = getComputedStyle(at);
                    if (style.backgroundImage !== "none") break;
                    const colour = rgb(style.backgroundColor);
                    if (colour[3] === 1) back = colour;
                    else if (colour[3] > 0) break;
                }
                if (!back) continue;
                const style = getComputedStyle(it), [a, b] = [light(rgb(style.color)), light(back)];
                const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                const large = parseFloat(style.fontSize) >= 24;
                if (ratio < (large ? 3 : 4.5)) out.push(`contrast ${ratio.toFixed(2)}: ${walk.currentNode.data}`);
            }
            return out;
        }"""
    )
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_have_names_and_texts_contrast(
    project: Project, serve: Serve, enter: Enter, pictures: Pictures, scheme: str
) -> None:
    page = enter(serve(project.folder), color_scheme=scheme)
    expect(page.get_by_test_id("suggestion")).to_have_count(2)
    found = {"queue": nameless(page) + clashing(page)}
    pictures.take(page, f"queue-{scheme}", full_page=True)
    page.get_by_role("link", name="Progress").click()
    expect(page.get_by_test_id("rounds")).to_be_visible()
    found["progress"] = nameless(page) + clashing(page)
    page.get_by_role("link", name="Queue").click()
    Desk.open(page, project)
    page.get_by_role("button", name="Versions").click()
    expect(page.get_by_test_id("version")).to_have_count(1)
    found["versions"] = nameless(page) + clashing(page)
    page.get_by_role("button", name="Close versions").click()
    found["annotate"] = nameless(page) + clashing(page)
    pictures.take(page, f"annotate-{scheme}")
    page.keyboard.press("?")
    found["help"] = nameless(page) + clashing(page)
    assert not {name: wrong for name, wrong in found.items() if wrong}


def test_the_focus_is_seen(project: Project, serve: Serve, enter: Enter) -> None:
    page = enter(serve(project.folder))
    expect(page.get_by_test_id("suggestion")).to_have_count(2)
    unseen = []
    for screen in ("queue", "annotate"):
        if screen == "annotate":
            Desk.open(page, project)
        for _ in range(25):
            page.keyboard.press("Tab")
            it = focused(page)
            if it["tag"] != "BODY" and not it["ring"]:
                unseen.append(f"{screen}: {it['name']}")
    assert not unseen


@pytest.mark.parametrize("size", [(1280, 720), (1024, 640)])
def test_the_annotate_screen_needs_no_scrolling(
    project: Project, serve: Serve, enter: Enter, pictures: Pictures, size: tuple[int, int]
) -> None:
    page = enter(serve(project.folder), viewport={"width": size[0], "height": size[1]})
    Desk.open(page, project)
    pictures.take(page, f"{size[0]}")
    beyond = page.evaluate(
        """() => {
            const top = document.scrollingElement;
            const scrolls = top.scrollHeight > innerHeight || top.scrollWidth > innerWidth;
            const controls = [...document.querySelectorAll("button, input, a")].filter(it => it.checkVisibility());
            const out = controls.filter(it => {
                const box = it.getBoundingClientRect();
                return box.right > innerWidth || box.bottom > innerHeight || box.left < 0 || box.top < 0;
            });
            return [scrolls, out.map(it => it.ariaLabel || it.innerText || it.name)];
        }"""
    )
    assert beyond[0] is False
    if size == (1280, 720):
        assert beyond[1] == []


def test_the_panel_of_a_proposal_fits(project: Project, serve: Serve, enter: Enter, pictures: Pictures) -> None:
    propose(project, "b")
    page = enter(serve(project.folder))
    Desk.open(page, project, project.image("b").id)
    expect(page.get_by_test_id("proposal-count")).to_contain_text("0 of 3")
    panel = page.get_by_role("complementary", name="Settings of the drawing")
    pictures.take(page, "proposal")
    assert panel.evaluate("it => it.scrollHeight - it.clientHeight") <= 0


def test_one_finger_draws_and_two_move(project: Project, serve: Serve, enter: Enter) -> None:
    page = enter(serve(project.folder), has_touch=True)
    desk = Desk.open(page, project)
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *fingers: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    with desk.change():
        send("touchStart", desk.at(220, 240))
        for x in range(222, 262, 4):
            send("touchMove", desk.at(x, 240))
        send("touchEnd")
    labels = desk.labels()
    assert labels[240, 240] == 4
    assert set(np.unique(labels[touching() == 0])) == {0, 4}
    before, edit = desk.view(), state_of(project).edit
    a, b = desk.at(100, 200), desk.at(200, 200)
    send("touchStart", a)
    send("touchStart", a, b)
    for step in range(1, 11):
        send("touchMove", (a[0] - 6 * step, a[1]), (b[0] + 6 * step, b[1]))
    send("touchEnd")
    desk.ready()
    assert desk.view()[0] > 1.2 * before[0]
    assert state_of(project).edit == edit
    assert (desk.labels() == labels).all(), "what the first finger began was not meant"
