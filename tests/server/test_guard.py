"""Nobody without the token, no other page, no path, nothing too large."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from frugalseg.project import Project
from frugalseg.server.app import make_app
from frugalseg.server.context import Context
from frugalseg.server.guard import HEADERS, OPEN

from .builders import HOME, PORT, TOKEN, make_client

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X")

PATHS = [
    "/",
    "/api/project",
    "/api/project/classes",
    "/api/uploads?name=x.png",
    "/api/images",
    "/api/queue",
    "/api/images/1",
    "/api/images/1/tiles/0/0/0",
    "/api/images/1/thumbnail",
    "/api/slides/1/tiles/1/1_1",
    "/api/images/1/overlay/0",
    "/api/images/1/uncertainty",
    "/api/images/1/labels?x=0&y=0&w=9&h=9",
    "/api/images/1/proposed",
    "/api/images/1/strokes",
    "/api/images/1/versions",
    "/api/images/1/versions/1/restore",
    "/api/images/1/resolve",
    "/api/images/1/start",
    "/api/images/1/unusable",
    "/api/jobs",
    "/api/jobs/1/cancel",
    "/api/events",
    "/api/openapi.json",
    "/assets/index.js",
    "/docs",
    "/nothing",
]
BODIES: dict[str, Any] = {
    "/api/project/classes": {"classes": ["x"]},
    "/api/images/1/unusable": {"reason": "x"},
    "/api/images/1/versions": {"edit": "e0.0", "complete": True, "why": "submit"},
    "/api/images/1/versions/1/restore": {"edit": "e0.0"},
    "/api/images/1/resolve": {"edit": "e0.0", "keep": "mine"},
    "/api/images/1/start": {"edit": "e0.0", "from": "empty"},
    "/api/images/1/strokes": {"edit": "e0.0", "stroke": "abcdefgh", "tool": "class", "x": 0, "y": 0, "w": 0, "h": 0},
    "/api/jobs": {"kind": "suggest"},
    "/api/jobs/1/cancel": {},
}
WRITES = [
    ("PUT", "/api/project/classes"),
    ("POST", "/api/uploads?name=x.png"),
    ("POST", "/api/images/1/strokes"),
    ("POST", "/api/images/1/versions"),
    ("POST", "/api/images/1/versions/1/restore"),
    ("POST", "/api/images/1/resolve"),
    ("POST", "/api/images/1/start"),
    ("PUT", "/api/images/1/unusable"),
    ("DELETE", "/api/images/1/unusable"),
    ("POST", "/api/jobs"),
    ("POST", "/api/jobs/1/cancel"),
]
STRANGERS = (
    "http://evil.example",
    "https://127.0.0.1:8377",
    "http://127.0.0.1:8378",
    "http://127.0.0.1",
    "http://127.0.0.1:8377.evil.example",
    "http://127.0.0.1:8377@evil.example",
    "http://localhost:8377/",
    "http://LOCALHOST:8377",
    "null",
    "file://",
    "",
    "chrome-extension://abc",
)
HOSTS = (
    "evil.example",
    "evil.example:8377",
    "127.0.0.1",
    "127.0.0.1:8378",
    "127.0.0.1:8377.evil.example",
    "127.0.0.1:8377@evil.example",
    "localhost.evil.example:8377",
    "[::1]:8377",
    "0.0.0.0:8377",
    "2130706433:8377",
    "127.1:8377",
    "",
)
TRAVERSALS = (
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd",
    "..\\..\\windows\\win.ini",
    "..%5c..%5cwin.ini",
    "%252e%252e%252fetc%252fpasswd",
    "..%c0%af..%c0%afetc%c0%afpasswd",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "1/../../2",
    "1%00",
    "~root",
    "project.sqlite",
    "%2e",
)
IDS = (
    "0",
    "-1",
    "99",
    "9007199254740992",
    "9007199254740993",
    "18446744073709551616",
    "1e3",
    "0x1",
    "a",
    "%20",
    "1;2",
    "None",
    "١",
)


def routes(listed: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Method and path of every route, those of included routers too, with 1 for each number in the path."""
    for route in listed:
        if hasattr(route, "original_router"):
            yield from routes(route.original_router.routes)
        elif isinstance(route, Mount):
            yield "GET", f"{route.path}/index.js"
        else:
            for method in route.methods:
                yield method, re.sub(r"\{\w+\}", "1", route.path)


def test_every_route_asks_for_the_token(shared_project: Project) -> None:
    stranger = make_client(shared_project, **{"user-agent": "stranger"})
    found = set(routes(make_app(Context.open(shared_project.folder)).routes))
    assert len(found) > 20
    answered = {
        (method, path) for method, path in found if stranger.request(method, path).status_code not in (401, 403)
    }
    assert answered == set(), "not even the entry, which says what is missing"
    assert {("GET", "/")} < OPEN, "the entry is where the token is taken"
    known = {re.sub(r"/\d+(?=/|$)", "/1", path.partition("?")[0]) for path in PATHS}
    assert {path for _, path in found} <= known, "a new route belongs in the list of this test"


@pytest.mark.parametrize("path", PATHS)
def test_no_method_answers_without_the_token(shared_project: Project, path: str) -> None:
    for headers in (
        {"x-none": "1"},
        {"authorization": "Bearer wrong"},
        {"cookie": f"frugalseg_{PORT}=wrong"},
        {"authorization": f"Basic {TOKEN}"},
    ):
        stranger = make_client(shared_project, **headers)
        for method in METHODS:
            assert stranger.request(method, path).status_code in (401, 403), (method, path, headers)


