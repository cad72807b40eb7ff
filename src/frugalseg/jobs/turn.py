"""A process and its job: wait until it is its turn, work, say how it ended."""

from __future__ import annotations

import _thread
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from frugalseg.errors import FrugalsegError, InputError, StoppedError, TrainingError
from frugalseg.jobs.progress import progress_rows
from frugalseg.jobs.supervisor import Supervisor
from frugalseg.project import Job, JobQueue, Project

log = logging.getLogger(__name__)

POLL_S = 0.3


class JobCancelledError(StoppedError):
    """Somebody cancelled the job that this process works on or waits for."""


class JobBusyError(TrainingError):
    """Another job comes first, and nobody wants to wait."""


def wait_for_turn(
    project: Project, job: Job, *, wait: bool = True, announce: Callable[[str], None] | None = None
) -> Job:
    """Claim a job for this process as soon as it is its turn; returns it, running.

    Jobs of the page that come first are started from here where no page is open.

    Parameters
    ----------
    wait
        Else it is an error if another job comes first; this one is cancelled then.
    announce
        Told once what is waited for.

    Raises
    ------
    JobCancelledError
        Somebody cancelled it meanwhile.
    JobBusyError
        `wait` is false and another job comes first.
    """
    queue = JobQueue(project)
    with contextlib.ExitStack() as stack, _withdrawn(queue, job):
        told = False
        while (claimed := queue.claim(job.id)) is None:
            now = queue.get(job.id)
            if now.status != "queued":
                raise JobCancelledError(f"job {job.id} is {now.status}" + (f": {now.message}" if now.message else ""))
            first = queue.running() or queue.next()
            if not wait:
                queue.finish(job.id, "cancelled", "--no-wait was given")
                raise JobBusyError(f"{_in_words(first)} comes first; --no-wait was given")
            if not told and announce is not None:
                hint = " (--no-wait gives up instead)" if job.source == "command line" else ""
                announce(f"waiting for {_in_words(first)}{hint}")
            if not told and job.source == "command line":
                stack.callback(Supervisor(project).start().stop)
            told = True
            time.sleep(POLL_S)
    return claimed


@contextlib.contextmanager
def _withdrawn(queue: JobQueue, job: Job) -> Iterator[None]:
    """Take a command's job out of the queue when the command is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        if job.source == "command line":
            queue.finish(job.id, "cancelled")
        raise


def _in_words(job: Job | None) -> str:
    if job is None:
        return "another job"
    state = "running" if job.status == "running" else "queued before"
    process = f", process {job.pid}" if job.pid else ""
    return f"job {job.id} ({job.kind} by the {job.source}, {state}{process})"


@contextlib.contextmanager
def at_work(project: Project, job: Job) -> Iterator[Work]:
    """Do a claimed job in the block, which tells how far it is; the row says how the block ended.

    SIGTERM stops the block as Ctrl-C does, and so does a cancellation, which also gives up the round in training. A job
    of the page that is told SIGTERM without a cancellation, as when the machine shuts down, is queued again.
    """
    queue = JobQueue(project)
    with Work(project, queue, job) as work, _terminable(job.source == "page") as signals:
        try:
            yield work
            work.stop()
            queue.finish(job.id, "done")
        except BaseException as error:
            work.stop()
            cancelled = queue.get(job.id).cancel
            if not (cancelled or isinstance(error, KeyboardInterrupt | StoppedError)):
                queue.finish(job.id, "failed", _lines(error))
                raise
            _stopped(project, queue, job, signals)
            if cancelled:
                raise JobCancelledError(f"job {job.id} was cancelled") from None
            raise


def _stopped(project: Project, queue: JobQueue, job: Job, signals: list[int]) -> None:
    """Say that the work was interrupted, whoever asked for that."""
    now = queue.get(job.id)
    if now.cancel:
        give_up_round(project, now)
    elif job.source == "page" and signal.SIGTERM in signals:
        queue.retry(job.id, "its process was told to end")
        return
    queue.finish(job.id, "cancelled")


def give_up_round(project: Project, job: Job) -> None:
    """Abandon the round that a training job has begun and not finished."""
    current = project.newest_round()
    if job.kind == "train" and current is not None and current.status == "training" and current.number == job.round:
        project.abandon_round(current.number)
        log.info("round %d is given up; the next training begins anew", current.number)


def _lines(error: BaseException) -> str:
    """What the command line would print of an error."""
    if isinstance(error, InputError):
        return "\n".join(str(problem) for problem in error.problems)
    if isinstance(error, FrugalsegError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _terminable(supervised: bool) -> Iterator[list[int]]:
    """Make SIGTERM an interruption, once: what follows must be left to clean up. Yields the signals that came.

    In a process that was started for the job SIGINT is one, too, even where the starter ignores it.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        if len(came) == 1:
            raise KeyboardInterrupt

    signals = [signal.SIGTERM, signal.SIGINT] if supervised else [signal.SIGTERM]
    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield came
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Work:
    """A thread beside the work: notes how far it is, and interrupts it when the job is cancelled."""

    def __init__(self, project: Project, queue: JobQueue, job: Job) -> None:
        self._project, self._queue, self._job = project, queue, job
        self._ended = threading.Event()
        self._state = (job.done, job.total)
        self._thread = threading.Thread(target=self._run, name=f"job {job.id}", daemon=True)

    def __enter__(self) -> Work:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def tell(self, done: int, total: int) -> None:
        """Take how far the work is; the row says so soon. Of a training, only the total counts."""
        self._state = (done, total)

    def in_round(self, number: int, total: int) -> None:
        """Take the round that is trained or asked, and how many steps or images there are; the row says so at once."""
        self._state = (0, total)
        self._queue.report(self._job.id, 0, total, round=number)

    def stop(self) -> None:
        """Write the last state and end."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()

    def _run(self) -> None:
        asked = ended = False
        said = ""
        while not ended:
            ended = self._ended.wait(POLL_S)
            try:
                row = self._note()
            except (FrugalsegError, OSError) as error:  # the work itself does not depend on it
                if str(error) != said:
                    said = str(error)
                    log.warning("job %d: %s", self._job.id, said)
                continue
            if row.cancel and not asked and not ended:
                asked = True
                _interrupt_main()

    def _note(self) -> Job:
        row = self._queue.get(self._job.id)
        done, total = self._state
        if row.kind == "train":
            newest = {(each["member"], each["phase"]): each["step"] for each in progress_rows(self._project, row)}
            done = min(sum(newest.values()), total)
        return row if (done, total) == (row.done, row.total) else self._queue.report(row.id, done, total)


def _interrupt_main() -> None:
    """SIGTERM for the main thread: a real one where there are such, since it ends a system call that waits, too."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGTERM)
    else:
        _thread.interrupt_main(signal.SIGTERM)
