"""What the server has acknowledged is on the disk, whatever happens to the server."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import shutil
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from frugalseg.project import Drawings, Project

from .builders import HEIGHT, WIDTH, make_project, stroke
from .serving import Server, serving, start_server

SIZE = 16


def save_until_killed(server: Server, acknowledged: dict[int, int]) -> None:
    """Draw squares, each with a number of its own, one after the other; note those that were acknowledged."""
    connection = server.connect()
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        _, state = server.ask(connection, "GET", "/api/images/1")
        edit = state["edit"]
        while True:
            number = max(acknowledged, default=0) + 1
            x, y = place(number)
            body = stroke(edit, x, y, np.full((SIZE, SIZE), number))
            status, answer = server.ask(connection, "POST", "/api/images/1/strokes", body)
            if status != 200:
                break
            edit = answer["edit"]
            acknowledged[number] = status
            if number % 25 == 0:
                status, answer = server.ask(
                    connection, "POST", "/api/images/1/versions", {"edit": edit, "why": "timer", "complete": None}
                )
                edit = answer["edit"]


def place(number: int) -> tuple[int, int]:
    """Where a square lies; there is room for 1,850."""
    columns = WIDTH // SIZE
    return SIZE * (number % columns), SIZE * (number // columns % (HEIGHT // SIZE))


def kill_many_times(folder: Path, kills: int, seed: int) -> int:
    """Kill a server that saves, again and again; returns how many saves were acknowledged in all."""
    project = make_project(folder)
    draw = random.Random(seed)
    acknowledged: dict[int, int] = {}
    for _ in range(kills):
        server = start_server(project.folder)
        client = threading.Thread(target=save_until_killed, args=(server, acknowledged))
        client.start()
        time.sleep(draw.uniform(0.05, 0.6))
        server.kill()
        client.join()
        labels = Drawings(Project.open(project.folder)).labels(1, (0, 0, WIDTH, HEIGHT))[1]
        lost = [n for n in acknowledged if not (labels[place(n)[1], place(n)[0]] >= n)]
        assert lost == [], "acknowledged, and gone"
        # at most the one that was on its way is there without having been acknowledged
        unheard = {int(n) for n in np.unique(labels) if n > 0} - set(acknowledged)
        assert len(unheard) <= 1
        acknowledged.update(dict.fromkeys(unheard, 200))
    assert project.integrity() == ()
    return len(acknowledged)


def test_killed_servers_lose_nothing_acknowledged(tmp_path: Path) -> None:
    assert kill_many_times(tmp_path, kills=10, seed=1) > 20


@pytest.mark.slow
def test_five_hundred_killed_servers_lose_nothing(tmp_path: Path) -> None:
    total = sum(kill_many_times(tmp_path / str(part), kills=50, seed=part) for part in range(10))
    assert total > 1000


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_reply_follows_the_sync(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,write,sendto,sendmsg,writev,pwrite64,recvfrom"
    with serving(project.folder, before=["strace", "-f", "-y", "-s", "48", "-e", calls, "-o", str(trace)]) as server:
        connection = server.connect()
        status, _ = server.ask(connection, "POST", "/api/images/1/strokes", stroke("e0.0", 0, 0, np.ones((4, 4))))
        assert status == 200
    lines = trace.read_text(errors="replace").splitlines()
    asked = next(n for n, line in enumerate(lines) if "POST /api/images/1/strokes" in line)
    replied = next(
        n for n, line in enumerate(lines) if n > asked and re.search(r"send(to|msg)?\(.*HTTP/1\.1 200", line)
    )
    synced = [n for n, line in enumerate(lines) if re.search(r"f(data)?sync\(\d+<[^>]*project\.sqlite-wal>", line)]
    assert any(asked < n < replied for n in synced), "the journal is synced between the request and the reply"


def test_a_label_map_read_by_http_is_the_stored_one(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    with serving(project.folder) as server:
        connection = server.connect()
        server.ask(connection, "POST", "/api/images/1/strokes", stroke("e0.0", 3, 5, np.full((4, 6), 9)))
        headers = {"authorization": f"Bearer {server.token}"}
        connection.request("GET", f"/api/images/1/labels?x=0&y=0&w={WIDTH}&h={HEIGHT}", headers=headers)
        content = zlib.decompress(connection.getresponse().read())
    stored = Drawings(Project.open(project.folder)).labels(1, (0, 0, WIDTH, HEIGHT))[1]
    assert (np.frombuffer(content, "<i4").reshape(HEIGHT, WIDTH) == stored).all()
    assert (stored[5:9, 3:9] == 9).all()
