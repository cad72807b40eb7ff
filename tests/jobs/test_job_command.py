"""``frugalseg job`` and the commands that share its queue, with real trainings that take no time."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated_projects
import numpy as np
import pytest

from frugalseg.cli import main
from frugalseg.images import read_label_map
from frugalseg.jobs import progress_rows
from frugalseg.project import Job, JobKind, JobQueue, Project
from frugalseg.project.round_files import proposal_file, round_folder, uncertainty_file

from .builders import wait_until

TINY: dict[str, Any] = {
    "preset": "smoke", "members": 1, "net": "unet", "steps": 4, "patch_px": 32, "batch_size": 2, "threads": 1,
    "precision": "fp32", "validate_every": 4, "device": "cpu", "method": "none", "executor": "serial",
}  # fmt: skip
FLAGS = ["--net", "unet", "--steps", "4", "--patch-px", "32", "--batch-size", "2", "--threads", "1", "--precision",
         "fp32", "--validate-every", "4", "--device", "cpu", "--members", "1", "--quantize", "none", "--executor",
         "serial"]  # fmt: skip


pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture(scope="session")
def annotated_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images: two annotated, two for validation annotated, four to choose from."""
    return annotated_projects.annotated_project(tmp_path_factory.mktemp("annotated"), 2)


@pytest.fixture
def annotated(annotated_project: Path, tmp_path: Path) -> Project:
    return Project.open(Path(shutil.copytree(annotated_project, tmp_path / "annotated")))


def do(project: Project, kind: JobKind, settings: dict[str, Any], code: int = 0) -> Job:
    """Add a job as the page does, and do it here."""
    job = JobQueue(project).add(kind, settings, "page")
    assert main(["job", str(project.folder), str(job.id)]) == code
    return JobQueue(project).get(job.id)


def statuses(project: Project) -> list[str]:
    return [each.status for each in project.rounds()]


class TestKinds:
    def test_training_then_suggesting_then_proposing(self, annotated: Project) -> None:
        job = do(annotated, "train", {**TINY, "then_suggest": 2})
        assert (job.status, job.round, job.done, job.total, job.message) == ("done", 0, 4, 4, None)
        assert statuses(annotated) == ["trained"]
        rows = progress_rows(annotated, job)
        assert [(row["member"], row["phase"], row["step"], row["steps"]) for row in rows] == [
            (0, "float", step, 4) for step in (1, 2, 3, 4)
        ]
        text = (round_folder(annotated.folder, 0) / "members" / "member-0" / "metrics.jsonl").read_text()
        assert [row["loss"] for row in rows] == [json.loads(line)["loss"] for line in text.splitlines()]
        following = JobQueue(annotated).list()[0]
        assert (following.kind, following.status, following.source) == ("suggest", "queued", "page")
        assert main(["job", str(annotated.folder), str(following.id)]) == 0
        suggested = annotated.suggestions()
        assert len(suggested) == 2
        assert (annotated.folder / "rounds" / "suggestion-001.html").exists()
        ended = JobQueue(annotated).get(following.id)
        assert (ended.status, ended.round, ended.done, ended.total) == ("done", 0, 6, 6)
        for each in suggested:
            assert proposal_file(annotated.folder, 0, each.image).exists()
        other = next(image for image in annotated.pool() if image.name not in {each.image for each in suggested})
        proposed = do(annotated, "predict", {"image": other.id})
        assert (proposed.status, proposed.round, proposed.done, proposed.total) == ("done", 0, 1, 1)
        assert read_label_map(proposal_file(annotated.folder, 0, other.name), split_binary=False).shape == (72, 88)
        assert uncertainty_file(annotated.folder, 0, other.name).exists()

    def test_settings_are_those_of_the_command(self, annotated: Project) -> None:
        do(annotated, "train", TINY)
        other = Project.open(Path(shutil.copytree(annotated.folder, annotated.folder.parent / "other")))
        do(annotated, "train", TINY)
        assert main(["train", str(other.folder), *FLAGS, "--preset", "smoke"]) == 0
        by_page, by_command = (project.rounds()[1] for project in (annotated, other))
        assert dict(by_page.settings) == dict(by_command.settings)
        assert by_page.metrics == by_command.metrics
        job = JobQueue(other).list()[0]
        assert (job.kind, job.status, job.source, job.round) == ("train", "done", "command line", 1)
        assert job.settings["preset"] == "smoke"

    def test_a_cold_start(self, annotated: Project) -> None:
        job = do(annotated, "suggest", {"k": 2, "object_diameter_px": 30})
        assert (job.status, job.round, job.total) == ("done", None, 6)
        assert dict(annotated.suggestions()[0].settings)["diameter_px"] == 30
        assert not (annotated.folder / "rounds" / "000").exists(), "no network, no proposal"


