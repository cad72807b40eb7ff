"""A process and its job: waiting for the turn, and what the row says afterwards."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import pytest

from frugalseg.errors import InputError, Problem, StoppedError, TrainingError
from frugalseg.jobs import JobCancelledError, at_work, wait_for_turn
from frugalseg.project import Job, JobKind, JobQueue, JobSource, Project

from .builders import diary, start_worker, wait_until


def begin(project: Project, source: JobSource = "page", kind: JobKind = "train") -> Job:
    return wait_for_turn(project, JobQueue(project).add(kind, {}, source))


class TestWaiting:
    def test_for_one_that_runs(self, project: Project, queue: JobQueue) -> None:
        first = queue.add("suggest", {"steps": 15}, "page")
        process = start_worker(project.folder, first.id)
        wait_until(lambda: queue.get(first.id).status == "running")
        told: list[str] = []
        job = wait_for_turn(project, queue.add("train", {}, "command line"), announce=told.append)
        assert (job.status, queue.get(first.id).status) == ("running", "done")
        pid = queue.get(first.id).pid
        assert told == [f"waiting for job 1 (suggest by the page, running, process {pid}) (--no-wait gives up instead)"]
        process.communicate(timeout=60)

    def test_or_not(self, project: Project, queue: JobQueue) -> None:
        first = begin(project)
        own = queue.add("suggest", {}, "command line")
        with pytest.raises(TrainingError, match=r"job 1 \(train by the page, running, .*\) comes first; --no-wait"):
            wait_for_turn(project, own, wait=False)
        assert (queue.get(own.id).status, queue.get(own.id).message) == ("cancelled", "--no-wait was given")
        queue.finish(first.id, "done")
        assert wait_for_turn(project, queue.add("suggest", {}, "command line"), wait=False).status == "running"

    def test_until_somebody_cancels(self, project: Project, queue: JobQueue) -> None:
        begin(project)
        own = queue.add("suggest", {}, "page")
        threading.Timer(0.5, lambda: queue.cancel(own.id)).start()
        with pytest.raises(JobCancelledError, match="job 2 is cancelled"):
            wait_for_turn(project, own)

    @pytest.mark.parametrize(("source", "status"), [("command line", "cancelled"), ("page", "queued")])
    def test_until_ctrl_c(self, source: JobSource, status: str, project: Project, queue: JobQueue) -> None:
        begin(project)
        own = queue.add("suggest", {}, source)

        def press(line: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            wait_for_turn(project, own, announce=press)
        assert queue.get(own.id).status == status

    def test_a_command_starts_what_comes_first_where_no_page_is_open(self, project: Project, queue: JobQueue) -> None:
        first = queue.add("suggest", {"k": 0}, "page")
        job = wait_for_turn(project, queue.add("train", {}, "command line"))
        assert job.status == "running"
        ended = queue.get(first.id)
        assert (ended.status, ended.message) == ("failed", "job 1: k must be at least 1, not 0")


class TestEnds:
    def test_done(self, project: Project, queue: JobQueue) -> None:
        job = begin(project, kind="suggest")
        with at_work(project, job) as work:
            work.in_round(3, 20)
            assert (queue.get(job.id).round, queue.get(job.id).total) == (3, 20)
            work.tell(7, 20)
            wait_until(lambda: queue.get(job.id).done == 7)
            work.tell(20, 20)
        ended = queue.get(job.id)
        assert (ended.status, ended.done, ended.message) == ("done", 20, None)

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (InputError.of([Problem("a", "is blue"), Problem("b", "is gone")]), "a: is blue\nb: is gone"),
            (TrainingError("diverged"), "diverged"),
            (OSError(28, "No space left on device", "x"), "x: No space left on device"),
            (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
            (SystemExit("bye"), "SystemExit: bye"),
        ],
    )
    def test_failed(self, error: BaseException, message: str, project: Project, queue: JobQueue) -> None:
        job = begin(project)
        with pytest.raises(type(error)), at_work(project, job):
            raise error
        assert (queue.get(job.id).status, queue.get(job.id).message) == ("failed", message)

    @pytest.mark.parametrize("source", ["page", "command line"])
    @pytest.mark.parametrize("error", [KeyboardInterrupt(), StoppedError("stopped")])
    def test_ctrl_c_leaves_the_round(
        self, error: BaseException, source: JobSource, project: Project, queue: JobQueue
    ) -> None:
        job = begin(project, source)

        def stop() -> None:
            with at_work(project, job) as work:
                work.in_round(project.begin_round({}, []).number, 5)
                raise error

        with pytest.raises(type(error)):
            stop()
        assert queue.get(job.id).status == "cancelled"
        assert [each.status for each in project.rounds()] == ["training"]

    @pytest.mark.parametrize(("source", "status"), [("page", "queued"), ("command line", "cancelled")])
    def test_told_to_end(self, source: JobSource, status: str, project: Project, queue: JobQueue) -> None:
        """As by a machine that shuts down: the page's work goes on later, and so does the round."""
        before = signal.getsignal(signal.SIGTERM)
        job = begin(project, source)

        def end() -> None:
            with at_work(project, job) as work:
                work.in_round(project.begin_round({}, []).number, 5)
                try:
                    signal.raise_signal(signal.SIGTERM)
                finally:
                    signal.raise_signal(signal.SIGTERM)  # comes while the block cleans up, and is not to disturb that

        with pytest.raises(KeyboardInterrupt):
            end()
        assert signal.getsignal(signal.SIGTERM) is before
        assert queue.get(job.id).status == status
        assert [each.status for each in project.rounds()] == ["training"]

    @pytest.mark.parametrize("source", ["page", "command line"])
    def test_cancelled(self, source: JobSource, project: Project, queue: JobQueue) -> None:
        project.finish_round(project.begin_round({}, []).number, {})
        job = begin(project, source)

        def work_on() -> None:
            with at_work(project, job) as work:
                work.in_round(project.begin_round({}, []).number, 5)
                queue.cancel(job.id)
                time.sleep(60)

        with pytest.raises(JobCancelledError, match="job 1 was cancelled") as stop:
            work_on()
        assert stop.value.exit_code == 130
        assert queue.get(job.id).status == "cancelled"
        assert [each.status for each in project.rounds()] == ["trained", "abandoned"]

    def test_cancelled_while_it_fails(self, project: Project, queue: JobQueue) -> None:
        """As when the processes of the members are told to end before their master."""
        job = begin(project)

        def fail() -> None:
            with at_work(project, job):
                queue.cancel(job.id)
                with contextlib.suppress(KeyboardInterrupt):
                    time.sleep(60)
                raise TrainingError("its worker process died")

        with pytest.raises(JobCancelledError):
            fail()
        assert (queue.get(job.id).status, queue.get(job.id).message) == ("cancelled", None)


def test_a_worker_tells_its_way(project: Project, queue: JobQueue) -> None:
    job = queue.add("suggest", {"steps": 3}, "page")
    _, told = start_worker(project.folder, job.id).communicate(timeout=60)
    assert told == ""
    assert (queue.get(job.id).status, diary(project)) == ("done", ["begin 1", "end 1"])
