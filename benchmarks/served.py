"""A server of the annotation page for benchmarks: in a process of its own, as long as a block runs."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator

from frugalseg.project import JobQueue, Project


@contextlib.contextmanager
def served(project: Project) -> Iterator[tuple[str, int, str]]:
    """Address with its token, port and token of the project's server; its jobs end with the block, too."""
    server = subprocess.Popen(
        [sys.executable, "-m", "frugalseg", "serve", str(project.folder), "--no-browser", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        found = re.search(r"http://[\d.]+:(\d+)/\?token=(\S+)", server.stdout.readline())
        assert found is not None
        yield found[0], int(found[1]), found[2]
    finally:
        queue = JobQueue(project)
        for job in queue.list():
            queue.cancel(job.id)
        while queue.running() is not None and server.poll() is None:
            time.sleep(0.5)
        server.terminate()
        server.wait(30)
