"""What happens meanwhile, as server-sent events: jobs as they change, rows of a training as they are written."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from frugalseg.jobs import progress_rows
from frugalseg.project import Job
from frugalseg.server.context import Context
from frugalseg.server.documents import jobs_document

EVERY_S = 0.5
QUIET_S = 15.0
"""A comment is sent after so long a silence, so that a lost connection is noticed."""

MOST_STREAMS = 16

_open = threading.BoundedSemaphore(MOST_STREAMS)


async def event_stream(context: Context, request: Request) -> AsyncIterator[str]:
    """Events until the browser goes: ``jobs`` and ``progress``; none, and a request to wait, if too many listen."""
    if not _open.acquire(blocking=False):
        yield "retry: 30000\n\n"
        return
    try:
        news = News(context)
        yield "retry: 1000\n\n"
        quiet = 0.0
        while not await request.is_disconnected():
            said = False
            for name, document in await run_in_threadpool(lambda: list(news.look())):
                yield f"event: {name}\ndata: {json.dumps(document, allow_nan=False)}\n\n"
                said = True
            quiet = 0.0 if said else quiet + EVERY_S
            if quiet >= QUIET_S:
                yield ": still here\n\n"
                quiet = 0.0
            await anyio.sleep(EVERY_S)
    finally:
        _open.release()


class News:
    """What one listener has not heard yet."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._jobs: dict[str, Any] | None = None
        self._sent: dict[int, list[dict[str, Any]]] = {}

    def look(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Events since the last look."""
        jobs = self._context.queue.list()
        document = jobs_document(jobs)
        trainings = [each for each in jobs if each.kind == "train" and each.started_at is not None][:1]
        for job in trainings:  # rows before the job's end, so that none comes after it
            yield from self._progress(job)
        if document != self._jobs:
            self._jobs = document
            yield "jobs", document

    def _progress(self, job: Job) -> Iterator[tuple[str, dict[str, Any]]]:
        rows = progress_rows(self._context.project, job)
        sent = self._sent.get(job.id)
        if sent is None or any(row not in rows for row in sent):  # written anew after a kill
            self._sent = {job.id: rows}
            yield "progress", {"job": job.id, "rows": rows, "first": True}
            return
        new = [row for row in rows if row not in sent]
        if new:
            self._sent = {job.id: rows}
            yield "progress", {"job": job.id, "rows": new}
