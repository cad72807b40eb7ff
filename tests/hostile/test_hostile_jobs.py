"""Jobs as real processes with real networks: killed, abandoned by their supervisor, cancelled, two at once."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from annotated_projects import annotated_project

from frugalseg.jobs import Supervisor, log_file, progress_rows
from frugalseg.project import Job, JobQueue, Project
from frugalseg.project.round_files import proposal_file, round_folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")]

TRAIN: dict[str, Any] = {
    "preset": "smoke", "members": 2, "net": "lite", "steps": 20, "patch_px": 32, "batch_size": 2, "threads": 1,
    "precision": "fp32", "validate_every": 20, "checkpoint_every": 5, "seed": 1, "device": "cpu", "pretrained": False,
    "min_confidence": 0.0, "quantize_steps": 4, "workers": 2, "then_suggest": 3,
}  # fmt: skip
FLAGS = ["--net", "lite", "--steps", "20", "--patch-px", "32", "--batch-size", "2", "--threads", "1", "--precision",
         "fp32", "--validate-every", "20", "--checkpoint-every", "5", "--seed", "1", "--device", "cpu",
         "--no-pretrained", "--min-confidence", "0", "--members", "2", "--quantize-steps", "4",
         "--workers", "2"]  # fmt: skip
SUPERVISES = """
import sys, time
from pathlib import Path
from frugalseg.jobs import Supervisor
from frugalseg.project import Project
Supervisor(Project.open(Path(sys.argv[1]))).start()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of eight images: three annotated, two for validation annotated, three to choose from."""
    return annotated_project(tmp_path_factory.mktemp("project"), 3)


@pytest.fixture
def project(annotated: Path, tmp_path: Path) -> Project:
    return Project.open(Path(shutil.copytree(annotated, tmp_path / "project")))


@pytest.fixture
def supervisor(project: Project) -> Iterator[Supervisor]:
    started = Supervisor(project).start()
    yield started
    started.stop()


def wait_until(true: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def ended(project: Project, job: Job) -> Job:
    queue = JobQueue(project)
    wait_until(lambda: queue.get(job.id).is_finished)
    return queue.get(job.id)


def all_done(project: Project) -> list[str]:
    wait_until(lambda: all(job.is_finished for job in JobQueue(project).list()))
    return [job.status for job in reversed(JobQueue(project).list())]


def outcome(project: Project, number: int = 0) -> list[Any]:
    """What a round and the suggestion after it have made: weights, proposals, suggestions to the last bit."""
    folder = round_folder(project.folder, number)
    files = [*sorted((folder / "members").rglob("model.safetensors")), *sorted((folder / "proposals").iterdir())]
    assert len(files) == 2 * 2 + 2 * 3
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    picks = [(each.image, each.reason.uncertainty, each.reason.similarity) for each in project.suggestions()]
    return [[path.relative_to(folder) for path in files], hashes, picks]


@pytest.fixture(scope="module")
def undisturbed(annotated: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    project = Project.open(Path(shutil.copytree(annotated, tmp_path_factory.mktemp("undisturbed") / "project")))
    queue = JobQueue(project)
    queue.add("train", TRAIN, "page")
    supervisor = Supervisor(project).start()
    assert all_done(project) == ["done", "done"]
    supervisor.stop()
    return outcome(project)


def test_rows_arrive_while_it_trains_and_are_those_of_the_files(project: Project, supervisor: Supervisor) -> None:
    queue = JobQueue(project)
    job = queue.add("train", {**TRAIN, "then_suggest": None}, "page")
    seen: list[int] = []
    while not (now := queue.get(job.id)).is_finished:
        n_rows = len(progress_rows(project, now))
        seen += [n_rows] if n_rows and now.status == "running" and n_rows not in seen else []
        time.sleep(0.1)
    assert now.status == "done", log_file(project.folder, job.id).read_text()
    assert len(seen) >= 5
    assert (now.done, now.total) == (48, 48)
    rows = progress_rows(project, now)
    assert {(row["member"], row["phase"], row["steps"]) for row in rows} == {
        (member, *phase) for member in (0, 1) for phase in (("float", 20), ("quantized", 4))
    }


@pytest.mark.parametrize("at", [12, 42])
def test_killed_in_the_middle_it_ends_as_if_nothing_had_been(
    at: int, project: Project, supervisor: Supervisor, undisturbed: list[Any]
) -> None:
    """With all its processes, in the float phase and in the one after."""
    queue = JobQueue(project)
    job = queue.add("train", TRAIN, "page")
    wait_until(lambda: queue.get(job.id).done >= at)
    pid = queue.get(job.id).pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    done = ended(project, job)
    assert (done.status, done.attempts, done.round) == ("done", 1, 0)
    assert all_done(project) == ["done", "done"]
    assert [each.status for each in project.rounds()] == ["trained"]
    assert outcome(project) == undisturbed


def test_its_supervisor_killed_it_ends_by_itself(project: Project, undisturbed: list[Any]) -> None:
    queue = JobQueue(project)
    job = queue.add("train", TRAIN, "page")
    server = subprocess.Popen([sys.executable, "-c", SUPERVISES, str(project.folder)])
    wait_until(lambda: queue.get(job.id).done >= 5)
    server.kill()
    server.wait()
    running = queue.get(job.id)
    wait_until(lambda: queue.get(job.id).done >= 20)
    supervisor = Supervisor(project).start()
    done = ended(project, job)
    assert (done.status, done.attempts, done.pid) == ("done", 0, running.pid)
    assert all_done(project) == ["done", "done"]
    supervisor.stop()
    assert outcome(project) == undisturbed


def test_cancelled_it_stops_and_the_next_one_has_all_annotations(project: Project, supervisor: Supervisor) -> None:
    queue = JobQueue(project)
    job = queue.add("train", {**TRAIN, "steps": 2000}, "page")
    wait_until(lambda: queue.get(job.id).done >= 5)
    pid = queue.get(job.id).pid
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert len(processes) >= 3
    began = time.monotonic()
    queue.cancel(job.id)
    assert ended(project, job).status == "cancelled"
    assert time.monotonic() - began < 9, "it listened, nobody had to kill it"
    psutil.wait_procs(processes, timeout=10)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)
    image = project.pool()[0]
    project.annotate(image.name, project.labels(project.labelled()[0].annotation), True, "test")  # type: ignore[arg-type]
    assert ended(project, queue.add("train", {**TRAIN, "then_suggest": None}, "page")).status == "done"
    assert [(each.status, len(each.labelled)) for each in project.rounds()] == [("abandoned", 3), ("trained", 4)]


def test_a_command_and_the_page_wait_for_each_other(project: Project, supervisor: Supervisor) -> None:
    """The page's training, then a command's, then the page's suggestion, whatever comes first to its turn."""
    queue = JobQueue(project)
    first = queue.add("train", {**TRAIN, "then_suggest": None}, "page")
    wait_until(lambda: queue.get(first.id).status == "running")
    command = [sys.executable, "-m", "frugalseg", "train", str(project.folder), *FLAGS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(queue.list()) == 2)
    last = queue.add("suggest", {"k": 2}, "page")
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert told.count(f"frugalseg: waiting for job {first.id} (train by the page, running, process") == 1
    assert all_done(project) == ["done", "done", "done"]
    jobs = list(reversed(queue.list()))
    assert [job.source for job in jobs] == ["page", "command line", "page"]
    for before, after in itertools.pairwise(jobs):
        assert before.finished_at is not None
        assert after.started_at is not None
        assert before.finished_at <= after.started_at
    assert [each.status for each in project.rounds()] == ["trained", "trained"]
    assert queue.get(last.id).round == 1
    assert all(proposal_file(project.folder, 1, each.image).exists() for each in project.suggestions())


def test_ctrl_c_of_a_command(project: Project) -> None:
    queue = JobQueue(project)
    command = [sys.executable, "-m", "frugalseg", "train", str(project.folder), *FLAGS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: queue.list() and queue.list()[0].done >= 5)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert queue.list()[0].status == "cancelled"
    assert [each.status for each in project.rounds()] == ["training"]
    assert subprocess.run(command, check=False).returncode == 0
    assert [each.status for each in project.rounds()] == ["trained"]
    assert queue.list()[0].status == "done"
