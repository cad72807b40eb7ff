"""How long a stroke takes to be saved by the annotation page's server: idle, and while a round trains.

    python benchmarks/bench_saving.py [--strokes N] [--size 1000x1000]

A server in a process of its own, a client on loopback, one brush stroke (64 x 64 pixels) after the other, each sent
when the last was acknowledged, that is after SQLite's synced commit. Goals: the 99th percentile at most 50 ms idle and
200 ms while a round trains. The rival is the least that such a promise costs: a file to which the same bytes are
appended and synced (`fsync`), in the same folder, in turns with the strokes.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from served import served

from frugalseg.images import write_image
from frugalseg.project import Project, pack_labels
from frugalseg.synthetic import synthetic_glands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=int, default=300, help="strokes that count")
    parser.add_argument("--size", default="1000x1000", help="height and width of the images")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        project = _project(Path(folder), height, width)
        with served(project) as (_, port, token):
            client = _Client(port, token)
            print(f"{height} x {width} pixels, {args.strokes} strokes, each after the last; milliseconds\n")
            print("| | p50 | p95 | p99 | most | bare fsync p50 | p99 |\n| --- | --- | --- | --- | --- | --- | --- |")
            _row("idle", client, Path(folder), height, width, args.strokes)
            client.ask("POST", "/api/jobs", {"kind": "train", "settings": {"preset": "round", "members": 2}})
            while not client.ask("GET", "/api/jobs")["jobs"][0]["done"]:
                time.sleep(0.5)
            _row("while a round trains", client, Path(folder), height, width, args.strokes)


def _project(folder: Path, height: int, width: int) -> Project:
    project = Project.create(folder / "project")
    paths = []
    for seed in range(3):
        paths.append(folder / f"image-{seed}.png")
        made = synthetic_glands(seed, height=height, width=width)
        write_image(paths[-1], made.image)
    project.add_images(paths)
    project.draw_validation(0.2)
    for image in project.images():
        if image.role == "pool":
            labels = synthetic_glands(int(image.name[-1]), height=height, width=width).labels
            project.annotate(image.name, labels, complete=True, source="bench")
    return project


class _Client:
    """A browser's part: one connection that stays open."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._token = token

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status < 400, content
        return content


def _row(what: str, client: _Client, folder: Path, height: int, width: int, n: int) -> None:
    draw = np.random.default_rng(0)
    edit = client.ask("GET", "/api/images/1")["edit"]
    saves, syncs = [], []
    with (folder / "rival").open("ab") as rival:
        for number in range(n + 10):
            labels = pack_labels(draw.integers(0, 3, (64, 64)))
            body = {
                "edit": edit,
                "stroke": str(uuid.uuid4()),
                "tool": "brush",
                "x": int(draw.integers(0, width - 64)),
                "y": int(draw.integers(0, height - 64)),
                "w": 64,
                "h": 64,
                "labels": base64.b64encode(labels).decode(),
            }
            began = time.perf_counter()
            edit = client.ask("POST", "/api/images/1/strokes", body)["edit"]
            ended = time.perf_counter()
            rival.write(labels)
            rival.flush()
            os.fsync(rival.fileno())
            if number >= 10:
                saves.append(1e3 * (ended - began))
                syncs.append(1e3 * (time.perf_counter() - ended))
            time.sleep(0.02)  # nobody draws faster
    figures = [*np.percentile(saves, (50, 95, 99, 100)), *np.percentile(syncs, (50, 99))]
    print(f"| {what} | " + " | ".join(f"{each:.1f}" for each in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
