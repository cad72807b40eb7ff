"""The application: routes, errors, the page's files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from frugalseg import __version__
from frugalseg.errors import FrugalsegError, InputError, StorageError
from frugalseg.project import ConflictError, UnknownImageError
from frugalseg.server.context import Context
from frugalseg.server.guard import BodyTooLargeError, Guard, refusal
from frugalseg.server.routes_drawings import drawing_routes
from frugalseg.server.routes_images import NothingThereError, image_routes
from frugalseg.server.routes_jobs import UnknownJobError, job_routes
from frugalseg.server.routes_project import project_routes
from frugalseg.server.routes_slides import slide_routes

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
"""The built page; made from ``web/``."""


def make_app(context: Context) -> FastAPI:
    """Routes and page, without the guard."""
    app = FastAPI(
        title="frugalseg", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )
    for make in (project_routes, image_routes, slide_routes, drawing_routes, job_routes):
        app.include_router(make(context))
    _explain(app)

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        page = STATIC / "index.html"
        if not page.is_file():
            return refusal(503, "page", "was not built; 'make page' builds it")
        return FileResponse(page, headers={"cache-control": "no-cache"})

    if (STATIC / "assets").is_dir():
        app.mount("/assets", StaticFiles(directory=STATIC / "assets"), name="assets")
    return app


def guarded(app: FastAPI, *, token: str, port: int) -> ASGIApp:
    """The application behind its guard."""
    return Guard(app, token=token, port=port)


def _explain(app: FastAPI) -> None:
    """Errors as lists of problems; the words of the command line."""

    def on(kind: type[Exception], status: int, more: Callable[[Any], dict[str, Any]] = lambda error: {}) -> None:
        @app.exception_handler(kind)
        def answer(request: Request, error: Exception) -> JSONResponse:
            return JSONResponse({"problems": _problems(error), **more(error)}, status)

    on(InputError, 422)
    on(UnknownImageError, 404)
    on(UnknownJobError, 404)
    on(NothingThereError, 404)
    on(ConflictError, 409, lambda error: {"edit": error.edit, "reason": error.reason})
    on(RequestValidationError, 422)
    on(FrugalsegError, 422)
    on(BodyTooLargeError, 413)
    on(StorageError, 503)
    on(OSError, 507)
    app.add_exception_handler(HTTPException, _http)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"problems": [{"where": request.url.path, "reason": str(error.detail)}]}, error.status_code, error.headers
    )


def _problems(error: Exception) -> list[dict[str, str]]:
    if isinstance(error, InputError):
        return [{"where": each.where, "reason": each.reason} for each in error.problems]
    if isinstance(error, RequestValidationError):
        return [
            {"where": ".".join(map(str, each["loc"])) or "request", "reason": str(each["msg"])}
            for each in error.errors()[:20]
        ]
    if isinstance(error, NothingThereError):
        return [{"where": "picture", "reason": "is not there"}]
    if isinstance(error, OSError):
        log.warning("%s", error)
        return [{"where": "disk", "reason": error.strerror or "cannot be read or written"}]
    return [{"where": "request", "reason": str(error)}]
