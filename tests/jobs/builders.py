"""Processes that work on jobs as quickly as can be, and ways to wait for what they do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from frugalseg.project import Job, JobQueue, Project

WORKER = """
import signal, subprocess, sys, time
from pathlib import Path
from frugalseg.jobs import at_work, wait_for_turn
from frugalseg.project import JobQueue, Project
folder, number, manner = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if manner == "dies":
    raise SystemExit("no such thing")
diary = folder / "diary.txt"
def say(word):
    with diary.open("a") as stream:
        stream.write(f"{word} {number}\\n")
project = Project.open(folder)
job = JobQueue(project).get(number)
wait_for_turn(project, job)
say("begin")
if manner == "stubborn":
    child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN);"
                              "time.sleep(600)"], start_new_session=True)
    (folder / "child.part").write_text(str(child.pid))
    (folder / "child.part").rename(folder / "child")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
with at_work(project, job) as work:
    work.in_round(0, 10)
    if manner == "once" and job.attempts == 0:
        signal.raise_signal(signal.SIGKILL)
    for step in range(int(job.settings.get("steps", 1))):
        work.tell(step, 10)
        time.sleep(0.1)
say("end")
"""


def worker_command(manner: str = "works") -> Callable[[Path, int], list[str]]:
    """A supervisor's command for jobs that only sleep, for as many tenths of a second as `steps` says."""
    return lambda folder, job: [sys.executable, "-c", WORKER, str(folder), str(job), manner]


def start_worker(folder: Path, job: int, manner: str = "works") -> subprocess.Popen[str]:
    """A process for one job, without a supervisor."""
    command = worker_command(manner)(folder, job)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def diary(project: Project) -> list[str]:
    """Lines that the processes have written: ``begin ID`` and ``end ID``."""
    path = project.folder / "diary.txt"
    return path.read_text().splitlines() if path.exists() else []


def wait_until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so; it must become so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def wait_for(project: Project, job: int, *statuses: str, seconds: float = 60.0) -> Job:
    """Wait until a job has one of these statuses."""
    queue = JobQueue(project)
    wait_until(lambda: queue.get(job).status in statuses, seconds)
    return queue.get(job)
