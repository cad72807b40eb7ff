"""A real browser before a real server that runs the installed wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright
from server.serving import Server, start_server

from .installing import PAGE, Installed, install_wheel
from .pages import CHROMIUM, FLAGS, Pictures


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, installed; without a built page or a browser all tests that need them are skipped."""
    if not PAGE.is_file():
        pytest.skip("the page was not built; 'make page' builds it, and 'make test' does, too")
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is missing; on Debian: apt-get install chromium")
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is missing; it is of the dependency group 'test'")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    installed = install_wheel(shared / "wheel")
    assert installed.package() == installed.site / "frugalseg", "the package that runs is not the wheel's"
    served = (installed.site / "frugalseg" / "server" / "static" / "index.html").read_bytes()
    assert served == PAGE.read_bytes(), "the page in the wheel is the one that was built"
    return installed


Serve = Callable[..., Server]


@pytest.fixture
def serve(installed: Installed) -> Iterator[Serve]:
    """Starts servers of the wheel, which end with the test."""
    running: list[Server] = []

    def start(project: Path, **how: Any) -> Server:
        running.append(start_server(project, env=installed.env, cwd=installed.elsewhere, **how))
        return running[-1]

    yield start
    for server in running:
        server.process.terminate()
    for server in running:
        with contextlib.suppress(Exception):
            server.process.wait(10)
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def playwright(installed: Installed) -> Iterator[Playwright]:
    """For one module: while it lives, its thread can run no other event loop."""
    with sync_playwright() as it:
        yield it


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
    yield browser
    browser.close()


@dataclass
class Watch:
    """What went wrong in the pages of a test; what is expected there is allowed by a pattern."""

    allowed: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """From here to the end of the test."""
        self.allowed.append(pattern)

    def follow(self, page: Page) -> None:
        """Errors of the console (violations of the content security policy are among them) and of scripts."""
        page.on("console", lambda said: self.seen.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.seen.append(f"uncaught: {error}"))

    def unexpected(self) -> list[str]:
        """All that nothing allows."""
        return [text for text in self.seen if not any(re.search(each, text) for each in self.allowed)]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test for any error in a page that it did not expect."""
    watch = Watch()
    yield watch
    assert not watch.unexpected()


Enter = Callable[..., Page]


@pytest.fixture
def enter(browser: Browser, watch: Watch) -> Iterator[Enter]:
    """Opens the address that a server printed, in a browser context of its own."""
    contexts: list[BrowserContext] = []

    def open_page(server: Server, **how: Any) -> Page:
        how = {"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce", **how}
        contexts.append(browser.new_context(**how))
        contexts[-1].on("page", watch.follow)
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.goto(f"http://127.0.0.1:{server.port}/?token={server.token}")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Pictures:
    """Takes screenshots into FRUGALSEG_E2E_OUT, else into the test's folder."""
    out = os.environ.get("FRUGALSEG_E2E_OUT")
    return Pictures(Path(out) if out else tmp_path / "pictures", request.node.name.removeprefix("test_"))
