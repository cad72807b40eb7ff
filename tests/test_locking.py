"""One training at a time: told, refused, waited for, and never left locked. With real processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from frugalseg.errors import TrainingError
from frugalseg.locking import FOLDER_VARIABLE, lock_folder, training_lock

HOLDER = """
import sys
from pathlib import Path
from frugalseg.locking import training_lock
with training_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "runtime"))


@contextlib.contextmanager
def another_training(run: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_free_lock_is_taken_silently_and_again(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        with training_lock(tmp_path / "run", wait=False, announce=said.append):
            pass
    assert said == []


def test_no_wait_names_holder_and_run(tmp_path: Path) -> None:
    with another_training(tmp_path / "run 1") as process:
        with pytest.raises(TrainingError) as caught, training_lock(tmp_path / "run 2", wait=False):
            pytest.fail("two trainings held the lock")
        assert str(process.pid) in str(caught.value)
        assert str(tmp_path / "run 1") in str(caught.value)
        assert "\n" not in str(caught.value)


def test_waiting_is_told_once_and_ends_when_the_holder_does(tmp_path: Path) -> None:
    said: list[str] = []
    with another_training(tmp_path / "run 1") as process:
        assert process.stdin is not None
        finish = threading.Timer(0.8, lambda: process.stdin and print(file=process.stdin, flush=True))
        start = time.monotonic()
        finish.start()
        with training_lock(tmp_path / "run 2", announce=said.append):
            waited = time.monotonic() - start
    assert waited >= 0.8
    assert len(said) == 1
    assert f"process {process.pid}, {tmp_path / 'run 1'}" in said[0]


def test_killed_holder_leaves_no_lock_and_is_not_named(tmp_path: Path) -> None:
    with another_training(tmp_path / "run 1") as process:
        process.kill()
        process.wait()
        assert (lock_folder() / "training.json").exists(), "the killed one's note lies there still"
        with training_lock(tmp_path / "run 2", wait=False), another_process_refused() as complaint:
            assert str(process.pid) not in complaint
            assert "run 2" in complaint


@contextlib.contextmanager
def another_process_refused() -> Iterator[str]:
    script = HOLDER.replace("Path(sys.argv[1])", "Path(sys.argv[1]), wait=False")
    done = subprocess.run([sys.executable, "-c", script, "run 3"], capture_output=True, text=True)
    assert done.returncode != 0
    yield done.stderr.splitlines()[-1]


def test_error_in_the_block_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), training_lock(tmp_path):
        _ = 1 / 0
    with training_lock(tmp_path, wait=False):
        pass
    assert not (lock_folder() / "training.json").exists()


def test_falls_back_to_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setattr("platformdirs.user_runtime_dir", lambda *_, **__: str(tmp_path / "file" / "folder"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert lock_folder().parent == tmp_path
    assert lock_folder().name.startswith("frugalseg-")
