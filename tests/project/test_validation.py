"""The validation images: a share, whole patients, the same for the same seed, and never moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from frugalseg.errors import InputError
from frugalseg.images import Sample
from frugalseg.project import Project

from .builders import image_folder, small_project


def grouped_project(folder: Path, groups: Sequence[str], names: Sequence[str]) -> Project:
    project = Project.create(folder / "project")
    add_grouped(project, folder / "data", groups, names)
    return project


def add_grouped(project: Project, folder: Path, groups: Sequence[str], names: Sequence[str], seed: int = 0) -> None:
    paths = image_folder(folder, *names, first_seed=seed)
    project.add_images(
        [Sample(path.stem, path, None, "all", group=group) for path, group in zip(paths, groups, strict=True)]
    )


def roles(project: Project) -> dict[str, str | None]:
    return {image.name: image.role for image in project.images()}


def test_share_is_drawn_and_the_rest_is_the_pool(tmp_path: Path) -> None:
    project = small_project(tmp_path, *(f"i{number:02}" for number in range(20)))
    assert project.pool() == (), "before the draw nothing may be suggested"
    drawn = project.draw_validation(share=0.2, seed=3)
    assert len(drawn) == 4
    assert tuple(image.name for image in project.validation()) == drawn
    assert len(project.pool()) == 16
    assert project.draw_validation(share=0.2, seed=4) == ()


def test_same_seed_same_draw_in_any_order(tmp_path: Path) -> None:
    names = [f"i{number:02}" for number in range(12)]
    one = small_project(tmp_path / "1", *names)
    two = Project.create(tmp_path / "2")
    two.add_images([image.path for image in reversed(one.images())])
    three = small_project(tmp_path / "3", *names)
    draws = [project.draw_validation(0.25, seed) for project, seed in ((one, 1), (two, 1), (three, 2))]
    assert draws[0] == draws[1] != draws[2]


def test_groups_stay_whole_now_and_later(tmp_path: Path) -> None:
    groups = [f"p{number // 3}" for number in range(15)]
    project = grouped_project(tmp_path, groups, [f"i{number:02}" for number in range(15)])
    drawn = project.draw_validation(share=0.2, seed=0)
    assert len(drawn) == 3
    assert len({project.image(name).group for name in drawn}) == 1
    before = roles(project)
    add_grouped(project, tmp_path / "later", [f"p{number}" for number in range(5)], list("vwxyz"), seed=100)
    later = project.draw_validation(share=0.2, seed=0)
    assert len(later) == 1, "the new image of the validated patient"
    after = roles(project)
    assert {name: after[name] for name in before} == before
    for group in {image.group for image in project.images()}:
        assert len({image.role for image in project.images() if image.group == group}) == 1


def test_later_images_are_drawn_to_the_same_share(tmp_path: Path) -> None:
    project = small_project(tmp_path, *(f"i{number:02}" for number in range(10)))
    first = project.draw_validation(0.2)
    project.add_images(image_folder(tmp_path / "later", *(f"j{number:02}" for number in range(10)), first_seed=70))
    assert len(project.pool()) == 8, "what has not been drawn is not in the pool"
    second = project.draw_validation(0.2)
    assert (len(first), len(second)) == (2, 2)
    assert all(name.startswith("j") for name in second)


def test_unusable_images_get_no_role_until_they_are_usable(tmp_path: Path) -> None:
    project = small_project(tmp_path, *"abcd")
    project.mark_unusable("b", "torn")
    project.draw_validation()
    assert roles(project)["b"] is None
    project.mark_usable("b")
    project.draw_validation()
    assert roles(project)["b"] in ("pool", "validation")


def test_few_images(tmp_path: Path) -> None:
    assert Project.create(tmp_path / "none").draw_validation() == ()
    assert small_project(tmp_path / "1", "a").draw_validation() == ()
    two = small_project(tmp_path / "2", "a", "b")
    assert len(two.draw_validation(share=0.1)) == 1
    assert len(two.pool()) == 1
    high = small_project(tmp_path / "3", "a", "b")
    assert len(high.draw_validation(share=0.99)) == 1, "the pool keeps something"
    assert small_project(tmp_path / "4", *"abc").draw_validation(share=0) == ()


@pytest.mark.parametrize(("share", "seed"), [(1.0, 0), (-0.1, 0), (float("nan"), 0), (0.2, -1)])
def test_impossible_shares_and_seeds(tmp_path: Path, share: float, seed: int) -> None:
    with pytest.raises(InputError):
        small_project(tmp_path, "a").draw_validation(share, seed)


def annotate_all(project: Project, *names: str) -> None:
    for name in names:
        image = project.image(name)
        labels = np.zeros((image.height, image.width), np.int32)
        labels[1:4, 1:4] = 1
        project.annotate(name, labels, complete=True, source="test")


def test_what_is_annotated_before_any_draw_is_drawn_among_itself(tmp_path: Path) -> None:
    project = small_project(tmp_path, *"abcdefgh")
    annotate_all(project, *"abcde")
    project.mark_unusable("e", "blurred")
    assert [each.name for each in project.not_drawn()] == [*"abcd"]
    project.admit()
    assert project.not_drawn() == ()
    assert sorted(str(role) for role in roles(project).values()) == ["None"] * 4 + ["pool"] * 3 + ["validation"]
    assert {each.name for each in (*project.labelled(), *project.validation())} == {*"abcd"}


def test_what_is_annotated_after_the_draw_is_trained_on(tmp_path: Path) -> None:
    groups = ["p1", "p1", "p2", "p2", "p3", "p3"]
    project = grouped_project(tmp_path, groups, [*"abcdef"])
    aside = project.image(project.draw_validation(0.3)[0]).group
    assert aside is not None
    add_grouped(project, tmp_path / "more", [aside, "p4", "p4"], [*"xyz"], seed=50)
    annotate_all(project, "x", "y")
    project.admit()
    assert [roles(project)[name] for name in "xyz"] == ["validation", "pool", None]


def test_a_single_annotated_image_is_trained_on(tmp_path: Path) -> None:
    project = small_project(tmp_path, *"abc")
    annotate_all(project, "b")
    project.admit()
    assert [each.name for each in project.labelled()] == ["b"]
