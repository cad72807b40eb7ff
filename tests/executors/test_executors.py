"""What every executor does: results in order, errors that name the task, lost workers replaced."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import executor_tasks as work
import psutil
import pytest

from frugalseg.errors import ConfigError, Problem, TaskError
from frugalseg.executors import EXECUTORS, Executor, open_executor
from frugalseg.executors.processes import ProcessExecutor
from frugalseg.processor import usable_cores

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: frugalseg[ray]")
needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
KILLED = "signal 9, Killed, as when memory runs out"
SLOW_OR_NOT = [pytest.param(name, marks=[needs_ray, pytest.mark.slow] if name == "ray" else []) for name in EXECUTORS]


@pytest.fixture(scope="module", params=SLOW_OR_NOT)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with open_executor(request.param, 1 if request.param == "serial" else 2) as opened:
        yield opened


def test_results_come_in_the_order_of_the_tasks(executor: Executor) -> None:
    assert list(executor.map(work.square, range(20))) == [number * number for number in range(20)]
    tasks = [(0.4, "slow"), (0.0, "quick"), (0.2, "middling"), (0.0, "last")]
    assert list(executor.map(work.sleep_and_name, tasks)) == ["slow", "quick", "middling", "last"]


def test_no_tasks_give_no_results(executor: Executor) -> None:
    assert list(executor.map(work.square, [])) == []


def test_first_results_are_there_before_the_last_task_ends(executor: Executor) -> None:
    results = executor.map(work.sleep_and_name, [(0.0, "first"), (30.0, "never asked for")])
    start = time.monotonic()
    assert next(results) == "first"
    results.close()  # type: ignore[attr-defined]
    assert list(executor.map(work.square, [3])) == [9]
    assert time.monotonic() - start < 15


def test_error_names_task_and_cause(executor: Executor) -> None:
    with pytest.raises(TaskError) as caught:
        list(executor.map(work.fail, range(4), label=lambda number: f"cell {number}"))
    assert str(caught.value) == "cell 2: ValueError: two is not allowed"
    assert caught.value.label == "cell 2"
    assert caught.value.exit_code == 1
    assert list(executor.map(work.square, [3])) == [9], "usable after an error"


def test_traceback_of_a_bug_is_logged(executor: Executor, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TaskError):
        list(executor.map(work.fail, range(4)))
    assert "executor_tasks.py" in caplog.text
    assert "in fail" in caplog.text


def test_problems_of_an_input_error_survive(executor: Executor, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TaskError) as caught:
        list(executor.map(work.refuse_images, range(3), label=lambda number: f"cell {number}"))
    assert caught.value.problems == (Problem("a.png", "is damaged"), Problem("b.png", "is empty"))
    assert str(caught.value) == "cell 1: a.png: is damaged\ncell 1: b.png: is empty"
    assert caplog.text == "", "bad input is no bug"


def test_file_that_is_missing_is_named(executor: Executor, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.txt")
    with pytest.raises(TaskError, match="No such file") as caught:
        list(executor.map(work.miss_file, [missing], label=lambda _: "reading"))
    assert missing in str(caught.value)


def test_task_that_exits_is_an_error_not_an_exit(executor: Executor) -> None:
    with pytest.raises(TaskError, match="cell 5: SystemExit: 5"):
        list(executor.map(work.leave, [5], label=lambda number: f"cell {number}"))


def test_other_tasks_are_cancelled_by_an_error(executor: Executor, tmp_path: Path) -> None:
    marks = [tmp_path / f"mark-{index}" for index in range(6)]
    with pytest.raises(TaskError, match="at once"):
        list(executor.map(work.fail_or_mark, [("fail", ""), *(("mark", str(mark)) for mark in marks)]))
    time.sleep(2.5)
    assert [mark.name for mark in marks if mark.exists()] == []


def test_result_that_cannot_be_sent_is_an_error_of_the_task() -> None:
    with open_executor("processes", 1) as executor, pytest.raises(TaskError, match=r"cell 7: .*pickle .*lock"):
        list(executor.map(work.give_lock, [7], label=lambda number: f"cell {number}"))


def test_processes_stay_for_later_tasks_and_end_with_the_executor() -> None:
    with open_executor("processes", 2) as executor:
        first = set(executor.map(work.process_id, range(8)))
        assert len(first) <= 2
        assert os.getpid() not in first
        assert set(executor.map(work.process_id, range(8))) <= first
    assert [pid for pid in first if psutil.pid_exists(pid)] == []


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with open_executor("processes", 1) as executor:
        assert list(executor.map(work.threads, [0])) == [str(usable_cores())]
    with open_executor("processes", 2 * usable_cores()) as executor:
        assert list(executor.map(work.threads, [0])) == [str(usable_cores())], "one task has all cores"
        assert set(executor.map(work.threads, range(3 * usable_cores()))) == {"1"}
        assert list(executor.map(work.threads, [0])) == [str(usable_cores())]
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with open_executor("processes", 1) as executor:
        assert list(executor.map(work.threads, [0])) == ["1"], "never more threads than asked for"


@needs_sigkill
def test_task_of_a_killed_worker_runs_again_and_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_executor("processes", 2) as executor:
        results = list(executor.map(work.die_once, [(str(tmp_path), number) for number in range(5)]))
    assert results == [0, 1, 4, 9, 16]
    runs = [len((tmp_path / f"runs-{number}").read_text()) for number in range(5)]
    assert runs == [1, 2, 1, 1, 1]
    assert caplog.messages == [f"{(str(tmp_path), 1)}: its worker process died ({KILLED}); it runs again"]


@needs_sigkill
def test_task_that_always_kills_its_worker_is_named() -> None:
    with open_executor("processes", 2) as executor:
        with pytest.raises(TaskError, match=r"^cell 3: its worker process died 4 times \(signal 9, Killed"):
            list(executor.map(work.die, range(6), label=lambda number: f"cell {number}"))
        assert list(executor.map(work.square, [3])) == [9]


@needs_sigkill
def test_worker_killed_between_tasks_is_replaced() -> None:
    with open_executor("processes", 1) as executor:
        (pid,) = executor.map(work.process_id, [0])
        os.kill(pid, signal.SIGKILL)
        assert list(executor.map(work.square, [3])) == [9]


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to a process group")
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("processes", "SIGINT"),
        ("processes", "SIGKILL"),
        pytest.param("ray", "SIGINT", marks=[needs_ray, pytest.mark.slow]),
    ],
)
def test_no_worker_outlives_its_master(tmp_path: Path, name: str, end: str) -> None:
    """Workers end in the midst of tasks, whether Ctrl-C ended their master or it was killed."""
    script = (
        "import executor_tasks as work\n"
        "from frugalseg.executors import open_executor\n"
        "if __name__ == '__main__':\n"
        f"    with open_executor({name!r}, 2) as executor:\n"
        f"        list(executor.map(work.mark_and_wait, [({str(tmp_path)!r}, 600)] * 9))\n"
    )
    (tmp_path / "master.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(work.__file__).parent)}
    master = subprocess.Popen(
        [sys.executable, tmp_path / "master.py"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list(tmp_path.glob("worker-*"))) == 2, 30)
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    if end == "SIGINT":
        os.killpg(master.pid, signal.SIGINT)
    else:
        master.kill()
    _, said = master.communicate(timeout=20)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers), 20)
    assert said.count("Traceback") == (1 if end == "SIGINT" else 0), said
    assert len(list(tmp_path.glob("worker-*"))) == 2


def test_two_maps_at_once_are_refused() -> None:
    with ProcessExecutor(2) as executor:
        first = executor.map(work.sleep_and_name, [(0.0, "a"), (5.0, "b"), (5.0, "c")])
        assert next(first) == "a"
        with pytest.raises(RuntimeError, match="another map"):
            next(executor.map(work.square, [1]))
    with pytest.raises(RuntimeError, match="closed"):
        list(executor.map(work.square, [1]))


def test_task_error_crosses_processes() -> None:
    error = TaskError("cell 1", "why", (Problem("a.png", "is damaged"),))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.problems) == (str(error), error.problems)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("threads",), "'threads' is unknown; there are serial, processes, ray"),
        (("processes", -1), "0 (all cores) or more, not -1"),
        (("serial", 2), "the serial executor has one"),
        (("serial", 0, "127.0.0.1:6379"), "choose ray"),
        (("processes", 0, "127.0.0.1:6379"), "choose ray"),
        (("ray", 0, "somewhere"), "'somewhere' is not host:port"),
        (("ray", 0, "ray://127.0.0.1:10001"), "is not host:port"),
    ],
)
def test_arguments_that_do_not_fit(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_executor(*arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_missing_ray_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'frugalseg\[ray\]'"):
        open_executor("ray")
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_executors_load_neither_ray_nor_torch() -> None:
    code = "import sys, frugalseg.executors, frugalseg.ledger; print({'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def wait_until(true: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
