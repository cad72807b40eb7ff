"""What is suggested of slides: windows of tissue, at their right places, never twice the same part."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frugalseg.errors import InputError
from frugalseg.images import read_image
from frugalseg.project import Project, ProjectSlide, SlideSettings, Window, check_slides
from frugalseg.project.round_files import proposal_file
from frugalseg.rounds.report import publish
from frugalseg.rounds.slide_windows import OpenSlides, SlideWindow, free_windows, grid, place_of, thinned
from frugalseg.rounds.suggesting import Answer, Request, suggest_round
from frugalseg.slides import SlideView, open_slide
from frugalseg.streaming.tissue import tissue_of
from frugalseg.synthetic.slides import write_synthetic_slide

SIDE = 256


@pytest.fixture(scope="session")
def slide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides, half glass, for reading only."""
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate(("s", "t"), 1):
        write_synthetic_slide(folder / f"{name}.tif", 4096, 3072, seed=seed, pixel_size_um=0.5, tissue=0.5, kind="tiff")
    return folder


def add(project: Project, folder: Path, *names: str, pixel_size_um: float | None = None) -> Project:
    settings = SlideSettings(pixel_size_um, SIDE)
    project.add_slides(check_slides([folder / f"{name}.tif" for name in names], settings), ("slides", folder))
    return project


@pytest.fixture
def fresh(tmp_path: Path, slide_folder: Path) -> Project:
    """A project of the two slides."""
    return add(Project.create(tmp_path / "fresh"), slide_folder, "s", "t")


def overlapping(places: list[Window]) -> list[tuple[Window, Window]]:
    covered = []
    for one, other in itertools.combinations(places, 2):
        across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
        down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
        if across > 0 and down > 0:
            covered.append((one, other))
    return covered


def places(project: Project, role: str) -> dict[str, Window]:
    return {
        each.name: (each.slide.x, each.slide.y, each.slide.width, each.slide.height)
        for each in project.images()
        if each.slide is not None and each.role == role
    }


def test_the_grid_lies_in_the_middle() -> None:
    assert grid(1100, 600, 512) == [(38, 44, 512, 512), (550, 44, 512, 512)]
    assert grid(300, 1024, 512) == [(0, 0, 300, 512), (0, 512, 300, 512)]
    assert grid(1, 1, 512) == [(0, 0, 1, 1)]


