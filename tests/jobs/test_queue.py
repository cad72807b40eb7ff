"""The queue: whose turn it is, what becomes of jobs whose processes die."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from frugalseg.errors import InputError
from frugalseg.project import Job, JobQueue, Project

CLAIMS = """
import sys, time
from pathlib import Path
from frugalseg.project import JobQueue, Project
queue = JobQueue(Project.open(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
while any(job.status in ("queued", "running") for job in queue.list()):
    for job in reversed(queue.list()):
        if job.status == "queued" and queue.claim(job.id):
            print(job.id, time.monotonic(), end=" ")
            time.sleep(0.02)
            print(time.monotonic())
            queue.finish(job.id, "done")
"""

HOLDS = """
import sys
from pathlib import Path
from frugalseg.project import JobQueue, Project
queue = JobQueue(Project.open(Path(sys.argv[1])))
job = queue.add("train", {}, "command line").id if sys.argv[2] == "add" else int(sys.argv[2])
if sys.argv[3] == "claim":
    assert queue.claim(job)
print(job, flush=True)
sys.stdin.readline()
"""


def run(script: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def die_with(project: Project, job: int | str, what: str = "claim") -> int:
    """Let a process claim a job, or add one of its own, and kill it; the job's number."""
    process = run(HOLDS, project.folder, job, what)
    assert process.stdout is not None
    number = int(process.stdout.readline())
    process.kill()
    process.communicate()
    return number


def statuses(queue: JobQueue) -> list[str]:
    return [job.status for job in reversed(queue.list())]


def add(queue: JobQueue, *kinds: str) -> list[int]:
    return [queue.add(kind, {}, "page").id for kind in kinds]  # type: ignore[arg-type]


class TestTurns:
    def test_a_new_job(self, queue: JobQueue) -> None:
        job = queue.add("suggest", {"k": 8, "object_diameter_px": None}, "page")
        assert queue.get(job.id) == job
        assert (job.kind, job.status, job.source, dict(job.settings)) == (
            "suggest", "queued", "page", {"k": 8, "object_diameter_px": None},
        )  # fmt: skip
        assert (job.message, job.round, job.done, job.total, job.cancel, job.pid, job.attempts) == (
            None, None, 0, 0, False, None, 0,
        )  # fmt: skip
        assert (job.started_at, job.finished_at, job.is_finished) == (None, None, False)

    def test_refusals(self, queue: JobQueue) -> None:
        with pytest.raises(InputError, match="job's kind: must be one of train, suggest, predict, not 'dance'"):
            queue.add("dance", {}, "page")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="job's source"):
            queue.add("train", {}, "elsewhere")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="JSON"):
            queue.add("train", {"steps": float("nan")}, "page")
        for work in (queue.get, queue.claim, queue.cancel):
            with pytest.raises(InputError, match="job 7: is not in this project"):
                work(7)
        assert queue.list() == ()
        assert queue.next() is None
        assert queue.recover() == ()

    def test_one_after_the_other_in_order(self, queue: JobQueue) -> None:
        first, second, third = add(queue, "train", "suggest", "train")
        assert queue.claim(second) is None
        assert queue.next() == queue.get(first)
        claimed = queue.claim(first)
        assert claimed is not None
        assert (claimed.status, queue.running(), queue.next()) == ("running", claimed, None)
        assert claimed.started_at is not None
        assert queue.claim(first) is None, "it runs already"
        assert queue.claim(second) is None
        queue.finish(first, "failed", "why")
        assert queue.claim(third) is None
        assert queue.claim(second) is not None
        assert [job.id for job in queue.list()] == [third, second, first]
        assert [job.id for job in queue.list(1)] == [third]

    def test_a_prediction_goes_first_but_not_beside_another_job(self, queue: JobQueue) -> None:
        train, suggest, predict, other = add(queue, "train", "suggest", "predict", "predict")
        assert queue.claim(train) is None
        assert queue.claim(other) is None
        assert queue.claim(predict) is not None
        assert queue.claim(other) is None
        queue.finish(predict, "done")
        assert queue.claim(other) is not None
        queue.finish(other, "done")
        assert queue.claim(train) is not None
        (late,) = add(queue, "predict")
        assert queue.claim(late) is None
        queue.finish(train, "done")
        assert queue.claim(suggest) is None
        assert queue.claim(late) is not None

    def test_processes_at_once_take_each_job_once_and_one_at_a_time(self, project: Project, queue: JobQueue) -> None:
        jobs = add(queue, *["train", "suggest"] * 4)
        processes = [run(CLAIMS, project.folder) for _ in range(3)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        rows = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            out, _ = process.communicate(timeout=120)
            rows += [(float(began), float(ended), int(job)) for job, began, ended in map(str.split, out.splitlines())]
        rows.sort()
        assert [job for _, _, job in rows] == jobs
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(rows))