class TestFailing:
    @pytest.mark.parametrize(
        ("kind", "settings", "message"),
        [
            ("train", {"preset": "endless"}, "job 1: preset must be"),
            ("train", {"membres": 2}, "unknown setting 'membres'; did you mean 'members'?"),
            ("train", {"members": 0}, "members must be at least 1, not 0"),
            ("train", {"then_suggest": 0}, "then_suggest must be at least 1"),
            ("train", {"steps": 0}, "steps must be at least 1, not 0"),
            ("suggest", {"k": "many"}, "k must be"),
            ("suggest", {"object_diameter_px": 0}, "object_diameter_px must be positive"),
            ("predict", {}, "image"),
            ("predict", {"image": 999}, "image 999: is not in this project"),
            ("predict", {"image": 1}, "has no trained round that could propose anything"),
        ],
    )
    def test_the_message_says_why(
        self, kind: JobKind, settings: dict[str, Any], message: str, annotated: Project,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        job = do(annotated, kind, settings, code=2)
        assert job.status == "failed"
        assert job.message is not None
        assert message in job.message
        assert all(f"frugalseg: {line}" in capsys.readouterr().err for line in job.message.splitlines()[:1])
        assert annotated.rounds() == ()

    def test_nothing_annotated(self, project: Project) -> None:
        job = do(project, "train", TINY, code=2)
        assert job.message is not None
        assert "has no complete annotation of an image that may train" in job.message

    def test_validation_images_have_no_proposal(self, annotated: Project) -> None:
        job = do(annotated, "predict", {"image": annotated.validation()[0].id}, code=2)
        assert job.message is not None
        assert "is for validation" in job.message

    def test_jobs_that_are_not_for_this_command(self, annotated: Project, capsys: pytest.CaptureFixture[str]) -> None:
        queue = JobQueue(annotated)
        assert main(["job", str(annotated.folder), "5"]) == 2
        assert "job 5: is not in this project" in capsys.readouterr().err
        own = queue.add("train", {}, "command line")
        assert main(["job", str(annotated.folder), str(own.id)]) == 2
        assert "belongs to the command that added it" in capsys.readouterr().err
        queue.finish(own.id, "done")
        ended = do(annotated, "predict", {"image": 999}, code=2)
        assert main(["job", str(annotated.folder), str(ended.id)]) == 130
        assert "is failed" in capsys.readouterr().err
        assert queue.get(ended.id) == ended


class TestRounds:
    """Which round a training goes on with, and which one it gives up."""

    def test_one_that_others_left_is_given_up(self, annotated: Project) -> None:
        annotated.begin_round({"steps": 99}, annotated.labelled()[:1])
        job = do(annotated, "train", TINY)
        assert statuses(annotated) == ["abandoned", "trained"]
        assert (job.round, len(annotated.rounds()[1].labelled)) == (1, 2)

    def test_its_own_goes_on(self, annotated: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = JobQueue(annotated)
        job = queue.add("train", TINY, "page")
        with monkeypatch.context() as patch:
            patch.setattr("frugalseg.rounds.training.export_model", self.fail)
            assert main(["job", str(annotated.folder), str(job.id)]) == 130
        interrupted = queue.get(job.id)
        assert (interrupted.status, interrupted.round, statuses(annotated)) == ("cancelled", 0, ["training"])
        again = queue.add("train", TINY, "page")
        queue.claim(again.id)
        queue.report(again.id, 0, 0, round=0)
        queue.retry(again.id, "killed")
        assert main(["job", str(annotated.folder), str(again.id)]) == 0
        assert (statuses(annotated), queue.get(again.id).attempts) == (["trained"], 1)

    def test_one_that_is_trained_already_is_not_trained_again(self, annotated: Project) -> None:
        """Killed between its last two writes, the job has only to say so."""
        queue = JobQueue(annotated)
        do(annotated, "train", TINY)
        job = queue.add("train", {**TINY, "then_suggest": 1}, "page")
        queue.claim(job.id)
        queue.report(job.id, 4, 4, round=0)
        queue.retry(job.id, "killed")
        assert main(["job", str(annotated.folder), str(job.id)]) == 0
        assert (statuses(annotated), queue.get(job.id).status) == (["trained"], "done")
        assert queue.list()[0].kind == "suggest"

    def test_what_follows_is_added_once(self, annotated: Project) -> None:
        queue = JobQueue(annotated)
        do(annotated, "train", TINY)
        job = queue.add("train", {**TINY, "then_suggest": 1}, "page")
        queue.claim(job.id)
        queue.report(job.id, 4, 4, round=0)
        queue.add("suggest", {"k": 1}, "page")
        queue.retry(job.id, "killed")
        assert main(["job", str(annotated.folder), str(job.id)]) == 0
        assert [each.kind for each in queue.list()] == ["suggest", "train", "train"]

    @staticmethod
    def fail(*what: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    def test_cancelled_while_it_trains(self, annotated: Project) -> None:
        queue = JobQueue(annotated)
        number = queue.add("train", {**TINY, "steps": 1000}, "page").id

        def cancel() -> None:
            wait_until(lambda: len(progress_rows(annotated, queue.get(number))) >= 2)
            queue.cancel(number)

        thread = threading.Thread(target=cancel)
        thread.start()
        assert main(["job", str(annotated.folder), str(number)]) == 130
        thread.join()
        job = queue.get(number)
        assert (job.status, job.message, statuses(annotated)) == ("cancelled", None, ["abandoned"])
        assert 0 < job.done < job.total == 1000
        assert do(annotated, "train", TINY).round == 1


class TestCommands:
    @pytest.fixture
    def left(self, annotated: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Project:
        """A project whose command was interrupted in its first round."""
        with monkeypatch.context() as patch:
            patch.setattr("frugalseg.rounds.training.export_model", TestRounds.fail)
            assert main(["train", str(annotated.folder), *FLAGS]) == 130
        job = JobQueue(annotated).list()[0]
        assert (job.status, job.round, statuses(annotated)) == ("cancelled", 0, ["training"])
        capsys.readouterr()
        return annotated

    def test_the_same_command_goes_on(self, left: Project) -> None:
        assert main(["train", str(left.folder), *FLAGS]) == 0
        assert [each.status for each in JobQueue(left).list()] == ["done", "cancelled"]
        assert statuses(left) == ["trained"]

    def test_other_settings_need_abandon(self, left: Project, capsys: pytest.CaptureFixture[str]) -> None:
        other = ["train", str(left.folder), *FLAGS, "--steps", "3"]
        assert main(other) == 2
        line = "steps: is 3, but the interrupted round 0 has 4; use the same, or --abandon"
        assert line in capsys.readouterr().err
        assert JobQueue(left).list()[0].message == line
        assert main([*other, "--abandon"]) == 0
        assert statuses(left) == ["abandoned", "trained"]

    def test_abandon_where_nothing_was_interrupted(self, annotated: Project) -> None:
        assert main(["train", str(annotated.folder), *FLAGS, "--abandon"]) == 0
        assert statuses(annotated) == ["trained"]

    def test_resume_is_for_runs(self, annotated: Project, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", str(annotated.folder), *FLAGS, "--resume"]) == 2
        assert "--resume: is for runs; a project goes on with an interrupted round by itself" in capsys.readouterr().err
        assert JobQueue(annotated).list() == ()

    @pytest.mark.parametrize("words", [["train", *FLAGS], ["suggest", "-k", "1"]])
    def test_no_wait(self, words: list[str], annotated: Project, capsys: pytest.CaptureFixture[str]) -> None:
        queue = JobQueue(annotated)
        queue.claim(queue.add("suggest", {}, "page").id)
        assert main([words[0], str(annotated.folder), *words[1:], "--no-wait"]) == 1
        assert "job 1 (suggest by the page, running, process" in capsys.readouterr().err
        assert [each.status for each in queue.list()] == ["cancelled", "running"]

    def test_suggesting_leaves_a_row(self, annotated: Project) -> None:
        assert main(["suggest", str(annotated.folder), "-k", "1"]) == 0
        job = JobQueue(annotated).list()[0]
        assert (job.kind, job.status, job.source, job.done, job.settings["k"]) == (
            "suggest", "done", "command line", 6, 1,
        )  # fmt: skip


@pytest.mark.parametrize("first", ["trunk", "member"])
def test_ctrl_c_says_how_to_go_on(
    first: str, annotated: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    from frugalseg.train import loop

    def press(images: Any, config: Any, step: int, draw: Callable[..., Any] = loop.draw_batch) -> Any:
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return draw(images, config, step)

    more = ["--shared-trunk", "--quantize-steps", "4"] if first == "trunk" else []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "draw_batch", press)
        assert main(["train", str(annotated.folder), *FLAGS, *more]) == 130
    assert "frugalseg: round 0: interrupted; the same command goes on with it" in capsys.readouterr().err
    assert JobQueue(annotated).list()[0].status == "cancelled"
    assert main(["train", str(annotated.folder), *FLAGS, *more]) == 0
    rows = progress_rows(annotated, JobQueue(annotated).list()[0])
    assert np.isfinite([row["loss"] for row in rows]).all()
    assert [row["step"] for row in rows if row["member"] == (-1 if first == "trunk" else 0)] == [1, 2, 3, 4]
