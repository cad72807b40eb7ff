"""Rounds and suggestions as the project remembers them."""

from __future__ import annotations

from pathlib import Path

import pytest

from frugalseg.errors import InputError
from frugalseg.project import Project, Reason

from .builders import small_project, two_objects


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = small_project(tmp_path, *"abcd")
    project.draw_validation(share=0)
    project.annotate("a", two_objects(), complete=False, source="test")
    project.annotate("a", two_objects(), complete=True, source="test")
    return project


def test_rounds_remember_what_they_were_trained_on(project: Project) -> None:
    assert project.newest_round() is None
    opened = project.begin_round({"net": "lite", "members": 2}, project.labelled())
    assert (opened.number, opened.status, dict(opened.labelled)) == (0, "training", {"a": 2})
    assert project.newest_trained() is None
    for index in range(2):
        project.add_member(0, index, f"rounds/000/member-{index}", seed=index + 5)
    project.add_member(0, 1, "rounds/000/other", seed=9)
    done = project.finish_round(0, {"object_dice": 0.5})
    assert (done.status, dict(done.metrics)) == ("trained", {"object_dice": 0.5})
    assert done.finished_at is not None
    assert done.finished_at >= done.created_at
    project.annotate("a", two_objects() * 0, complete=True, source="test")
    again = Project.open(project.folder)
    assert again.newest_trained() == done
    assert dict(again.rounds()[0].labelled) == {"a": 2}, "a later version changes no earlier round"
    assert [(each.folder, each.seed) for each in done.members] == [("rounds/000/member-0", 5), ("rounds/000/other", 9)]
    second = project.begin_round({}, project.labelled())
    assert (second.number, project.newest_round(), project.newest_trained()) == (1, second, done)


def test_rounds_are_finished_once(project: Project) -> None:
    project.begin_round({}, project.labelled())
    project.finish_round(0, {})
    with pytest.raises(InputError, match="round 0: is trained already"):
        project.finish_round(0, {})
    with pytest.raises(InputError, match="round 4: is not in this project"):
        project.finish_round(4, {})
    with pytest.raises(InputError, match="round 4"):
        project.add_member(4, 0, "x", 0)
    with pytest.raises(InputError, match="b: has no annotation"):
        project.begin_round({}, [project.image("b")])


def test_settings_that_are_no_json_are_refused(project: Project) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        project.begin_round({"rate": float("nan")}, [])
    assert project.rounds() == ()


def test_suggestions_are_kept_by_ask(project: Project) -> None:
    assert project.suggestions() == ()
    cold = project.add_suggestions([Reason("b"), Reason("c", represents=0.5)], "cover", {"k": 2})
    assert [(each.ask, each.rank, each.image, each.round) for each in cold] == [(1, 1, "b", None), (1, 2, "c", None)]
    project.begin_round({}, project.labelled())
    project.finish_round(0, {})
    reason = Reason("d", (0, 0, 8, 8), 0.25, 3, 0.5, 0.75, ("b", "c"))
    project.add_suggestions([reason], "suggestive", {"k": 1}, round_number=0)
    again = Project.open(project.folder)
    (stored,) = again.suggestions()
    assert (stored.ask, stored.rank, stored.round, stored.reason) == (2, 1, 0, reason)
    assert (stored.strategy, dict(stored.settings)) == ("suggestive", {"k": 1})
    assert again.suggestions(ask=1) == cold
    assert again.suggestions(ask=9) == ()


def test_suggestions_of_unknown_images_are_all_named(project: Project) -> None:
    with pytest.raises(InputError) as caught:
        project.add_suggestions([Reason("a"), Reason("x"), Reason("y")], "random")
    assert [problem.where for problem in caught.value.problems] == ["x", "y"]
    with pytest.raises(InputError, match="round 3"):
        project.add_suggestions([Reason("a")], "random", round_number=3)
    assert project.suggestions() == ()
