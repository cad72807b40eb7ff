"""``suggest``, ``train PROJECT`` and ``status`` as commands: what they print, and one line for each mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frugalseg.cli import main
from frugalseg.project import Project
from frugalseg.train.config import TrainConfig

Named = Callable[[str], list[str]]
Annotate = Callable[..., None]

QUICK = ["--net", "unet", "--steps", "2", "--patch-px", "32", "--batch-size", "2", "--threads", "1", "--precision",
         "fp32", "--validate-every", "2", "--device", "cpu", "--members", "1", "--quantize", "none",
         "--executor", "serial"]  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line with which a command ends with exit code 2."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = [line for line in told.err.splitlines() if line.startswith("frugalseg: ")]
    assert "Traceback" not in told.err
    return line.removeprefix("frugalseg: ")


def done(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    """The document that a command prints."""
    capsys.readouterr()
    assert main([*(str(word) for word in words), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


class TestSuggest:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["-k", "0"], "-k: must be at least 1"),
            (["-k", "4", "--candidates", "3"], "-k: must be at least 1, and at most --candidates, not 4"),
            (["--window", "-1"], "must not be negative"),
            (["--window", "40", "--per-image", "0"], "at least one window an image"),
            (["--seed", "-1"], "must not be negative"),
            (["--validation", "1"], "--validation: must lie in"),
            (["--validation", "nan"], "--validation: must lie in"),
            (["--object-diameter", "0"], "--object-diameter: must be a positive number"),
            (["--object-diameter", "inf"], "--object-diameter: must be a positive number"),
            (["--strategy", "guess"], "strategy: no strategy 'guess'"),
            (["--strategy", "bald"], "strategy: bald needs a trained round"),
        ],
    )
    def test_wrong_flags(
        self, flags: list[str], message: str, project: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert message in refused(capsys, "suggest", project.folder, *flags)
        assert project.validation() == ()

    def test_no_project_here(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for command in ("suggest", "status"):
            assert str(tmp_path / "none") in refused(capsys, command, tmp_path / "none")
            assert "project" in refused(capsys, command, tmp_path)

    def test_a_project_without_images(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Project.create(tmp_path / "project")
        assert "has no image" in refused(capsys, "suggest", tmp_path / "project")

    def test_nothing_left(self, project: Project, annotate: Annotate, capsys: pytest.CaptureFixture[str]) -> None:
        project.draw_validation()
        annotate(project, *(image.name for image in project.pool()))
        line = refused(capsys, "suggest", project.folder)
        assert line == f"{project.folder}: has no image left to suggest: all are annotated, unusable or set aside"

    def test_cold(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        document = done(capsys, "suggest", project.folder, "-k", "2")
        assert (document["round"], document["strategy"], document["scored"]) == (None, "cover", 6)
        assert [each["image"] for each in document["suggestions"]] == [each.image for each in project.suggestions()]
        assert {each["uncertainty"] for each in document["suggestions"]} == {None}
        assert document["validation_to_annotate"] == [image.name for image in project.validation()]
        page = Path(document["report"])
        assert page == project.folder / "rounds" / "suggestion-001.html"
        assert document["suggestions"][0]["image"] in page.read_text(encoding="utf-8")

    def test_warm_in_words(self, trained: Project, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["suggest", str(trained.folder), "-k", "2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        for line, each in zip(lines, trained.suggestions(), strict=False):
            assert f"{each.rank}. {each.image}: uncertainty {each.reason.uncertainty:.4f}" in line
        assert lines[-1].endswith("suggestion-001.html")


class TestTrain:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--out", "x"], "--out: does not go with a project"),
            (["--subset", "train"], "--subset: does not go with a project"),
            (["--folds", "3"], "--folds: does not go with a project"),
            (["--validation", "0.2"], "validation: does not go with a project, which sets images aside"),
            (["--ignore-value", "0"], "--ignore-value: does not go with a project"),
            (["--members", "0"], "members must be at least 1"),
            (["--bits", "99"], "bits"),
            (["--bits", "4", "--quantize", "none"], "bits mean nothing without a quantizer"),
            (["--steps", "0"], "steps must be at least 1"),
            (["--warm-steps", "0"], "--warm-steps"),
            (["--warm-steps", "-3"], "--warm-steps"),
            (["--from-scratch", "--warm-steps", "3"], "--warm-steps"),
            (["--executor", "serial", "--workers", "2"], "workers: the serial executor has one"),
        ],
    )
    def test_wrong_flags(
        self, flags: list[str], message: str, trained: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert message in refused(capsys, "train", trained.folder, *flags)
        assert len(trained.rounds()) == 1

    @pytest.mark.parametrize("flags", [["--members", "2"], ["--shared-trunk"], ["--from-scratch"], ["--workers", "1"]])
    def test_flags_of_rounds_need_a_project(
        self, flags: list[str], glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = refused(capsys, "train", glands, "--out", tmp_path / "run", *flags)
        assert line == f"{flags[0]}: is for rounds, and {glands} is no project"

    def test_a_run_needs_a_folder(self, glands: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert refused(capsys, "train", glands).startswith("--out: must name the run folder")

    def test_nothing_annotated(self, project: Project, tiny: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
        line = refused(capsys, "train", project.folder, *QUICK)
        assert "has no complete annotation of an image that may train; import masks, or suggest first" in line

    def test_the_next_round(
        self, trained: Project, annotate: Annotate, named: Named, capsys: pytest.CaptureFixture[str]
    ) -> None:
        annotate(trained, *named("bare"))
        document = done(capsys, "train", trained.folder, *QUICK)
        (_, newest) = trained.rounds()
        assert (document["round"], document["images"], document["n_images"]) == (1, 4, 2)
        assert document["object_dice"] == newest.metrics["object_dice"]
        assert newest.settings["warm_steps"] == 1, "half of the steps"
        assert (Path(document["folder"]) / "ensemble.fseg").exists()

    def test_the_first_round_in_words(
        self, project: Project, annotate: Annotate, tiny: TrainConfig, capsys: pytest.CaptureFixture[str]
    ) -> None:
        project.draw_validation()
        annotate(project, project.pool()[0].name)
        assert main(["train", str(project.folder), *QUICK, "--from-scratch"]) == 0
        text = capsys.readouterr().out
        assert "round 0: 1 networks trained on 1 images" in text
        assert "no annotated validation image, so nothing tells how good it is" in text
        assert f"frugalseg suggest {project.folder}" in text


class TestStatus:
    def test_before_anything(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        document = done(capsys, "status", project.folder)
        assert (document["images"], document["labelled"], document["rounds"]) == (8, 0, [])
        assert document["outlook"]["gain"] is None
        assert document["interrupted_round"] is None

    def test_after_a_round(
        self, trained: Project, named: Named, annotate: Annotate, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = done(capsys, "suggest", trained.folder, "-k", "2")
        first, second = (each["image"] for each in asked["suggestions"])
        annotate(trained, first)
        annotate(trained, named("validation")[0], complete=False)
        document = done(capsys, "status", trained.folder, "--check")
        assert document["labelled"] == 3
        assert document["pool"] == 2
        assert list(document["unusable"].items()) == [(named("unusable")[0], "out of focus")]
        assert document["suggested_to_annotate"] == [second]
        assert document["validation_to_annotate"] == named("validation")[:1]
        (only,) = document["rounds"]
        assert (only["number"], only["n_labelled"]) == (0, 2)
        assert only["dice"] == trained.rounds()[0].metrics["object_dice"]
        assert document["cost"]["images"] == sum(image.annotation is not None for image in trained.images())

    def test_windows_of_one_image_are_listed_once(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        done(capsys, "suggest", project.folder, "-k", "12", "--window", "40", "--per-image", "6")
        names = done(capsys, "status", project.folder)["suggested_to_annotate"]
        assert len(names) == len(set(names))

    def test_what_cannot_be_used_does_not_wait(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        done(capsys, "suggest", project.folder, "-k", "2")
        first, second = done(capsys, "status", project.folder)["suggested_to_annotate"]
        project.mark_unusable(first, "torn")
        assert done(capsys, "status", project.folder)["suggested_to_annotate"] == [second]

    def test_an_interrupted_round_is_told(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        project.begin_round({}, [])
        assert main(["status", str(project.folder)]) == 0
        assert "round 0 was interrupted: 'frugalseg train' goes on with it" in capsys.readouterr().out

    def test_the_outlook_in_words(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        project.draw_validation()
        for dice in (0.5, 0.6):
            project.begin_round({}, [])
            number = project.rounds()[-1].number
            project.finish_round(number, {"n_images": 2, "object_dice": dice, "object_dice_interval": [0.4, 0.7]})
        assert main(["status", str(project.folder)]) == 0
        text = capsys.readouterr().out
        assert "round 1: 0 images, validation object Dice 0.600 [0.400, 0.700]" in text
        assert "the next round: nothing can be said before there is a second one" in text

    def test_wrong_flags_and_damage(self, trained: Project, named: Named, capsys: pytest.CaptureFixture[str]) -> None:
        assert "-k: must be at least 1, not 0" in refused(capsys, "status", trained.folder, "-k", "0")
        mask = trained.image(named("complete")[0]).annotation
        assert mask is not None
        mask.mask.unlink()
        assert main(["status", str(trained.folder)]) == 0
        assert mask.mask.name in refused(capsys, "status", trained.folder, "--check")
