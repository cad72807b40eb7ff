"""What the stream of events tells is what the database and the run folder say."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.jobs import progress_rows
from frugalseg.project import JobQueue, Project
from frugalseg.project.round_files import round_folder
from frugalseg.server.context import Context
from frugalseg.server.events import News

from .builders import HEIGHT, WIDTH, make_project
from .serving import serving


def training_job(project: Project) -> tuple[int, Path]:
    """A training job of this process, and where its first member writes."""
    project.annotate("a", np.ones((HEIGHT, WIDTH), np.int32), complete=True, source="test")
    number = project.begin_round({}, [project.image("a")]).number
    queue = JobQueue(project)
    job = queue.add("train", {}, "command line")
    assert queue.claim(job.id) is not None
    queue.report(job.id, 0, 60, round=number)
    run = round_folder(project.folder, number) / "members" / "member-0" / "float"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"config": {"steps": 60}}))
    return job.id, run


def write_rows(run: Path, steps: list[int]) -> list[dict[str, Any]]:
    """A run's metrics up to now, the last line cut off as by a kill."""
    rows = [{"step": step, "loss": round(0.7 - step / 200, 4)} for step in steps]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run / "metrics.jsonl").write_text(text + '{"step": 99, "lo')
    return [{"member": 0, "phase": "float", "steps": 60, **row} for row in rows]


def test_rows_come_once_and_are_those_of_the_run_folder(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    number, run = training_job(project)
    news = News(Context.open(project.folder))
    expected = write_rows(run, [3, 6])
    told = dict(news.look())
    assert told["progress"] == {"job": number, "rows": expected, "first": True}
    assert [each["id"] for each in told["jobs"]["jobs"]] == [number]
    assert list(news.look()) == [], "nothing new"
    expected = write_rows(run, [3, 6, 9])
    assert dict(news.look())["progress"] == {"job": number, "rows": expected[2:]}
    again = write_rows(run, [3])
    assert dict(news.look())["progress"] == {"job": number, "rows": again, "first": True}, "went on from a checkpoint"
    assert progress_rows(project, JobQueue(project).get(number)) == again


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Events as a browser reads them."""
    name = ""
    for line in answer:
        text = line.decode().strip()
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield name, json.loads(text.removeprefix("data: "))


def test_a_browser_hears_of_jobs_and_losses(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    number, run = training_job(project)
    expected = write_rows(run, [3])
    with serving(project.folder) as server:
        connection = server.connect()
        connection.request("GET", "/api/events", headers={"authorization": f"Bearer {server.token}"})
        answer = connection.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")
        heard = events(answer)
        assert next(heard) == ("progress", {"job": number, "rows": expected, "first": True})
        name, document = next(heard)
        assert (name, document["jobs"][0]["status"]) == ("jobs", "running")
        expected = write_rows(run, [3, 6])
        assert next(heard) == ("progress", {"job": number, "rows": expected[1:]})
        JobQueue(project).finish(number, "done")
        name, document = next(heard)
        assert (name, document["jobs"][0]["status"]) == ("jobs", "done")
        answer.close()
