"""The demo: the whole job, on small images here and in full length where it is asked for (``-m slow``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frugalseg.cli import main
from frugalseg.demo import choose_roles, run_demo
from frugalseg.errors import InputError
from frugalseg.images import open_dataset, read_label_map
from frugalseg.project import Project
from frugalseg.synthetic import write_synthetic_dataset


@pytest.fixture(scope="module")
def glas_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glas")
    write_synthetic_dataset(folder, 6, 2, seed=3, height=128, width=160)
    return folder


@pytest.mark.slow
def test_demo_on_given_images_leaves_a_report_and_its_parts(
    glas_like: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--data", str(glas_like), "--out", str(out), "--steps", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["n_pool"], document["n_test"]) == (6, 2)
    assert document["n_annotated"] == 2
    assert document["n_annotated"] + document["n_validation"] <= 6
    assert [each["images"] for each in document["rounds"]] == [1, 2]
    assert 0 <= document["object_dice"] <= 1
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/") == 2 + 2  # test images, what each round asked for
    assert "testA_1" in page
    assert "the data&#39;s own subsets train and testA" in page
    assert "5-bit codes" in page
    assert [path.name for path in sorted(out.glob("suggestion-*"))] == ["suggestion-1.html", "suggestion-2.html"]
    truth = read_label_map(glas_like / "testA_1_anno.png")
    assert read_label_map(out / "predictions" / "testA_1.png").shape == truth.shape
    assert json.loads((out / "demo.json").read_text()) == document
    project = Project.open(out / "project")
    assert not {image.name for image in project.images()} & {"testA_1", "testA_2"}
    assert len(project.newest_trained().members) == 3
    assert project.integrity() == ()

    (out / "project" / "project.sqlite").write_text("spoilt")
    again = run_demo(out, data=glas_like, steps=2, executor="serial")  # replaces the earlier demo
    assert again["object_dice"] == document["object_dice"]


def test_no_test_image_is_trained_on_or_validated_on(glas_like: Path) -> None:
    roles = choose_roles(open_dataset(glas_like))
    assert {sample.subset for sample in roles.train} == {"train"}
    assert {sample.subset for sample in roles.test} == {"testA"}
    alone = choose_roles(open_dataset(glas_like, subset="train"))
    assert alone.test
    assert not {sample.group for sample in alone.train} & {sample.group for sample in alone.test}
    assert len(alone.train) + len(alone.test) == 6
    assert "patients" in alone.reason


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda folder: write_synthetic_dataset(folder, 1, 0, seed=1, height=64, width=64), "needs two at least"),
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.mkdir(), "holds no images"),
    ],
)
def test_unfit_data_is_one_line_and_leaves_nothing(
    prepare: object, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path / "data")  # type: ignore[operator]
    assert main(["demo", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert reason in told[0]
    assert str(tmp_path / "data") in told[0]
    assert not (tmp_path / "out").exists()


def test_few_images_end_the_rounds_early(tmp_path: Path) -> None:
    """Of three there is one to score and one to validate on; a second round would have none to ask for."""
    write_synthetic_dataset(tmp_path / "data", 3, 0, seed=1, height=64, width=64)
    for path in (tmp_path / "data").glob("Grade*"):
        path.unlink()
    document = run_demo(tmp_path / "out", data=tmp_path / "data", steps=2, executor="serial")
    assert len(document["rounds"]) == 1
    assert Path(document["report"]).exists()


def test_images_inside_the_folder_that_is_cleared_are_left_alone(tmp_path: Path) -> None:
    """As a demo's own data are, which the README works with."""
    out = tmp_path / "demo"
    write_synthetic_dataset(out / "data", 3, 1, seed=1, height=64, width=80)
    (out / "demo.json").write_text("{}")
    before = sorted(path.name for path in (out / "data").iterdir())
    for data in (out / "data", out):
        with pytest.raises(InputError, match="which the demo clears; choose another folder with --out"):
            run_demo(out, data=data)
    assert sorted(path.name for path in (out / "data").iterdir()) == before


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds no earlier demo"):
        run_demo(tmp_path)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(InputError, match="is a file"):
        run_demo(tmp_path / "run" / "thesis.txt")


def test_steps_must_be_positive(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--steps", "0"]) == 2
    assert "--steps" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_finds_synthetic_glands(tmp_path: Path) -> None:
    document = run_demo(tmp_path / "demo")
    assert document["object_dice"] >= 0.85
    assert document["n_test"] == 10
