"""Ray for real: a cluster of this machine, and one of two nodes that loses one. All on the loopback interface."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import executor_tasks as work
import psutil
import pytest

from frugalseg.errors import ConfigError, TaskError
from frugalseg.executors import open_executor
from frugalseg.executors.base import threads_each

pytest.importorskip("ray", reason="ray is not installed: frugalseg[ray]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="several Ray nodes on a machine need Linux"),
]

# `ray start` wants a cluster-capable system, and takes its outer address there: give it the loopback's.
RAY_ON_LOOPBACK = (
    "import ray._private.services as services\n"
    "services.get_node_ip_address = lambda address=None: '127.0.0.1'\n"
    "from ray.scripts.scripts import main\n"
    "main()\n"
)


class Node:
    """A Ray node with processes of its own, as another machine would have."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-c", RAY_ON_LOOPBACK, "start", "--block", "--node-ip-address=127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--num-cpus=1", "--object-store-memory=100000000", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """End all of it at once, as a power cut does."""
        with_children = [self.process.pid]
        if self.process.poll() is None:
            with_children += [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
        for pid in with_children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def token() -> str:
    return secrets.token_hex(32)


@pytest.fixture(scope="module")
def cluster(token: str) -> Iterator[tuple[str, Node]]:
    """Address of a cluster of two nodes, and the second of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="fs-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(Path(work.__file__).parent),
        }
        port = address.rpartition(":")[2]
        head = Node(environment, "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}")
        try:
            wait_for_port(int(port))
            second = Node(environment, f"--address={address}")
            try:
                yield address, second
            finally:
                second.kill()
        finally:
            head.kill()


def wait_for_port(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end, "the head node does not start"
            time.sleep(0.2)


def listening_addresses(pids: set[int]) -> set[str]:
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.net_connections("inet")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    }


def test_own_cluster_stays_on_this_machine_is_quiet_and_ends(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    handler, variables = signal.getsignal(signal.SIGTERM), dict(os.environ)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with open_executor("ray", 2) as executor:
        assert list(executor.map(work.threads, [0])) == [str(threads_each(2))]
        started = {child.pid for child in psutil.Process().children(recursive=True)} - before
        assert len(started) >= 3
        assert listening_addresses(started | {os.getpid()}) == {"127.0.0.1"}
        environments = [psutil.Process(pid).environ() for pid in started if "raylet" in psutil.Process(pid).name()]
        assert environments
        assert all(one["RAY_AUTH_MODE"] == "token" and len(one["RAY_AUTH_TOKEN"]) == 64 for one in environments)
        with pytest.raises(RuntimeError, match="already"):
            open_executor("ray")
        killed = list(executor.map(work.die_once, [(str(tmp_path), number) for number in range(4)]))
        assert killed == [0, 1, 4, 9]
        with pytest.raises(TaskError, match=r"^cell 3: its worker process died 4 times"):
            list(executor.map(work.die, range(6), label=lambda number: f"cell {number}"))
    assert [pid for pid in started if psutil.pid_exists(pid)] == []
    assert signal.getsignal(signal.SIGTERM) == handler
    assert dict(os.environ) == variables
    assert capfd.readouterr() == ("", "")
    assert "Ray: A worker died or was killed while executing a task by an unexpected system error" in caplog.messages


def test_fresh_process_says_nothing() -> None:
    code = (
        "import executor_tasks as work\n"
        "from frugalseg.executors import open_executor\n"
        "with open_executor('ray', 1) as executor:\n"
        "    print(list(executor.map(work.square, [1, 2])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(work.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[1, 4]\n", "")
    assert done.returncode == 0


def test_addresses_and_tokens_that_are_wrong(
    cluster: tuple[str, Node], token: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"nothing answers at 127\.0\.0\.1:1 \("):
        open_executor("ray", address="127.0.0.1:1")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(ConfigError, match=r"the token of .* is needed, in RAY_AUTH_TOKEN"):
        open_executor("ray", address=cluster[0])
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(ConfigError, match="is its token in RAY_AUTH_TOKEN"):
        open_executor("ray", address=cluster[0])
    assert capfd.readouterr().err == ""


def test_results_survive_the_loss_of_a_node(
    cluster: tuple[str, Node], token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two nodes is killed in the midst: running tasks and results that lay there come from the other."""
    address, second = cluster
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with open_executor("ray", address=address) as executor:
        end = time.monotonic() + 60
        while len(set(executor.map(work.node_of, [0.3] * 4))) < 2:
            assert time.monotonic() < end, "the second node does not join"
        tasks = [(number, 0.4) for number in range(24)]
        watched = threading.Timer(2.0, second.kill)
        watched.start()
        start = time.monotonic()
        results = list(executor.map(work.large_result, tasks))
        seconds = time.monotonic() - start
        watched.join()
        assert second.process.returncode is not None
        assert seconds > 2.0, "the tasks were over before the node was killed"
        assert len(set(executor.map(work.node_of, [0.1] * 4))) == 1, "one node is left"
    with open_executor("serial") as serial:
        assert results == list(serial.map(work.large_result, [(number, 0.0) for number, _ in tasks]))