class TestEnds:
    def test_what_a_running_job_reports(self, queue: JobQueue) -> None:
        (job,) = add(queue, "train")
        assert queue.report(job, 1, 9).total == 0, "it does not run"
        queue.claim(job)
        queue.report(job, 1, 9, round=2)
        assert queue.report(job, 3, 9).round == 2
        assert (queue.get(job).done, queue.get(job).total) == (3, 9)
        ended = queue.finish(job, "done")
        assert ended.finished_at is not None
        assert queue.report(job, 4, 9).done == 3
        assert queue.finish(job, "failed", "late").status == "done"
        assert queue.retry(job, "late").status == "done"
        assert queue.cancel(job) == ended
        with pytest.raises(ValueError, match="a job ends as one of"):
            queue.finish(job, "queued")

    def test_cancelling(self, project: Project, queue: JobQueue) -> None:
        running, waiting = add(queue, "train", "train")
        queue.claim(running)
        assert (queue.cancel(running).status, queue.get(running).cancel) == ("running", True)
        assert queue.cancel(waiting).status == "cancelled"
        assert queue.claim(waiting) is None

    def test_cancelling_what_waits_for_its_second_attempt_gives_its_round_up(
        self, project: Project, queue: JobQueue
    ) -> None:
        (job,) = add(queue, "train")
        number = project.begin_round({}, []).number
        queue.claim(job)
        queue.report(job, 0, 9, round=number)
        assert queue.retry(job, "why").status == "queued"
        queue.cancel(job)
        assert [each.status for each in project.rounds()] == ["abandoned"]


class TestDeadProcesses:
    def test_the_job_goes_back_and_fails_the_third_time(self, project: Project, queue: JobQueue) -> None:
        job, other = add(queue, "train", "suggest")
        for attempt in (1, 2, 3):
            assert die_with(project, job) == job
            assert queue.get(job).status == "running"
            (changed,) = queue.recover()
            assert changed == queue.get(job)
            assert changed.attempts == attempt
            assert changed.status == ("failed" if attempt == 3 else "queued")
        assert changed.message is not None
        assert "killed or memory runs out (3 times)" in changed.message
        assert queue.get(other).status == "queued"

    def test_claiming_gives_back_what_stands_in_the_way(self, project: Project, queue: JobQueue) -> None:
        job, other = add(queue, "train", "suggest")
        die_with(project, job)
        assert queue.claim(other) is None, "the first one is queued again, before it"
        assert statuses(queue) == ["queued", "queued"]
        assert queue.claim(job) is not None
        assert (queue.get(job).attempts, queue.recover()) == (1, ())

    def test_one_that_nobody_has_waited_for_is_dead(self, project: Project, queue: JobQueue) -> None:
        (job,) = add(queue, "train")
        process = run(HOLDS, project.folder, job, "claim")
        assert process.stdout is not None
        process.stdout.readline()
        assert queue.recover() == (), "it lives"
        process.kill()
        process.stdout.read()  # ends with the process
        while not queue.recover():
            pass
        assert queue.get(job).status == "queued"
        process.communicate()

    def test_another_process_with_the_same_number(self, project: Project, queue: JobQueue) -> None:
        (job,) = add(queue, "train")
        queue.claim(job)
        database = project.folder / "project.sqlite"
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE jobs SET process_started = process_started - 3600")
        assert [each.id for each in queue.recover()] == [job]

    def test_finished_and_living_ones_are_left(self, project: Project, queue: JobQueue) -> None:
        ended, running = add(queue, "train", "train")
        queue.claim(ended)
        queue.finish(ended, "done")
        queue.claim(running)
        before = queue.list()
        assert queue.recover() == ()
        assert queue.list() == before

    def test_after_a_cancellation_its_round_is_given_up(self, project: Project, queue: JobQueue) -> None:
        project.finish_round(project.begin_round({}, []).number, {})
        number = project.begin_round({}, []).number
        (job,) = add(queue, "train")
        die_with(project, job)
        queue.report(job, 1, 2, round=number)
        queue.cancel(job)
        assert [each.status for each in queue.recover()] == ["cancelled"]
        assert [each.status for each in project.rounds()] == ["trained", "abandoned"]

    @pytest.mark.parametrize(("what", "status"), [("claim", "failed"), ("wait", "cancelled")])
    def test_commands_are_not_begun_again(self, what: str, status: str, project: Project, queue: JobQueue) -> None:
        job: Job = queue.get(die_with(project, "add", what))
        assert (job.source, job.pid is None) == ("command line", False)
        (ended,) = queue.recover()
        assert (ended.status, ended.attempts) == (status, 0)
        assert ended.message is not None


def test_a_waiting_command_holds_its_place_only_while_it_lives(project: Project, queue: JobQueue) -> None:
    die_with(project, "add", "wait")
    (job,) = add(queue, "suggest")
    assert queue.claim(job) is not None


def test_a_backup_holds_the_jobs(project: Project, queue: JobQueue, tmp_path: Path) -> None:
    import zipfile

    (job,) = add(queue, "train")
    project.backup(tmp_path / "all.zip")
    zipfile.ZipFile(tmp_path / "all.zip").extractall(tmp_path / "copy")
    assert JobQueue(Project.open(tmp_path / "copy")).get(job) == queue.get(job)
    assert project.integrity() == ()
