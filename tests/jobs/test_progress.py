"""Rows of a training are those of its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frugalseg.jobs import TRUNK_MEMBER, progress_rows
from frugalseg.project import Job, JobQueue, Project
from frugalseg.project.round_files import round_folder


def write_run(folder: Path, steps: int, losses: dict[int, float], *, phase: int | None = None, cut: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"config": {"steps": steps}}
    if phase is not None:
        document["quantize"] = {"steps": phase}
    (folder / "config.json").write_text(json.dumps(document))
    lines = [json.dumps({"step": step, "loss": loss, "learning_rate": 0.1}) + "\n" for step, loss in losses.items()]
    (folder / "metrics.jsonl").write_text("".join(lines) + cut)


@pytest.fixture
def job(project: Project, queue: JobQueue) -> Job:
    """A training of round 3."""
    number = queue.add("train", {}, "page").id
    queue.claim(number)
    return queue.report(number, 0, 0, round=3)


def test_nothing_before_a_round_and_of_other_jobs(project: Project, queue: JobQueue, job: Job) -> None:
    assert progress_rows(project, job) == []
    write_run(round_folder(project.folder, 3) / "members" / "member-0", 5, {1: 0.5})
    assert len(progress_rows(project, job)) == 1
    other = queue.add("suggest", {}, "page")
    assert progress_rows(project, other) == []
    assert progress_rows(project, queue.add("train", {}, "page")) == []


def test_members_in_order_float_before_quantized(project: Project, job: Job) -> None:
    members = round_folder(project.folder, 3) / "members"
    for index in (10, 2):
        write_run(members / f"member-{index}" / "float", 60, {3: 0.1 * index, 6: 0.1})
        write_run(members / f"member-{index}", 60, {1: 0.3}, phase=20)
    (members / "member-x").mkdir()
    assert progress_rows(project, job) == [
        {"member": index, "phase": phase, "step": step, "steps": steps, "loss": loss}
        for index in (2, 10)
        for phase, step, steps, loss in (
            ("float", 3, 60, 0.1 * index),
            ("float", 6, 60, 0.1),
            ("quantized", 1, 20, 0.3),
        )
    ]


def test_a_common_network_and_members_that_stay_float(project: Project, job: Job) -> None:
    members = round_folder(project.folder, 3) / "members"
    write_run(members / "trunk", 60, {60: 0.25})
    write_run(members / "member-0", 60, {30: 0.5})
    rows = progress_rows(project, job)
    assert [(row["member"], row["phase"], row["step"]) for row in rows] == [
        (TRUNK_MEMBER, "float", 60),
        (0, "float", 30),
    ]


def test_a_line_cut_off_is_left_out(project: Project, job: Job) -> None:
    write_run(round_folder(project.folder, 3) / "members" / "member-0", 9, {1: 0.5, 2: 0.4}, cut='{"step": 3, "lo')
    assert [row["step"] for row in progress_rows(project, job)] == [1, 2]
