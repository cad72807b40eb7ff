"""A real server in a process of its own, and a bare client that talks to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

START_S = 60.0


@dataclass
class Server:
    """A running `frugalseg serve`."""

    process: subprocess.Popen[str]
    port: int
    token: str

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open, as a browser's does."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request on a connection; status and JSON."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def start_server(
    project: Path,
    *,
    images: Path | None = None,
    before: list[str] | None = None,
    log: Path | None = None,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Server:
    """Start a server on a port (0: one that is free), and wait until it listens."""
    given = [] if images is None else ["--images", str(images)]
    command = [*(before or []), sys.executable, "-m", "frugalseg", "serve", str(project), *given, "--no-browser"]
    errors = (log or project.parent / "server.log").open("a")
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **(env or {}), "PYTHONUNBUFFERED": "1"},
        cwd=cwd,
    )
    assert process.stdout is not None
    began = time.monotonic()
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line)
    assert found, f"no address in {line!r} after {time.monotonic() - began:.0f} s"
    server = Server(process, int(found[1]), found[2])
    while time.monotonic() < began + START_S:
        with contextlib.suppress(OSError):
            connection = server.connect()
            if server.ask(connection, "GET", "/api/project")[0] == 200:
                connection.close()
                return server
        time.sleep(0.05)
    raise AssertionError("the server does not answer")


@contextlib.contextmanager
def serving(project: Path, **how: Any) -> Iterator[Server]:
    """A server while the block runs."""
    server = start_server(project, **how)
    try:
        yield server
    finally:
        # of a traced server the process is the tracer's; jobs, otherwise, are to outlive their server
        started = psutil.Process(server.process.pid).children(recursive=True) if how.get("before") else []
        for each in (*started, server.process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(15)
        for each in (*started, server.process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        server.process.wait()
