"""Requests that follow the server's own description of itself, thousands of them: none may end in a 5xx."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from starlette.testclient import TestClient

from frugalseg.server.app import make_app
from frugalseg.server.context import Context

from .builders import make_client, make_project

STREAMS = "/api/events"

# what is described does not depend on the project
DESCRIPTION = make_app(cast(Context, SimpleNamespace(project=None, queue=None, drawings=None, pictures=None))).openapi()
OPERATIONS = {
    f"{found.ok().method.upper()} {found.ok().path}": found.ok()
    for found in schemathesis.openapi.from_dict(DESCRIPTION).exclude(path=STREAMS).get_all_operations()
}


@pytest.fixture(scope="module")
def bearer(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    return make_client(make_project(tmp_path_factory.mktemp("schema")))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_breaks_the_server(operation: str, bearer: TestClient) -> None:
    play(operation, bearer, 12)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_breaks_the_server_however_many(operation: str, bearer: TestClient) -> None:
    play(operation, bearer, 400)


def play(operation: str, client: TestClient, examples: int) -> None:
    """Send requests that fit an operation's description."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(case=OPERATIONS[operation].as_strategy())
    def each(case: Any) -> None:
        send(case, client)

    each()


def send(case: Any, client: TestClient) -> None:
    """Send a request and judge the answer."""
    asked = case.as_transport_kwargs(base_url=str(client.base_url))
    headers = {name: value for name, value in (asked.get("headers") or {}).items() if name.lower() != "host"}
    with contextlib.suppress(UnicodeError):  # a request that no client can send
        answer = client.request(
            asked["method"],
            asked["url"],
            params=asked.get("params"),
            headers=headers,
            content=asked.get("data"),
            json=asked.get("json"),
        )
        assert answer.status_code < 500, (asked, answer.text)


def test_the_description_covers_the_drawing_routes() -> None:
    assert "POST /api/images/{image_id}/strokes" in OPERATIONS
    assert len(OPERATIONS) > 20
