"""Who starts the page's jobs, and what becomes of them when it stops or is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from frugalseg.jobs import Supervisor, log_file
from frugalseg.project import JobQueue, Project

from .builders import diary, start_worker, wait_for, wait_until, worker_command

needs_sigkill = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")

SUPERVISES = """
import sys, time
from pathlib import Path
from frugalseg.jobs import Supervisor
from frugalseg.project import Project
sys.path.insert(0, sys.argv[2])
from jobs.builders import worker_command
Supervisor(Project.open(Path(sys.argv[1])), command=worker_command()).start()
time.sleep(600)
"""


@pytest.fixture
def supervisors() -> Iterator[list[Supervisor]]:
    """Supervisors to be stopped after the test."""
    started: list[Supervisor] = []
    yield started
    for each in started:
        each.stop()


def supervise(project: Project, started: list[Supervisor], manner: str = "works", kill_after_s: float = 60) -> None:
    supervisor = Supervisor(project, every_s=0.1, kill_after_s=kill_after_s, command=worker_command(manner))
    started.append(supervisor.start())


def test_jobs_run_one_after_the_other_whatever_number_of_supervisors(
    project: Project, queue: JobQueue, supervisors: list[Supervisor]
) -> None:
    jobs = [queue.add("suggest", {"steps": 2}, "page").id for _ in range(3)]
    supervise(project, supervisors)
    supervise(project, supervisors)
    for job in jobs:
        ended = wait_for(project, job, "done")
        assert (ended.done, ended.total, ended.attempts, ended.message) == (1, 10, 0, None)
    assert diary(project) == [line for job in jobs for line in (f"begin {job}", f"end {job}")]


def test_an_unexpected_error_ends_nothing(
    project: Project, queue: JobQueue, supervisors: list[Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = Supervisor.look, []

    def looked(self: Supervisor) -> None:
        looks.append(1)
        if len(looks) < 3:
            raise RuntimeError("nobody thought of this")
        look(self)

    monkeypatch.setattr(Supervisor, "look", looked)
    job = queue.add("suggest", {"steps": 2}, "page").id
    supervise(project, supervisors)
    wait_for(project, job, "done")


def test_nothing_is_started_for_commands(project: Project, queue: JobQueue, supervisors: list[Supervisor]) -> None:
    queue.add("train", {}, "command line")
    after = queue.add("suggest", {}, "page").id
    supervise(project, supervisors)
    time.sleep(0.5)
    assert {job.status for job in queue.list()} == {"queued"}
    assert not log_file(project.folder, after).exists()


def test_it_may_stop_and_another_one_finds_what_runs(
    project: Project, queue: JobQueue, supervisors: list[Supervisor]
) -> None:
    job, other = (queue.add("suggest", {"steps": steps}, "page").id for steps in (25, 1))
    supervise(project, supervisors)
    pid = wait_for(project, job, "running").pid
    supervisors.pop().stop()
    assert queue.get(job).status == "running"
    supervise(project, supervisors)
    assert wait_for(project, job, "done").pid == pid
    wait_for(project, other, "done")
    assert diary(project) == [f"begin {job}", f"end {job}", f"begin {other}", f"end {other}"]


@needs_sigkill
def test_a_job_outlives_the_process_that_started_it(
    project: Project, queue: JobQueue, supervisors: list[Supervisor]
) -> None:
    job = queue.add("suggest", {"steps": 25}, "page").id
    folder = Path(__file__).parent.parent
    server = subprocess.Popen([sys.executable, "-c", SUPERVISES, str(project.folder), str(folder)])
    pid = wait_for(project, job, "running").pid
    server.kill()
    server.wait()
    supervise(project, supervisors)
    ended = wait_for(project, job, "done")
    assert (ended.pid, ended.attempts) == (pid, 0)
    assert diary(project) == [f"begin {job}", f"end {job}"]


@needs_sigkill
def test_a_killed_job_is_begun_again(project: Project, queue: JobQueue, supervisors: list[Supervisor]) -> None:
    job = queue.add("suggest", {}, "page").id
    supervise(project, supervisors, "once")
    ended = wait_for(project, job, "done")
    assert ended.attempts == 1
    assert diary(project) == [f"begin {job}", f"begin {job}", f"end {job}"]


def test_a_process_that_never_gets_to_its_job(project: Project, queue: JobQueue, supervisors: list[Supervisor]) -> None:
    job = queue.add("suggest", {}, "page").id
    supervise(project, supervisors, "dies")
    ended = wait_for(project, job, "failed")
    log = log_file(project.folder, job)
    assert ended.message == f"its process ended at once (exit code 1); see {log} (3 times)"
    assert log.read_text().count("no such thing") == 3


class TestCancelling:
    def test_a_running_job(self, project: Project, queue: JobQueue, supervisors: list[Supervisor]) -> None:
        number = project.begin_round({}, []).number
        job = queue.add("train", {"steps": 600}, "page").id
        supervise(project, supervisors)
        wait_until(lambda: queue.get(job).round == number)
        queue.cancel(job)
        ended = wait_for(project, job, "cancelled")
        assert ended.message is None
        assert [each.status for each in project.rounds()] == ["abandoned"]
        assert diary(project) == [f"begin {job}"]
        wait_until(lambda: f"job {job} was cancelled" in log_file(project.folder, job).read_text())

    def test_without_a_supervisor(self, project: Project, queue: JobQueue) -> None:
        """Where nobody sends a signal, the process itself sees that it is not wanted any more."""
        job = queue.add("suggest", {"steps": 600}, "page").id
        process = start_worker(project.folder, job)
        wait_until(lambda: queue.get(job).total)
        queue.cancel(job)
        _, told = process.communicate(timeout=60)
        assert f"job {job} was cancelled" in told
        assert queue.get(job).status == "cancelled"

    @needs_sigkill
    def test_one_that_does_not_listen_is_killed_with_its_children(
        self, project: Project, queue: JobQueue, supervisors: list[Supervisor]
    ) -> None:
        job = queue.add("train", {}, "page").id
        supervise(project, supervisors, "stubborn", kill_after_s=1.0)
        pid = wait_for(project, job, "running").pid
        wait_until((project.folder / "child").exists)
        child = int((project.folder / "child").read_text())
        queue.cancel(job)
        wait_for(project, job, "cancelled")
        wait_until(lambda: not any(map(lives, (pid, child))))

    @needs_sigkill
    def test_a_command_is_told_alone(self, project: Project, queue: JobQueue, supervisors: list[Supervisor]) -> None:
        """Its process group may be that of a whole script."""
        script = f"import subprocess, sys, time; from pathlib import Path; from frugalseg.project import *;{COMMAND}"
        process = subprocess.Popen([sys.executable, "-c", script, str(project.folder)], start_new_session=True)
        supervise(project, supervisors, kill_after_s=60)
        wait_until(lambda: queue.running() is not None)
        (job,) = queue.list()
        wait_until((project.folder / "child").exists)
        child = int((project.folder / "child").read_text())
        queue.cancel(job.id)
        process.wait(60)
        wait_for(project, job.id, "cancelled")
        assert process.returncode == -signal.SIGTERM
        assert lives(child)
        psutil.Process(child).kill()


COMMAND = """
folder = Path(sys.argv[1])
queue = JobQueue(Project.open(folder))
assert queue.claim(queue.add("train", {}, "command line").id)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(folder / "child.part").write_text(str(child.pid))
(folder / "child.part").rename(folder / "child")
time.sleep(600)
"""


def lives(pid: int | None) -> bool:
    return pid is not None and psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
