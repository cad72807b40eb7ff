"""The page as a person uses it: by mouse, finger and key, at places of the image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from skimage.measure import approximate_polygon, find_contours

from frugalseg.arrays import LabelMap
from frugalseg.images import write_image, write_label_map
from frugalseg.project import Drawings, Project
from frugalseg.project.round_files import proposal_file, uncertainty_file
from frugalseg.synthetic import synthetic_glands

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIDE = 320
Place = tuple[float, float]


def write_glands(folder: Path, n: int, side: int = SIDE) -> list[Path]:
    """Synthetic images of glands, named a, b, …"""
    files = [folder / f"{name}.png" for name in "abcdefghijklmnop"[:n]]
    for seed, file in enumerate(files):
        write_image(file, synthetic_glands(seed + 1, height=side, width=side).image)
    return files


def truth(name: str, side: int = SIDE) -> LabelMap:
    """The glands of an image that `write_glands` wrote."""
    return synthetic_glands("abcdefghijklmnop".index(name) + 1, height=side, width=side).labels


def corners(mask: NDArray[np.bool_]) -> list[Place]:
    """Where a person would click around an object: few corners, none beside the last one or the first one."""
    contour = max(find_contours(np.pad(mask, 1).astype(float), 0.5), key=len) - 1
    rough = approximate_polygon(contour, 2.2)[:-1, ::-1].clip(0, np.array(mask.shape[::-1]) - 1)
    found = [rough[0]]
    for place in rough[1:]:
        if min(np.hypot(*(place - found[-1])), np.hypot(*(place - found[0]))) > 6:
            found.append(place)
    return [(float(x), float(y)) for x, y in found]


def make_project(folder: Path, n: int = 2, classes: tuple[str, ...] = ("gland",)) -> Project:
    """A project of synthetic images a, b, …, without annotations."""
    project = Project.create(folder / "glands", classes)
    project.add_images(write_glands(folder / "source", n))
    return project


def touching() -> NDArray[np.int32]:
    """Objects 1 and 2 share an edge along x = 160, between y = 60 and 160; object 3 lies alone below."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[60:160, 60:160] = 1
    labels[60:160, 160:260] = 2
    labels[220:280, 60:120] = 3
    return labels


