"""Who starts the page's jobs: a thread that gives each its own process, which outlives the thread's."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import psutil

from frugalseg.errors import FrugalsegError
from frugalseg.project import Job, JobQueue, Project
from frugalseg.project.processes import is_alive

log = logging.getLogger(__name__)

FOLDER = "jobs"
EVERY_S = 0.3
KILL_AFTER_S = 10.0
"""So long a cancelled job may take to clean up."""


def log_file(folder: Path, job: int) -> Path:
    """What the process of a job of the project in `folder` has printed."""
    return folder / FOLDER / f"{job}.log"


class Supervisor:
    """Starts the queued jobs of a project one after another, as long as it runs; several take turns.

    Parameters
    ----------
    project
        The project.
    every_s, kill_after_s
        Seconds between two looks, and until a cancelled job is killed.
    command
        The command line for a job.
    """

    def __init__(
        self,
        project: Project,
        *,
        every_s: float = EVERY_S,
        kill_after_s: float = KILL_AFTER_S,
        command: Callable[[Path, int], list[str]] | None = None,
    ) -> None:
        self._project = project
        self._queue = JobQueue(project)
        self._every_s, self._kill_after_s = every_s, kill_after_s
        self._command = command or job_command
        self._started: dict[int, tuple[subprocess.Popen[bytes], int]] = {}
        self._asked: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> Supervisor:
        """Begin; returns itself."""
        if self._thread is None:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End; a job that runs goes on by itself."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        said = ""
        while not self._ended.wait(self._every_s):
            try:
                with self._only_one() as mine:
                    while mine:
                        self.look()
                        said = ""
                        if self._ended.wait(self._every_s):
                            return
            except (FrugalsegError, OSError) as error:  # a full disk, a database in use: try again
                if str(error) != said:
                    said = str(error)
                    log.warning("jobs: %s", said)
            except Exception as error:  # whatever it is, jobs that wait must not wait for the next start
                if str(error) != said:
                    said = str(error)
                    log.exception("jobs: unexpected; trying again")

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[bool]:
        """Whether this is the project's only supervisor, held as long as the block runs."""
        folder = self._project.folder / FOLDER
        folder.mkdir(exist_ok=True)
        lock = filelock.FileLock(folder / "supervisor.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def look(self) -> None:
        """Bury dead processes, stop cancelled ones, start the job whose turn it is."""
        self._reap()
        self._queue.recover()
        running = self._queue.running()
        if running is not None:
            if running.cancel:
                self._stop(running)
            return
        job = self._queue.next()
        if job is not None and job.source == "page" and job.id not in self._started:
            self._start(job)

    def _reap(self) -> None:
        """Forget processes that have ended; one that never got to its job counts as an attempt."""
        for number, (process, attempts) in list(self._started.items()):
            if process.poll() is None:
                continue
            del self._started[number]
            job = self._queue.get(number)
            if job.status == "queued" and job.attempts == attempts:
                where = log_file(self._project.folder, number)
                self._queue.retry(number, f"its process ended at once (exit code {process.returncode}); see {where}")

    def _start(self, job: Job) -> None:
        path = log_file(self._project.folder, job.id)
        with path.open("ab") as output:
            process = subprocess.Popen(
                self._command(self._project.folder, job.id),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **_detached(),
            )
        _step_back(process.pid)
        self._started[job.id] = (process, job.attempts)
        log.info("job %d (%s) begins, process %d", job.id, job.kind, process.pid)

    def _stop(self, job: Job) -> None:
        """Ask the process of a cancelled job to end, later make it."""
        if not is_alive(job.pid, job.process_started):
            return
        assert job.pid is not None
        asked = self._asked.setdefault(job.id, time.monotonic())
        group = _is_group(job)
        if asked + self._kill_after_s < time.monotonic():
            _kill(job.pid, group)
        elif time.monotonic() - asked < self._every_s:
            with contextlib.suppress(OSError):
                os.killpg(job.pid, signal.SIGTERM) if group else os.kill(job.pid, signal.SIGTERM)


def job_command(folder: Path, job: int) -> list[str]:
    """The command line that does a job."""
    return [sys.executable, "-m", "frugalseg", "job", str(folder.resolve()), str(job)]


def _detached() -> dict[str, Any]:
    """What makes a process live on when its starter and the terminal end."""
    if os.name == "nt":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
    return {"start_new_session": True}


def _step_back(pid: int) -> None:
    """Let the page, and whatever else somebody looks at, go before a job that has just been started."""
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process(pid).nice(10 if os.name == "posix" else psutil.BELOW_NORMAL_PRIORITY_CLASS)


def _is_group(job: Job) -> bool:
    """Whether the job's process leads a group of its own: that of a command may be a whole script's."""
    if job.source != "page" or not hasattr(os, "killpg"):
        return False
    with contextlib.suppress(OSError):
        return os.getpgid(job.pid or 0) == job.pid
    return False


def _kill(pid: int, group: bool) -> None:
    """End a process and those it started, now."""
    with contextlib.suppress(psutil.NoSuchProcess, OSError):
        processes = [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
        if group:
            os.killpg(pid, signal.SIGKILL)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