@given(st.integers(1, 400), st.integers(1, 60), st.integers(0, 5))
def test_thinning_is_even_and_repeats(n: int, most: int, seed: int) -> None:
    windows = [SlideWindow(None, (place, 0, 1, 1), (place, 0, 1, 1)) for place in range(n)]  # type: ignore[arg-type]
    kept = [each.box[0] for each in thinned(windows, most, [seed])]
    assert len(kept) == min(n, most)
    assert kept == sorted(set(kept))
    assert kept == [each.box[0] for each in thinned(windows, most, [seed])]
    if n > most:
        assert max(np.diff([-1, *kept, n])) <= 2 * -(-n // most) + 1


@given(st.integers(1, 900), st.integers(1, 900), st.floats(0.95, 9), st.integers(64, 300))
def test_places_lie_in_the_slide_side_by_side(width: int, height: int, factor: float, side: int) -> None:
    view = max(1, round(width / factor)), max(1, round(height / factor))
    found = [place_of(box, view, (width, height)) for box in grid(*view, side)]
    assert not overlapping(found)
    for x, y, w, h in found:
        assert x >= 0 <= y
        assert x + w <= width
        assert y + h <= height
        assert w <= side * width / view[0] + 1
        assert h <= side * height / view[1] + 1


def test_suggested_windows_are_parts_of_the_slide(fresh: Project) -> None:
    answer = suggest_round(fresh, Request(k=3, slide_candidates=8))
    (source,) = fresh.slides_for("pool")
    (aside,) = fresh.slides_for("validation")
    assert [each.image for each in fresh.suggestions()] == [pick.name for pick in answer.suggestions]
    training, validation = places(fresh, "pool"), places(fresh, "validation")
    assert set(training) == {each.image for each in fresh.suggestions()}
    assert len(training) == 3, "there is one slide to choose from, so it gives more than two"
    assert set(answer.set_aside) == set(validation)
    assert len(validation) == 1
    assert {fresh.image(name).group for name in training} == {source.name}
    assert {fresh.image(name).group for name in validation} == {aside.name}
    for slide, found in ((source, training), (aside, validation)):
        assert not overlapping(list(found.values()))
        with open_slide(slide.path) as opened:
            for name, (x, y, width, height) in found.items():
                assert (width, height) == (SIDE, SIDE)
                pixels = read_image(fresh.image(name).path)
                assert (pixels == opened.read_region(0, x, y, width, height)).all()
                assert tissue_of(opened.read_region(0, x, y, width, height)).mean() > 0.02, "not glass"
    assert fresh.integrity() == ()
    assert publish(fresh, answer).is_file()


def test_no_part_is_suggested_twice_and_validation_keeps_its_share(fresh: Project) -> None:
    asked = []
    for n in (1, 2, 3):
        answer = suggest_round(fresh, Request(k=4, slide_candidates=6, strategy="random", validation=0.25))
        assert answer.ask == n
        asked.append(answer)
    both = [places(fresh, role) for role in ("pool", "validation")]
    for found in both:
        assert not overlapping(list(found.values()))
    n_training, n_validation = map(len, both)
    assert n_training > 4, "windows that wait stay among the candidates, and new ones join them"
    assert n_validation == -(-n_training // 3)
    assert len(asked[0].pool.names) == 6


def test_at_most_so_many_of_a_slide(fresh: Project) -> None:
    request = Request(k=6, per_image=2, slide_candidates=6, validation=0.0)
    suggest_round(fresh, request)
    for slide in fresh.slides():
        assert sum(each.slide is not None and each.slide.id == slide.id for each in fresh.images()) == 2
    answer = suggest_round(fresh, request)
    sources = [fresh.image(pick.name).slide for pick in answer.suggestions]
    assert max(sum(each is not None and each.name == name for each in sources) for name in ("s", "t")) == 2


def test_windows_at_a_coarser_pixel_size(tmp_path: Path, slide_folder: Path) -> None:
    project = add(Project.create(tmp_path / "coarse"), slide_folder, "s", pixel_size_um=1.0)
    suggest_round(project, Request(k=2, slide_candidates=4))
    for image in project.images():
        assert image.slide is not None
        assert (image.width, image.height, image.pixel_size_um) == (SIDE, SIDE, 1.0)
        assert (image.slide.width, image.slide.height) == (2 * SIDE, 2 * SIDE)
        with open_slide(project.slides()[0].path) as opened:
            expected = SlideView(opened, 2.0).read(image.slide.x // 2, image.slide.y // 2, SIDE, SIDE)
        assert (read_image(image.path) == expected).all()


def test_the_same_project_and_seed_suggest_the_same(fresh: Project, tmp_path: Path) -> None:
    other = Project.open(Path(shutil.copytree(fresh.folder, tmp_path / "copy")))

    def names(answer: Answer) -> list[str]:
        return [pick.name for pick in answer.suggestions]

    request = Request(k=2, slide_candidates=5, seed=3)
    assert names(suggest_round(fresh, request)) == names(suggest_round(other, request))
    assert places(fresh, "validation") == places(other, "validation")


def test_a_slide_that_is_gone_stops_the_suggestion_and_unusable_it_does_not(tmp_path: Path, slide_folder: Path) -> None:
    shutil.copytree(slide_folder, tmp_path / "moving")
    project = add(Project.create(tmp_path / "project"), tmp_path / "moving", "s", "t")
    (tmp_path / "moving" / "t.tif").unlink()
    request = Request(k=1, slide_candidates=3, validation=0.0)
    with pytest.raises(InputError, match=r"t\.tif"):
        suggest_round(project, request)
    assert project.suggestions() == ()
    assert project.images() == ()
    project.mark_unusable("t", "lost")
    assert suggest_round(project, request).suggestions[0].name.startswith("s_x")
    project.mark_unusable("s", "lost too")
    project.mark_unusable(project.images()[0].name, "lost as well")
    with pytest.raises(InputError, match="has no image left"):
        suggest_round(project, request)


def test_free_windows_touch_none_that_is_taken(fresh: Project) -> None:
    slide: ProjectSlide = fresh.slides()[0]
    with OpenSlides() as slides:
        everything = free_windows(slides, slide, [])
        x, y, width, height = everything[3].place
        left = free_windows(slides, slide, [(x + width - 1, y, 1, height)])
    assert [each for each in everything if each.place == (x, y, width, height)]
    assert {each.place for each in everything} - {each.place for each in left} == {(x, y, width, height)}


@pytest.mark.slow
def test_a_trained_round_looks_at_slides_and_images_alike(trained: Project, slide_folder: Path) -> None:
    add(trained, slide_folder, "s")
    answer = suggest_round(trained, Request(k=20, n_candidates=20, slide_candidates=3))
    publish(trained, answer)
    windows = [each.name for each in trained.images() if each.slide is not None]
    assert set(windows) < {pick.name for pick in answer.suggestions}
    assert len(windows) == 3
    assert answer.round is not None
    for name in windows:
        assert proposal_file(trained.folder, answer.round, name).is_file()
