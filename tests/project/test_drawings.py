"""Drawing stroke by stroke: nothing acknowledged is lost, nothing of others is written over."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frugalseg.atomic import write_json
from frugalseg.errors import InputError
from frugalseg.images import write_label_map
from frugalseg.project import ConflictError, Drawings, Project, Stroke, UnknownImageError, Window, pack_labels
from frugalseg.project.round_files import proposal_classes_file, proposal_file

from .builders import HEIGHT, WIDTH, small_project, two_objects

WHOLE = (0, 0, WIDTH, HEIGHT)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path, "a", "b")


@pytest.fixture
def a(project: Project) -> int:
    return project.image("a").id


def square(uuid: str, window: Window, label: int, **more: object) -> Stroke:
    _, _, w, h = window
    return Stroke(uuid, "brush", window, pack_labels(np.full((h, w), label)), **more)  # type: ignore[arg-type]


def shown(project: Project, image: int) -> np.ndarray:
    """What a process that has just started would show."""
    return Drawings(Project.open(project.folder)).labels(image, WHOLE)[1]


def with_proposal(project: Project, name: str, labels: np.ndarray) -> int:
    """A trained round that proposes these objects; returns its number."""
    project.annotate("b", two_objects(), complete=True, source="test")
    number = project.begin_round({}, [project.image("b")]).number
    project.finish_round(number, {})
    write_label_map(proposal_file(project.folder, number, name), labels)
    return number


def test_strokes_survive_the_process(project: Project, a: int) -> None:
    drawings = Drawings(project)
    state = drawings.state(a)
    assert (state.edit, state.next_label) == ("e0.0", 1)
    state = drawings.draw(a, state.edit, square("s1", (2, 3, 5, 4), 1))
    state = drawings.draw(a, state.edit, square("s2", (4, 5, 6, 2), 2))
    expected = np.zeros((HEIGHT, WIDTH), np.int32)
    expected[3:7, 2:7] = 1
    expected[5:7, 4:10] = 2
    assert (shown(project, a) == expected).all()
    assert (drawings.labels(a, WHOLE)[1] == expected).all()
    assert (state.edit, state.next_label) == ("e0.2", 3)


def test_same_stroke_twice_is_stored_once(project: Project, a: int) -> None:
    drawings = Drawings(project)
    first = drawings.draw(a, "e0.0", square("s1", (0, 0, 2, 2), 1))
    again = drawings.draw(a, "e0.0", square("s1", (0, 0, 2, 2), 1))
    assert again.edit == first.edit == "e0.1"
    with pytest.raises(InputError, match="another image"):
        drawings.draw(project.image("b").id, "e0.0", square("s1", (0, 0, 2, 2), 1))


def test_stale_tab_is_told_and_changes_nothing(project: Project, a: int) -> None:
    drawings, other_tab = Drawings(project), Drawings(Project.open(project.folder))
    drawings.draw(a, "e0.0", square("s1", (0, 0, 2, 2), 1))
    before = shown(project, a)
    with pytest.raises(ConflictError, match="changed elsewhere") as caught:
        other_tab.draw(a, "e0.0", square("s2", (5, 5, 2, 2), 2))
    assert caught.value.edit == "e0.1"
    assert (shown(project, a) == before).all()
    other_tab.draw(a, caught.value.edit, square("s3", (5, 5, 2, 2), 2))
    assert (drawings.labels(a, WHOLE)[1] == shown(project, a)).all(), "a kept label map is not shown once it is old"


def test_version_holds_what_was_drawn_and_ends_the_journal(project: Project, a: int) -> None:
    drawings = Drawings(project)
    drawings.draw(a, "e0.0", square("s1", (0, 0, 3, 2), 1))
    version, state = drawings.keep(a, "e0.1", "submit", complete=True)
    assert version is not None
    assert (version.version, version.complete, version.source, version.n_objects) == (1, True, "page:submit", 1)
    assert (state.edit, state.next_label) == ("v1.0", 2)
    assert (project.labels(version) == shown(project, a)).all()
    same, _ = drawings.keep(a, "v1.0", "timer")
    assert same is not None
    assert same.version == 1, "nothing new, no new version"
    assert project.integrity() == ()


def test_an_autosave_keeps_what_the_last_version_said_of_completeness(project: Project, a: int) -> None:
    drawings = Drawings(project)
    drawings.draw(a, "e0.0", square("s1", (0, 0, 3, 2), 1))
    assert drawings.keep(a, "e0.1", "timer")[0].complete is False  # type: ignore[union-attr]
    drawings.keep(a, "v1.0", "submit", complete=True)
    drawings.draw(a, "v2.0", square("s2", (9, 9, 1, 1), 2))
    assert drawings.keep(a, "v2.1", "leave")[0].complete is True  # type: ignore[union-attr]


def test_nothing_drawn_makes_no_version(project: Project, a: int) -> None:
    drawings = Drawings(project)
    assert drawings.keep(a, "e0.0", "leave")[0] is None
    assert project.history("a") == ()


def test_restoring_loses_nothing(project: Project, a: int) -> None:
    drawings = Drawings(project)
    drawings.draw(a, "e0.0", square("s1", (0, 0, 3, 2), 1))
    drawings.keep(a, "e0.1", "submit", complete=True)
    drawings.draw(a, "v1.0", square("s2", (0, 0, WIDTH, HEIGHT), 0))
    restored, state = drawings.restore(a, "v1.1", 1)
    assert (restored.version, restored.source, state.edit) == (3, "restore:1", "v3.0")
    assert [each.source for each in project.history("a")] == ["page:submit", "page:before-restore", "restore:1"]
    assert (drawings.version_labels(a, 2) == 0).all()
    assert (drawings.version_labels(a, 3) == drawings.version_labels(a, 1)).all()
    with pytest.raises(InputError, match="no version 9"):
        drawings.restore(a, "v3.0", 9)


@pytest.mark.parametrize("mine", [True, False])
def test_a_mask_imported_meanwhile_is_settled_without_loss(project: Project, a: int, mine: bool) -> None:
    drawings = Drawings(project)
    state = drawings.draw(a, "e0.0", square("s1", (0, 0, 3, 2), 7))
    project.annotate("a", two_objects(), complete=True, source="import")
    with pytest.raises(ConflictError, match="newer version"):
        drawings.draw(a, state.edit, square("s2", (9, 9, 2, 2), 8))
    with pytest.raises(ConflictError, match="newer version"):
        drawings.keep(a, state.edit, "submit", complete=True)
    version, state = drawings.resolve(a, "e0.1", mine=mine)
    drawn = np.zeros((HEIGHT, WIDTH), np.int32)
    drawn[0:2, 0:3] = 7
    assert (drawings.version_labels(a, 2) == drawn).all()
    assert (shown(project, a) == (drawn if mine else two_objects())).all()
    assert (version.version, state.edit) == ((2, "v2.0") if mine else (3, "v3.0"))
    assert version.complete is not mine, "an unfinished drawing is not finished because the imported mask was"


def test_proposal_is_the_start_and_can_be_declined(project: Project, a: int) -> None:
    number = with_proposal(project, "a", two_objects())
    drawings = Drawings(project)
    state = drawings.state(a)
    assert (state.edit, state.proposal, state.next_label) == (f"p{number}.0", number, 3)
    assert project.history("a") == (), "looking annotates nothing"
    assert drawings.start(a, state.edit, "empty").edit == "e0.0"
    assert not drawings.labels(a, WHOLE)[1].any()
    state = drawings.start(a, "e0.0", "proposal")
    assert (drawings.labels(a, WHOLE)[1] == two_objects()).all()
    state = drawings.draw(a, state.edit, square("s1", (3, 2, 1, 1), 0, accepted=(1,)))
    assert state.accepted == (1,)
    state = drawings.keep(a, state.edit, "timer")[1]
    assert (state.edit, state.proposal, state.accepted) == ("v1.0", number, (1,)), "what was looked at is remembered"
    state = drawings.keep(a, state.edit, "submit", complete=True)[1]
    assert (state.edit, state.proposal) == ("v2.0", None)
    with pytest.raises(ConflictError):
        drawings.start(a, state.edit, "empty")


def test_a_proposal_that_was_open_may_still_be_drawn_on(project: Project, a: int) -> None:
    number = with_proposal(project, "a", two_objects())
    opened = Drawings(project).state(a)
    newer = with_proposal(project, "a", two_objects() * 3)
    assert newer != number
    state = Drawings(project).draw(a, opened.edit, square("s1", (0, 0, 1, 1), 9))
    assert state.edit == f"p{number}.1"
    assert shown(project, a)[3, 4] == 1


def test_validation_images_get_no_proposal(project: Project) -> None:
    (name,) = project.draw_validation(share=0.5, seed=1)
    other = next(each.name for each in project.images() if each.name != name)
    project.annotate(other, two_objects(), complete=True, source="test")
    number = project.begin_round({}, [project.image(other)]).number
    project.finish_round(number, {})
    write_label_map(proposal_file(project.folder, number, name), two_objects())
    assert Drawings(project).state(project.image(name).id).edit == "e0.0"
    with pytest.raises(ConflictError):
        Drawings(project).draw(project.image(name).id, f"p{number}.0", square("s", (0, 0, 1, 1), 1))


def test_classes_follow_the_strokes(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", ("gland", "artefact"))
    project.add_images([*small_project(tmp_path / "other", "a").folder.glob("images/a.png")])
    a, drawings = project.image("a").id, Drawings(project)
    drawings.draw(a, "e0.0", square("s1", (0, 0, 3, 2), 1, object_classes={1: 1}))
    drawings.draw(a, "e0.1", square("s2", (8, 8, 2, 2), 2))
    drawings.draw(a, "e0.2", Stroke("s3", "class", (0, 0, 0, 0), object_classes={2: 1, 1: None}))
    assert Drawings(project).state(a).object_classes == {2: 1}
    version, _ = drawings.keep(a, "e0.3", "submit", complete=True)
    assert version is not None
    assert version.object_classes == {1: 0, 2: 1}
    assert Drawings(project).state(a).object_classes == {1: 0, 2: 1}
    with pytest.raises(InputError, match="cannot be changed"):
        project.rename_classes(("x",))


def test_a_proposal_brings_its_classes(tmp_path: Path) -> None:
    other = small_project(tmp_path / "other", "a", "b")
    project = Project.create(tmp_path / "p", ("gland", "artefact"))
    project.add_images([*other.folder.glob("images/*.png")])
    number = with_proposal(project, "a", two_objects())
    write_json(proposal_classes_file(project.folder, number, "a"), {"1": 0, "2": 1})
    a, drawings = project.image("a").id, Drawings(project)
    assert drawings.state(a).object_classes == {1: 0, 2: 1}
    assert drawings.start(a, drawings.state(a).edit, "empty").object_classes == {}
    assert drawings.start(a, "e0.0", "proposal").object_classes == {1: 0, 2: 1}
    version, _ = drawings.keep(a, f"p{number}.0", "submit", complete=True)
    assert version is not None
    assert version.object_classes == {1: 0, 2: 1}


def test_only_the_window_is_drawn_on(project: Project, a: int) -> None:
    from frugalseg.project import Reason

    project.add_suggestions([Reason("a", window=(4, 4, 10, 10))], "cover")
    drawings = Drawings(project)
    assert drawings.state(a).window == (4, 4, 10, 10)
    assert (drawings.labels(a, WHOLE)[1][:4] == -1).all()
    edit = drawings.state(a).edit
    with pytest.raises(InputError, match="must lie within 4, 4, 10, 10"):
        drawings.draw(a, edit, square("s1", (0, 0, 8, 8), 1))
    after = drawings.draw(a, edit, square("s1", (4, 4, 3, 3), 1))
    version, _ = drawings.keep(a, after.edit, "submit", complete=True)
    assert version is not None
    assert version.window == (4, 4, 10, 10)


def test_numbers_stay_while_somebody_draws(project: Project, a: int) -> None:
    """The page goes on with its own, however large, after a version was made."""
    drawings = Drawings(project)
    drawings.draw(a, "e0.0", square("s1", (2, 2, 6, 6), 9_000_000))
    _, state = drawings.keep(a, "e0.1", "timer")
    drawings.draw(a, state.edit, square("s2", (8, 2, 2, 6), 9_000_000))
    version, _ = drawings.keep(a, "v1.1", "submit", complete=True)
    assert version is not None
    assert version.n_objects == 1
    assert np.unique(project.labels(version)).tolist() == [0, 9_000_000]


def test_all_windows_of_one_ask_can_be_drawn_on(project: Project, a: int) -> None:
    from frugalseg.project import Reason

    project.add_suggestions([Reason("a", window=(20, 20, 4, 4))], "cover")
    project.add_suggestions([Reason("a", window=(8, 4, 6, 6)), Reason("a", window=(2, 6, 6, 6))], "cover")
    drawings = Drawings(project)
    assert drawings.state(a).window == (2, 4, 12, 8), "the rectangle around those of the newest ask"
    project.add_suggestions([Reason("a")], "cover")
    assert drawings.state(a).window is None


def test_what_is_to_be_drawn_does_not_change_under_a_pen(project: Project, a: int) -> None:
    """A window was drawn; before it is marked as complete, the whole image is asked for: its rest is not background."""
    from frugalseg.project import Reason

    project.add_suggestions([Reason("a", window=(4, 4, 10, 10))], "cover")
    drawings = Drawings(project)
    after = drawings.draw(a, drawings.state(a).edit, square("s1", (4, 4, 3, 3), 1))
    project.add_suggestions([Reason("a")], "cover")
    with pytest.raises(ConflictError, match="changed elsewhere"):
        drawings.keep(a, after.edit, "submit", complete=True)
    assert project.image("a").annotation is None
    assert drawings.state(a).window is None
    assert (drawings.labels(a, WHOLE)[1] != -1).all()


def test_a_stroke_sent_again_is_answered_by_its_own_state(project: Project, a: int) -> None:
    """Its first answer was lost, and another tab drew meanwhile: the next stroke of the first is a conflict."""
    drawings = Drawings(project)
    first = drawings.draw(a, "e0.0", square("s1", (0, 0, 3, 3), 1))
    drawings.draw(a, first.edit, square("s2", (2, 2, 6, 6), 2))
    again = drawings.draw(a, "e0.0", square("s1", (0, 0, 3, 3), 1))
    assert again.edit == first.edit
    with pytest.raises(ConflictError):
        drawings.draw(a, again.edit, square("s3", (0, 0, 4, 4), 3))
    assert (drawings.labels(a, WHOLE)[1] == 2).sum() == 36


def test_a_suggestion_takes_nothing_that_was_drawn_before_it(project: Project, a: int) -> None:
    from frugalseg.project import Reason

    drawings = Drawings(project)
    drawings.draw(a, drawings.state(a).edit, square("s1", (0, 0, 3, 3), 1))
    state = drawings.draw(a, "e0.1", square("s2", (10, 10, 3, 3), 2))
    project.add_suggestions([Reason("a", window=(8, 8, 10, 10))], "cover")
    with pytest.raises(ConflictError, match="changed elsewhere"):
        drawings.keep(a, state.edit, "submit", complete=True)
    version, _ = drawings.keep(a, drawings.state(a).edit, "submit", complete=True)
    assert version is not None
    assert version.window == (0, 0, 18, 18)
    assert {1, 2} <= set(np.unique(project.labels(version)).tolist())


BAD = {
    "outside": Stroke("s", "brush", (WIDTH - 1, 0, 2, 1), pack_labels(np.ones((1, 2)))),
    "negative place": Stroke("s", "brush", (-1, 0, 2, 1), pack_labels(np.ones((1, 2)))),
    "no height": Stroke("s", "brush", (0, 0, 2, 0), b""),
    "not deflated": Stroke("s", "brush", (0, 0, 2, 1), b"hello"),
    "cut": Stroke("s", "brush", (0, 0, 8, 8), pack_labels(np.arange(64))[:-3]),
    "too little": Stroke("s", "brush", (0, 0, 4, 4), pack_labels(np.ones((2, 2)))),
    "too much": Stroke("s", "brush", (0, 0, 2, 2), pack_labels(np.ones((4, 4)))),
    "bomb": Stroke("s", "brush", (0, 0, 2, 2), zlib.compress(bytes(100_000_000))),
    "rest behind": Stroke("s", "brush", (0, 0, 2, 2), pack_labels(np.ones((2, 2))) + b"x"),
    "label -2": Stroke("s", "brush", (0, 0, 1, 1), pack_labels(np.array([[-2]]))),
    "huge label": Stroke("s", "brush", (0, 0, 1, 1), pack_labels(np.array([[2**24]]))),
    "unknown class": Stroke("s", "class", (0, 0, 0, 0), object_classes={1: 1}),
    "class of background": Stroke("s", "class", (0, 0, 0, 0), object_classes={0: 0}),
    "accepted 0": Stroke("s", "accept", (0, 0, 0, 0), accepted=(0,)),
}


@pytest.mark.parametrize("stroke", BAD.values(), ids=BAD)
def test_impossible_strokes_are_refused(project: Project, a: int, stroke: Stroke) -> None:
    with pytest.raises(InputError):
        Drawings(project).draw(a, "e0.0", stroke)
    assert Drawings(project).state(a).edit == "e0.0"


@pytest.mark.parametrize(
    "edit", ["", "x", "e0", "e0.", "e0.1", "e1.0", "p0.0", "p00.0", "p-1.0", "v1.0", "p9" * 99, "e0.0\x00"]
)
def test_unknown_states_are_conflicts(project: Project, a: int, edit: str) -> None:
    with pytest.raises(ConflictError):
        Drawings(project).draw(a, edit, square("s", (0, 0, 1, 1), 1))


def test_unknown_image(project: Project) -> None:
    with pytest.raises(UnknownImageError, match="image 99"):
        Drawings(project).state(99)


rectangles = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, 8), st.integers(1, 8))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(rectangles, st.integers(0, 5), st.booleans()), max_size=12))
def test_replay_equals_drawing_at_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Window, int, bool]]
) -> None:
    project = small_project(tmp_path_factory.mktemp("replay"), "a")
    a, drawings = project.image("a").id, Drawings(project)
    expected = np.zeros((HEIGHT, WIDTH), np.int32)
    edit = "e0.0"
    for number, ((x, y, w, h), label, save) in enumerate(steps):
        w, h = min(w, WIDTH - x), min(h, HEIGHT - y)
        edit = drawings.draw(a, edit, square(f"s{number}", (x, y, w, h), label)).edit
        expected[y : y + h, x : x + w] = label
        if save:
            edit = drawings.keep(a, edit, "timer")[1].edit
    assert (shown(project, a) == expected).all()


def test_opening_a_project_again_takes_no_lock_away(project: Project, a: int) -> None:
    """Where a process opened and closed the database file itself, it would lose its locks on it; then another process
    that ends removes the log under this one, and what is drawn afterwards is gone."""
    here = Drawings(project)
    here.draw(a, "e0.0", square("s1", (0, 0, 2, 2), 1))
    Project.open(project.folder)
    code = "import sys, pathlib; from frugalseg.project import *; p = Project.open(pathlib.Path(sys.argv[1]))"
    say = f"{code}; print(Drawings(p).state({a}).edit)"
    for number in range(2, 5):
        subprocess.run([sys.executable, "-c", f"{code}; p.mark_usable('b')", str(project.folder)], check=True)
        here.draw(a, f"e0.{number - 1}", square(f"s{number}", (number, number, 2, 2), number))
        told = subprocess.run(
            [sys.executable, "-c", say, str(project.folder)], check=True, capture_output=True, text=True
        )
        assert told.stdout.strip() == f"e0.{number}"