def propose(project: Project, image: str) -> int:
    """As if a round had proposed the three objects for an image; its number."""
    others = [each for each in project.images() if each.name != image and each.annotation is not None]
    number = project.begin_round({}, others).number
    project.finish_round(number, {})
    write_label_map(proposal_file(project.folder, number, image), touching())
    doubt = np.linspace(0, 255, SIDE // 4 * SIDE // 4).reshape(SIDE // 4, SIDE // 4).astype(np.uint8)
    write_image(uncertainty_file(project.folder, number, image), doubt)
    return number


def stored(project: Project, image: int = 1) -> NDArray[np.int32]:
    """The drawing that the project holds now, read from its files and not from the server."""
    found = Project.open(project.folder)
    row = found.image_numbered(image)
    return Drawings(found).labels(image, (0, 0, row.width, row.height))[1]


def state_of(project: Project, image: int = 1) -> Any:
    """Where the drawing stands that the project holds now."""
    return Drawings(Project.open(project.folder)).state(image)


def until(true: Callable[[], Any], seconds: float = 20, what: str = "it") -> Any:
    """Waits for a value that counts as true, and gives it."""
    end = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not come true in {seconds} s"
        time.sleep(0.03)


@dataclass
class Pictures:
    """A folder of screenshots."""

    folder: Path
    test: str

    def take(self, page: Page, name: str, **how: Any) -> Path:
        """A screenshot of what is seen now, with all pictures in it loaded."""
        page.wait_for_function(
            """() => [...document.images].every(it => {
                const box = it.getBoundingClientRect();
                return it.complete || box.top > innerHeight || box.bottom < 0;
            })"""
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{self.test}-{name}.png"
        page.screenshot(path=file, **how)
        return file


class Desk:
    """The annotate screen of one image."""

    def __init__(self, page: Page, project: Project, image: int = 1) -> None:
        self.page, self.project, self.image = page, project, image
        self.canvas = page.get_by_test_id("drawing")

    @property
    def name(self) -> str:
        """Of the image."""
        return self.project.image_numbered(self.image).name

    @classmethod
    def open(cls, page: Page, project: Project, image: int = 1) -> Desk:
        """Open an image from the list of the queue screen."""
        page.locator(f"[data-testid=image-row][data-image='{image}'] a").first.click()
        return cls(page, project, image).ready()

    def ready(self) -> Desk:
        """Once all that is in view is painted and nothing moves."""
        expect(self.page.get_by_test_id("image-name")).to_have_text(self.name)
        expect(self.canvas).to_have_attribute("data-ready", "true", timeout=20_000)
        before = None
        while (now := self.view()) != before:
            before = now
            self.page.wait_for_timeout(80)
        expect(self.canvas).to_have_attribute("data-ready", "true")
        return self

    def view(self) -> tuple[float, float, float]:
        """Scale, and the place in the image of the canvas's corner."""
        found = self.canvas.evaluate("it => [it.dataset.scale, it.dataset.originX, it.dataset.originY].map(Number)")
        return found[0], found[1], found[2]

    def at(self, x: float, y: float) -> Place:
        """The middle of an image pixel, on the page."""
        scale, left, top = self.view()
        box = self.canvas.bounding_box()
        assert box is not None
        return box["x"] + (x + 0.5 - left) * scale, box["y"] + (y + 0.5 - top) * scale

    # ------------------------------------------------------------------------------------------------ acting

    def hover(self, x: float, y: float) -> None:
        """Move the mouse over a pixel."""
        self.page.mouse.move(*self.at(x, y))

    def click(self, x: float, y: float) -> None:
        """Click a pixel."""
        self.page.mouse.click(*self.at(x, y))

    def press(self, places: Sequence[Place]) -> None:
        """Press at the first place and drag over the others; the button stays down."""
        first, *others = [self.at(*place) for place in places]
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for place in others:
            self.page.mouse.move(*place, steps=4)

    def drag(self, *places: Place) -> None:
        """Drag over places."""
        self.press(places)
        self.page.mouse.up()

    def polygon(self, *corners: Place) -> None:
        """Click the corners; Enter closes."""
        for corner in corners:
            self.click(*corner)
        self.page.keyboard.press("Enter")

    def key(self, key: str) -> None:
        """Press a key."""
        self.page.keyboard.press(key)

    def tool(self, key: str) -> None:
        """Choose a tool by its key."""
        self.key(key)
        expect(self.page.get_by_role("toolbar").get_by_role("button", name=f"({key.upper()})")).to_have_attribute(
            "aria-pressed", "true"
        )

    def brush_size(self, px: int) -> None:
        """Set the slider of the brush by its keys, as near as its steps allow."""
        slider = self.page.get_by_role("slider", name="Size")
        slider.focus()
        slider.press("Home")
        for _ in range(200):
            if int((slider.get_attribute("aria-valuetext") or "0").split()[0]) >= px:
                break
            slider.press("ArrowRight")
        self.canvas.focus()

    # ------------------------------------------------------------------------------------------------ what came of it

    def labels(self) -> NDArray[np.int32]:
        """The stored drawing."""
        return stored(self.project, self.image)

    def saved(self) -> Desk:
        """Once the page says so."""
        expect(self.page.get_by_test_id("save-state")).to_have_attribute("data-state", "saved", timeout=20_000)
        return self

    @contextmanager
    def change(self) -> Any:
        """What is done within changes the drawing; afterwards it is stored, and the page says so."""
        before = state_of(self.project, self.image).edit
        yield
        until(lambda: state_of(self.project, self.image).edit != before, what="a stored change")
        self.saved()

    def newest(self) -> Any:
        """The newest version; None if there is none."""
        return Project.open(self.project.folder).image_numbered(self.image).annotation
