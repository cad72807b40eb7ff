"""Long work: asked for, watched, cancelled."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from frugalseg.errors import InputError, StorageError
from frugalseg.server.context import Context
from frugalseg.server.documents import Document, job_document, jobs_document
from frugalseg.server.events import event_stream
from frugalseg.server.job_settings import check_job
from frugalseg.server.requests import Id, JobRequest

MOST_WAITING = 20
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


class UnknownJobError(InputError):
    """There is no job of this number."""


def job_routes(context: Context) -> APIRouter:
    """Routes of jobs, and the stream of events."""
    routes = APIRouter(prefix="/api", tags=["jobs"])
    queue = context.queue

    @routes.get("/jobs")
    def jobs() -> Document:
        return jobs_document(queue.list())

    @routes.post("/jobs", status_code=201)
    def add(asked: JobRequest) -> Document:
        if sum(not each.is_finished for each in queue.list(1000)) >= MOST_WAITING:
            raise InputError("jobs", f"at most {MOST_WAITING} may wait; cancel some")
        settings = check_job(context.project, asked.kind, asked.settings)
        return job_document(queue.add(asked.kind, settings, "page"))

    @routes.post("/jobs/{job_id}/cancel")
    def cancel(job_id: Id) -> Document:
        _known(job_id)
        return job_document(queue.cancel(job_id))

    @routes.get("/events", responses=STREAM, response_class=StreamingResponse)
    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(event_stream(context, request), media_type="text/event-stream")

    def _known(job_id: int) -> None:
        try:
            queue.get(job_id)
        except StorageError:
            raise
        except InputError as error:
            raise UnknownJobError(f"job {job_id}", "is not in this project") from error

    return routes
