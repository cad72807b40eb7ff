"""Tasks in processes of this machine.

A pool of :mod:`concurrent.futures` breaks as a whole when one of its processes dies, and does not say which task was to
blame. Here each process has a pipe of its own: the one that died is known, and so is its task; the others work on.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from frugalseg.errors import TaskError
from frugalseg.executors.base import RETRIES, Executor, Failure, attempt, environment, in_order, threads_each
from frugalseg.processor import usable_cores

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_CLOSING_S = 2.0


@dataclass(frozen=True)
class _Job:
    """A task under way: which one, and how many of its workers died before."""

    index: int
    deaths: int = 0


class _Worker:
    """One process of so many threads and this end of its pipe; `job` is what it works on."""

    def __init__(self, n_threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.job: _Job | None = None
        self.n_threads = n_threads
        with environment({"OMP_NUM_THREADS": str(n_threads)}):
            self.process.start()
        theirs.close()  # so that the pipe ends with the process

    def start(self, job: _Job, function: Callable[[T], R], task: T) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # it died between two tasks, or on its way up: the pipe's end tells
            self.pipe.send((function, task))

    def answer(self) -> Any:
        """The answer to the task; EOFError or OSError if the process died."""
        if not self.pipe.poll():
            raise EOFError
        answer = self.pipe.recv()
        self.job = None
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def how_it_died(self) -> str:
        self.process.join(_CLOSING_S)
        code = self.process.exitcode
        if code is None:
            return "it runs, but answers no more"
        if code >= 0:
            return f"exit code {code}"
        return f"signal {-code}, {signal.strsignal(-code)}{', as when memory runs out' if code == -9 else ''}"


class ProcessExecutor(Executor):
    """Runs each task in one of several processes, which stay for the next tasks.

    Parameters
    ----------
    n_workers
        Number of processes; 0 for as many as this process has cores. They share the cores among their threads.
    """

    def __init__(self, n_workers: int = 0) -> None:
        self._n_workers = n_workers or usable_cores()
        self._workers: list[_Worker] = []
        self._closed = False

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, label: Callable[[T], str] = str) -> Iterator[R]:
        """Results from the processes; see :meth:`Executor.map`."""
        with contextlib.closing(self._finish(function, list(tasks), label)) as finished:
            yield from in_order(finished)

    def close(self) -> None:
        """End the processes, in the midst of a task where there is one."""
        self._closed = True
        for worker in self._workers:
            if worker.job is None:
                worker.pipe.close()  # it ends by itself, in good order
        for worker in self._workers:
            if worker.job is None:
                worker.process.join(_CLOSING_S)
            worker.kill()
        self._workers.clear()

    def _finish(
        self, function: Callable[[T], R], tasks: Sequence[T], label: Callable[[T], str]
    ) -> Generator[tuple[int, R], None, None]:
        """Numbers and results of the tasks, in the order in which they become ready."""
        if self._busy():
            raise RuntimeError("this executor works on another map")
        jobs: deque[_Job] = deque(_Job(index) for index in range(len(tasks)))
        try:
            while jobs or self._busy():
                if self._closed:
                    raise RuntimeError("this executor is closed")
                self._give_out(jobs, function, tasks)
                ready: list[tuple[int, R]] = self._collect(jobs, tasks, label)
                self._give_out(jobs, function, tasks)  # before the results go out, for their taker may be slow
                yield from ready
        finally:
            for worker in self._busy():
                self._remove(worker)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _give_out(self, jobs: deque[_Job], function: Callable[[T], R], tasks: Sequence[T]) -> None:
        """Give every idle worker a task; start workers while there are more tasks, with a share of the cores each."""
        n_threads = threads_each(max(1, min(self._n_workers, len(tasks))))
        while jobs and len(self._busy()) < self._n_workers:
            job = jobs.popleft()
            idle = next((worker for worker in self._workers if worker.job is None), None)
            if idle is not None and idle.n_threads != n_threads:  # of a map with more tasks, or fewer
                self._remove(idle)
                idle = None
            if idle is None:
                idle = _Worker(n_threads)
                self._workers.append(idle)
            idle.start(job, function, tasks[job.index])

    def _collect(self, jobs: deque[_Job], tasks: Sequence[T], label: Callable[[T], str]) -> list[tuple[int, R]]:
        """Wait for answers; tasks of dead workers go back to `jobs`."""
        busy = self._busy()
        signs = set(wait([sign for worker in busy for sign in (worker.pipe, worker.process.sentinel)]))
        ready: list[tuple[int, R]] = []
        for worker in busy:
            job = worker.job
            if job is None or not signs & {worker.pipe, worker.process.sentinel}:
                continue
            try:
                answer = worker.answer()
            except (EOFError, OSError):
                how = worker.how_it_died()
                self._remove(worker)
                if job.deaths == RETRIES:
                    reason = f"its worker process died {job.deaths + 1} times ({how})"
                    raise TaskError(label(tasks[job.index]), reason) from None
                log.warning("%s: its worker process died (%s); it runs again", label(tasks[job.index]), how)
                jobs.appendleft(_Job(job.index, job.deaths + 1))
                continue
            if isinstance(answer, Failure):
                raise answer.error(label(tasks[job.index]))
            ready.append((job.index, answer))
        return ready

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.kill()


def _serve(pipe: Connection) -> None:
    """Answer tasks until the pipe ends with the executor; in the midst of a task if the executor's process dies."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; one decides
    with contextlib.suppress(EOFError, OSError):
        while True:
            _serve_one(pipe)


def _end_with(sentinel: int) -> None:
    """End this process when another one has: who begins anew must not find old workers at the same task."""
    wait([sentinel])
    os._exit(1)  # files are written whole or not at all, and nobody waits for an answer


def _serve_one(pipe: Connection) -> None:
    try:
        function, task = pipe.recv()
        pipe.send(attempt(function, task))
    except (EOFError, OSError):
        raise
    except Exception as error:  # what cannot be imported here, or not be sent back
        pipe.send(Failure.of(error))
