"""Several processes on one project, and processes that die in the middle of a write."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from frugalseg.project import Project, project_lock
from frugalseg.project.processes import is_alive, this_process

from .builders import small_project, two_objects

WRITER = """
import sys
from pathlib import Path
import numpy as np
from frugalseg.project import Project
folder, name, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
project = Project.open(folder)
print("ready", flush=True)
for turn in range(times):
    labels = np.full((24, 32), turn % 9 + 1, np.int32)
    project.annotate(name, labels, complete=True, source=f"turn {turn}")
    project.begin_round({"by": name}, [])
    project.mark_unusable(name, str(turn))
"""

HOLDER = """
import sys
from pathlib import Path
from frugalseg.project import project_lock
with project_lock(Path(sys.argv[1])):
    with project_lock(Path(sys.argv[1])):
        pass
    print("held", flush=True)
    sys.stdin.readline()
"""


def writer(folder: Path, name: str, times: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a", "b")
    processes = [writer(project.folder, name, 5) for name in ("a", "a", "b")]
    for process in processes:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    assert [each.version for each in project.history("a")] == list(range(1, 11))
    assert [each.version for each in project.history("b")] == list(range(1, 6))
    assert [each.number for each in project.rounds()] == list(range(15))
    assert project.integrity() == ()


def test_threads_share_one_project(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(4):
                project.annotate("a", two_objects(), complete=True, source="thread")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(project.history("a")) == 12


def test_killed_writers_leave_a_sound_project(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a", "b")
    delays = random.Random(0)
    for name in ("a", "b", "a"):
        process = writer(project.folder, name, 1000)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delays.uniform(0.05, 0.5))
        process.kill()
        process.communicate()
        again = Project.open(project.folder)
        assert again.integrity() == ()
        assert len(again.images()) == 2
        last = again.annotate(name, two_objects(), complete=True, source="after")
        assert again.history(name)[-1] == last


def test_lock_is_held_by_one_process_and_ends_with_it(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    command = [sys.executable, "-c", HOLDER, str(project.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        taken = threading.Event()

        def take() -> None:
            with project_lock(project.folder):
                taken.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert not taken.wait(0.5)
        assert project.images() == (), "reading does not wait"
        process.kill()
        assert taken.wait(10)
        thread.join()


def test_a_process_is_known_again_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pid, began = this_process()
    assert is_alive(pid, began)
    assert not is_alive(pid, began + 1)
    assert not is_alive(pid, None)
    assert is_alive(pid, psutil.Process().create_time()), "as older versions wrote it"
    if sys.platform == "linux":
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: began + 3600)
        assert is_alive(pid, began)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert not is_alive(child.pid, began)


@pytest.mark.slow
def test_many_kills(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a", "b")
    delays = random.Random(1)
    for _ in range(25):
        processes = [writer(project.folder, name, 1000) for name in ("a", "b")]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        time.sleep(delays.uniform(0, 0.6))
        for process in processes:
            process.kill()
            process.communicate()
        assert Project.open(project.folder).integrity() == ()
