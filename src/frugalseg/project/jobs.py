"""The queue of long work: one row a job, one job at a time, whoever asked for it.

Whose turn it is
----------------
Jobs run one at a time, in the order in which they were added. A ``predict``, which somebody waits for in front of an
image, goes before all queued jobs of other kinds, but never beside a running one.

Who works
---------
A job of the page is started by a supervisor (:mod:`frugalseg.jobs`), one of the command line by the process that added
it. A page's job whose process died goes back into the queue; a command that died has no one to start it again, so its
job has failed, or was cancelled if it was still waiting for its turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from frugalseg.errors import InputError
from frugalseg.project.processes import is_alive, this_process
from frugalseg.project.schema import JobRow, RoundRow

if TYPE_CHECKING:
    from frugalseg.project.project import Project

JobKind = Literal["train", "suggest", "predict"]
JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]
JobSource = Literal["page", "command line"]

MAX_ATTEMPTS = 3
"""So often a job is begun whose process dies; then it has failed."""

_FINISHED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Job:
    """Long work, as it stands.

    Attributes
    ----------
    settings
        What is to be done, by kind.
    message
        Why it failed, in lines; None where there is nothing to say.
    round
        The round that a ``train`` job trains, once it has begun one; of others the round that was asked.
    done, total
        Steps of a training, images of a suggestion; 0 as long as nobody knows.
    cancel
        Whether it is asked to stop.
    pid, process_started
        The process that works on it, or the command that waits for its turn, and when that process began.
    attempts
        How many of its processes have died.
    """

    id: int
    kind: JobKind
    status: JobStatus
    source: JobSource
    settings: Mapping[str, Any]
    message: str | None
    round: int | None
    done: int
    total: int
    cancel: bool
    pid: int | None
    process_started: float | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_finished(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.status in _FINISHED


class JobQueue:
    """The jobs of a project. Every method is a transaction; threads and processes may share a queue."""

    def __init__(self, project: Project) -> None:
        self._store = project._store

    def add(self, kind: JobKind, settings: Mapping[str, Any], source: JobSource) -> Job:
        """Put a job at the end of the queue; one of the command line is this process' own, and ends with it.

        Raises
        ------
        InputError
            There is no such kind or source.
        """
        for name, value, known in (("kind", kind, get_args(JobKind)), ("source", source, get_args(JobSource))):
            if value not in known:
                raise InputError(f"job's {name}", f"must be one of {', '.join(known)}, not {value!r}")
        pid, began = this_process() if source == "command line" else (None, None)
        row = JobRow(
            kind=kind,
            status="queued",
            source=source,
            settings=json.loads(json.dumps(dict(settings), allow_nan=False)),
            done=0,
            total=0,
            cancel=False,
            pid=pid,
            process_started=began,
            attempts=0,
            created_at=datetime.now(UTC),
        )
        with self._store.write() as session:
            session.add(row)
            session.flush()
            return _record(row)

    def get(self, id: int) -> Job:  # noqa: A002 - as the column is called
        """The job of this number; an unknown one is an `InputError`."""
        with self._store.read() as session:
            return _record(_row(session, id))

    def list(self, limit: int = 50) -> tuple[Job, ...]:
        """The newest jobs, the newest first."""
        with self._store.read() as session:
            return tuple(map(_record, session.scalars(select(JobRow).order_by(JobRow.id.desc()).limit(limit))))

    def running(self) -> Job | None:
        """The job that runs, or did when its process was last looked for; None if there is none."""
        with self._store.read() as session:
            row = _running(session)
            return None if row is None else _record(row)

    def next(self) -> Job | None:
        """The job whose turn it is; None while one runs, and if none is queued."""
        with self._store.read() as session:
            row = None if _running(session) is not None else _first_queued(session)
            return None if row is None else _record(row)

    def claim(self, id: int) -> Job | None:  # noqa: A002
        """Make this process the one that works on a queued job; None if it is not its turn, or it is not queued.

        Jobs whose processes have died are given back first, as :meth:`recover` does.
        """
        pid, began = this_process()
        with self._store.write() as session:
            _recover(session)
            row = _row(session, id)
            if row.status != "queued" or _running(session) is not None or _first_queued(session) is not row:
                return None
            row.status, row.pid, row.process_started = "running", pid, began
            row.message, row.started_at = None, datetime.now(UTC)
            session.flush()
            return _record(row)

    def report(self, id: int, done: int, total: int, round: int | None = None) -> Job:  # noqa: A002
        """Note how far a running job is, and which round it works on; a finished one stays as it is."""
        with self._store.write() as session:
            row = _row(session, id)
            if row.status == "running":
                row.done, row.total = done, total
                row.round = row.round if round is None else round
                session.flush()
            return _record(row)

    def finish(self, id: int, status: JobStatus, message: str | None = None) -> Job:  # noqa: A002
        """Say how a job ended; one that has ended stays as it is.

        Raises
        ------
        ValueError
            `status` is none of ``done``, ``failed`` and ``cancelled``.
        """
        if status not in _FINISHED:
            raise ValueError(f"a job ends as one of {', '.join(_FINISHED)}, not {status}")
        return self._unless_finished(id, lambda session, row: _finish(row, status, message))

    def cancel(self, id: int) -> Job:  # noqa: A002
        """Take a queued job out of the queue, ask a running one to stop; a finished one stays as it is."""
        return self._unless_finished(id, _cancel)

    def retry(self, id: int, reason: str) -> Job:  # noqa: A002
        """Count a process that could not finish a job: it is queued again, and fails the third time for `reason`."""
        return self._unless_finished(id, lambda session, row: _retry(session, row, reason))

    def _unless_finished(self, id: int, change: Callable[[Session, JobRow], None]) -> Job:  # noqa: A002
        with self._store.write() as session:
            row = _row(session, id)
            if row.status not in _FINISHED:
                change(session, row)
                session.flush()
            return _record(row)

    def recover(self) -> tuple[Job, ...]:
        """Deal with jobs whose process has died; returns those, as they are now.

        A running job of the page is queued again, with its round, and has failed after `MAX_ATTEMPTS`; one that was
        asked to stop is cancelled. A job of the command line has failed, or is cancelled if its turn had not come.
        """
        with self._store.read() as session:
            if not _dead(session):  # most of the time; so that nobody has to wait for the right to write
                return ()
        with self._store.write() as session:
            rows = _recover(session)
            session.flush()
            return tuple(map(_record, rows))


def _row(session: Session, id: int) -> JobRow:  # noqa: A002
    row = session.get(JobRow, id)
    if row is None:
        raise InputError(f"job {id}", "is not in this project")
    return row


def _running(session: Session) -> JobRow | None:
    return session.scalar(select(JobRow).where(JobRow.status == "running").order_by(JobRow.id).limit(1))


def _first_queued(session: Session) -> JobRow | None:
    order = (case((JobRow.kind == "predict", 0), else_=1), JobRow.id)
    return session.scalar(select(JobRow).where(JobRow.status == "queued").order_by(*order).limit(1))


def _dead(session: Session) -> list[JobRow]:
    """Jobs that a process works on or waits for, which has ended."""
    rows = session.scalars(
        select(JobRow).where(JobRow.status.in_(("queued", "running")), JobRow.pid.is_not(None)).order_by(JobRow.id)
    )
    return [row for row in rows if not is_alive(row.pid, row.process_started)]


def _recover(session: Session) -> list[JobRow]:
    rows = _dead(session)
    for row in rows:
        if row.status == "queued":
            _finish(row, "cancelled", "its command ended before its turn came")
        elif row.cancel:
            _end_cancelled(session, row)
        elif row.source == "command line":
            _finish(row, "failed", "its process ended without a word, as when it is killed; the same command goes on")
        else:
            _retry(session, row, "its process ended without a word, as when it is killed or memory runs out")
    return rows


def _retry(session: Session, row: JobRow, reason: str) -> None:
    row.attempts += 1
    if row.cancel:
        _end_cancelled(session, row)
    elif row.attempts >= MAX_ATTEMPTS:
        _finish(row, "failed", f"{reason} ({row.attempts} times)")
    else:
        row.status, row.pid, row.process_started, row.started_at = "queued", None, None, None


def _finish(row: JobRow, status: JobStatus, message: str | None) -> None:
    row.status, row.message, row.finished_at = status, message, datetime.now(UTC)


def _cancel(session: Session, row: JobRow) -> None:
    row.cancel = True
    if row.status == "queued":
        _end_cancelled(session, row)


def _end_cancelled(session: Session, row: JobRow) -> None:
    """End a job as cancelled; a training's round is given up, so that the next one begins with all annotations."""
    _finish(row, "cancelled", None)
    begun = None if row.kind != "train" or row.round is None else session.get(RoundRow, row.round)
    if begun is not None and begun.status == "training":
        begun.status, begun.finished_at = "abandoned", datetime.now(UTC)


def _record(row: JobRow) -> Job:
    return Job(
        id=row.id,
        kind=cast(JobKind, row.kind),
        status=cast(JobStatus, row.status),
        source=cast(JobSource, row.source),
        settings=row.settings,
        message=row.message,
        round=row.round,
        done=row.done,
        total=row.total,
        cancel=row.cancel,
        pid=row.pid,
        process_started=row.process_started,
        attempts=row.attempts,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