def test_the_opened_address_gives_a_cookie_and_loses_its_token(shared_project: Project) -> None:
    browser = make_client(shared_project, **{"user-agent": "browser"})
    assert browser.get("/?token=wrong").status_code == 401
    entered = browser.get(f"/?token={TOKEN}")
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert all(part in cookie for part in (f"frugalseg_{PORT}=", "HttpOnly", "SameSite=strict", "Path=/"))
    assert browser.get("/api/project").status_code == 200
    assert TOKEN not in browser.get("/api/project").text


@pytest.mark.parametrize("others", ['foo={"a":1}', "flag", "a b=1", "x=\xe9", f"frugalseg_{PORT + 1}=other"])
def test_cookies_of_other_programs_do_not_matter(shared_project: Project, others: str) -> None:
    for cookies in (f"{others}; frugalseg_{PORT}={TOKEN}", f"frugalseg_{PORT}={TOKEN}; {others}"):
        browser = make_client(shared_project, cookie=cookies.encode("latin-1"))
        assert browser.get("/api/project").status_code == 200, cookies


def test_a_cookie_alone_changes_nothing(shared_project: Project) -> None:
    browser = make_client(shared_project, cookie=f"frugalseg_{PORT}={TOKEN}")
    for method, path in WRITES:
        assert browser.request(method, path, json=BODIES.get(path, {})).status_code == 403, path


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_other_pages_write_nothing(shared_project: Project, method: str, path: str) -> None:
    before = (shared_project.folder / "project.sqlite").stat().st_mtime_ns, shared_project.images()
    for token in ({"authorization": f"Bearer {TOKEN}"}, {"cookie": f"frugalseg_{PORT}={TOKEN}"}):
        browser = make_client(shared_project, **token)
        for origin in STRANGERS:
            answer = browser.request(method, path, json=BODIES.get(path, {}), headers={"origin": origin})
            assert answer.status_code == 403, (origin, answer.text)
        for host in HOSTS:
            answer = browser.request(method, path, json=BODIES.get(path, {}), headers={"host": host, "origin": HOME})
            assert answer.status_code == 403, (host, answer.text)
        for site in ("cross-site", "same-site"):
            headers = {"origin": HOME, "sec-fetch-site": site}
            assert browser.request(method, path, json=BODIES.get(path, {}), headers=headers).status_code == 403
    assert ((shared_project.folder / "project.sqlite").stat().st_mtime_ns, shared_project.images()) == before


@pytest.mark.parametrize("text", TRAVERSALS)
def test_paths_are_not_taken(shared: TestClient, text: str) -> None:
    for place in (
        "/api/images/{}",
        "/api/images/{}/thumbnail",
        "/api/images/1/tiles/{}/0/0",
        "/api/jobs/{}/cancel",
        "/assets/{}",
        "/{}",
        "/api/images/1/overlay/{}",
    ):
        method = "POST" if place.endswith("cancel") else "GET"
        answer = shared.request(method, place.format(text))
        assert answer.status_code in (401, 403, 404, 405, 422), (place, text, answer.status_code)
        assert "root:" not in answer.text
    answer = shared.post("/api/uploads", params={"name": text}, content=b"x")
    assert answer.status_code == 422
    answer = shared.post("/api/uploads", params={"name": text + ".png"}, content=b"x")
    assert answer.status_code == 422, "and content that is no image is refused whatever its name"


@pytest.mark.parametrize("number", IDS)
def test_unknown_numbers_are_refused(shared: TestClient, number: str) -> None:
    for path in PATHS:
        if "/1" not in path:
            continue
        asked = path.replace("/1", f"/{number}", 1)
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = shared.request(method, asked, json=BODIES.get(path, {}))
            assert answer.status_code in (404, 405, 422), (method, asked, answer.text)
    assert shared.get("/api/images/1").json()["edit"] == "e0.0"


def test_answers_carry_the_headers_that_keep_pages_apart(shared: TestClient) -> None:
    for path in ("/", "/api/project", "/api/images/1/thumbnail", "/nothing", "/api/images/99"):
        headers = shared.get(path).headers
        assert {name: headers.get(name) for name in HEADERS} == dict(HEADERS), path
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not any(name.startswith("access-control") for name in shared.get("/api/project").headers)


def test_bodies_are_limited(shared: TestClient) -> None:
    assert shared.post("/api/jobs", content=b"x" * 70_000).status_code == 413
    assert shared.post("/api/images/1/strokes", content=b"x" * (25 * 2**20)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 2**20

    assert shared.post("/api/uploads?name=a.png", content=endless()).status_code == 413
    assert shared.post("/api/jobs", content=b"{}", headers={"content-length": "-5"}).status_code == 413


def test_there_are_no_websockets(shared: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as caught, shared.websocket_connect("/api/events"):
        pass
    assert caught.value.code == 1008


def test_api_routes_are_documented(shared: TestClient, shared_project: Project) -> None:
    documented = {re.sub(r"\{\w+\}", "1", path) for path in shared.get("/api/openapi.json").json()["paths"]}
    found = {path for _, path in routes(make_app(Context.open(shared_project.folder)).routes)}
    assert {path for path in found if path.startswith("/api/")} - {"/api/openapi.json"} == documented
