"""Who may talk to the server: holders of the session's token, from this machine's own page."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = frozenset({("GET", "/"), ("HEAD", "/")})
"""What answers without a token: the entry, which takes the token from the address and says what is missing."""

OPEN_THIS = "Open the whole address that 'frugalseg serve' printed."

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

LARGEST_BODY = 64 * 2**10
LARGEST_BODIES: Mapping[str, int] = {"/strokes": 24 * 2**20, "/uploads": 64 * 2**20}
"""Largest request by the end of its path; `LARGEST_BODY` for all others."""

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
        " worker-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class BodyTooLargeError(Exception):
    """More was sent than the path takes; the application answers it."""


def refusal(status: int, where: str, reason: str) -> JSONResponse:
    """An error as all are told: a list of problems."""
    return JSONResponse({"problems": [{"where": where, "reason": reason}]}, status)


class Guard:
    """ASGI middleware before everything else: host, origin, token, size of the body, headers of every answer."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app = app
        self._token = token
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self._cookie = cookie_name(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets here
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        answer = self._refuse(scope) or self._enter(scope)
        if answer is not None:
            await answer(scope, receive, send_with_headers)
            return
        await self._pass(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]
        if headers.getlist("host") not in [[host] for host in self._hosts]:
            return refusal(403, "Host", "is not this server's address")
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self._hosts}:
            return refusal(403, "Origin", "is another page")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and (method, path) not in OPEN:
            return refusal(403, "Sec-Fetch-Site", "the request comes from another page")
        if (method, path) in OPEN:
            return None
        if not self._knows(headers):
            return refusal(401, "session", "has ended; open the address that 'frugalseg serve' printed")
        if method not in SAFE and origin is None and not self._bears(headers):
            return refusal(403, "Origin", "is missing, and a cookie alone may change nothing")
        return None

    def _knows(self, headers: Headers) -> bool:
        return self._bears(headers) or self._equal(_cookie_value(headers, self._cookie))

    def _bears(self, headers: Headers) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._equal(value)

    def _equal(self, value: str) -> bool:
        return hmac.compare_digest(value.encode("utf-8", "surrogatepass"), self._token.encode())

    def _enter(self, scope: Scope) -> Response | None:
        """At the entry: a token in the address becomes a cookie, and leaves the address."""
        if (scope["method"], scope["path"]) not in OPEN:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if given is not None:
            if not self._equal(given[-1]):
                return PlainTextResponse(f"This key is of another session. {OPEN_THIS}\n", 401)
            response = RedirectResponse("/", 303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
            return response
        if not self._knows(Headers(scope=scope)):
            return PlainTextResponse(f"This page needs its key. {OPEN_THIS}\n", 401)
        return None

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = next((n for end, n in LARGEST_BODIES.items() if scope["path"].endswith(end)), LARGEST_BODY)
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > limit:
            await refusal(413, "body", f"is larger than {limit} bytes")(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLargeError(f"is larger than {limit} bytes")
            return message

        await self._app(scope, counted, send)


def cookie_name(port: int) -> str:
    """Cookies know no ports, so two servers on one machine need two names."""
    return f"frugalseg_{port}"


def _cookie_value(headers: Headers, name: str) -> str:
    """The value of a cookie of ours; cookies of other programs on this machine come along, in whatever form."""
    for pair in headers.get("cookie", "").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value.strip('"')
    return ""
