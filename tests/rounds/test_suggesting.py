"""What a project suggests, before and after its first round."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frugalseg.ensemble.cold import UNKNOWN_SCALE_PX, cold_engine, cold_scale
from frugalseg.ensemble.scoring import score_images
from frugalseg.errors import ConfigError, InputError
from frugalseg.predict import load_model
from frugalseg.project import Project
from frugalseg.project.round_files import round_folder
from frugalseg.rounds.data import as_sample
from frugalseg.rounds.report import principal_plane, write_suggestions
from frugalseg.rounds.suggesting import Request, suggest_round
from frugalseg.suggest import COMPARING, STRATEGIES

Named = Callable[[str], list[str]]
Annotate = Callable[..., None]


def plain_cover(descriptors: np.ndarray, k: int) -> list[int]:
    """Greedily the rows that are most like all rows, by the formula (Yang et al. 2017, eq. 2)."""
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    alike = np.maximum(unit @ unit.T, 0)
    chosen: list[int] = []
    for _ in range(k):
        gains = [
            -1.0 if index in chosen else alike[:, [*chosen, index]].max(axis=1).sum() for index in range(len(unit))
        ]
        chosen.append(int(np.argmax(gains)))
    return chosen


class TestColdStart:
    def test_images_that_the_pretrained_encoder_finds_representative(self, project: Project) -> None:
        answer = suggest_round(project, Request(k=3))
        assert (answer.strategy, answer.round, answer.card, answer.ask) == ("cover", None, None, 1)
        pool = project.pool()
        assert set(answer.pool.names) == {image.name for image in pool}
        samples = [as_sample(image, annotated=False) for image in pool]
        scored = list(score_images([cold_engine("lite")], samples, cold_scale(None, "lite")))
        chosen = plain_cover(np.stack([each.descriptor for each in scored]).astype(float), 3)
        assert [pick.name for pick in answer.suggestions] == [pool[index].name for index in chosen]

    def test_validation_images_are_reserved_once_and_never_suggested(self, project: Project) -> None:
        first = suggest_round(project, Request(k=2))
        reserved = {image.name for image in project.validation()}
        assert len(reserved) == 2
        assert set(first.set_aside) == reserved
        everything = suggest_round(project, Request(k=20, seed=5, strategy="random", validation=0.6))
        assert {image.name for image in project.validation()} == reserved
        assert {pick.name for pick in everything.suggestions} == {image.name for image in project.images()} - reserved

    def test_what_is_stored_says_no_uncertainty(self, project: Project) -> None:
        answer = suggest_round(project, Request(k=2, seed=4))
        stored = project.suggestions()
        assert [each.image for each in stored] == [pick.name for pick in answer.suggestions]
        for each, pick in zip(stored, answer.suggestions, strict=True):
            assert (each.round, each.strategy, each.settings["seed"]) == (None, "cover", 4)
            assert (each.reason.uncertainty, each.reason.uncertainty_rank) == (None, None)
            assert each.reason.represents == pytest.approx(pick.represents)
        assert sum(each.reason.represents or 0 for each in stored) == pytest.approx(1)

    @pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"cover", "kmeanspp", "random"}))
    def test_strategies_that_need_a_trained_round_are_refused(self, strategy: str, project: Project) -> None:
        with pytest.raises(ConfigError, match=f"{strategy} needs a trained round; before the first there are cover"):
            suggest_round(project, Request(strategy=strategy))
        assert project.suggestions() == ()
        assert project.validation() == (), "nothing was done before the refusal"

    def test_there_is_no_such_strategy(self, project: Project) -> None:
        with pytest.raises(ConfigError, match="no strategy 'guess'; there are suggestive"):
            suggest_round(project, Request(strategy="guess"))

    def test_annotated_images_count_as_covered(self, project: Project, annotate: Annotate) -> None:
        first = suggest_round(project, Request(k=2))
        names = [pick.name for pick in first.suggestions]
        annotate(project, *names)
        second = suggest_round(project, Request(k=2))
        assert not set(names) & {pick.name for pick in second.suggestions}
        assert len(second.labelled) == 2
        assert (first.ask, second.ask) == (1, 2)

    def test_scale_follows_the_diameter_or_the_size(self, project: Project) -> None:
        sample = as_sample(project.images()[0], annotated=False)
        net_px = 100 * cold_scale(100.0, "lite")(sample)
        assert cold_scale(50.0, "lite")(sample) == pytest.approx(net_px / 50)
        assert cold_scale(1.0, "lite")(sample) == 2.0, "as training does not enlarge them more"
        assert cold_scale(None, "lite")(sample) == 1.0, "small images are not enlarged"
        assert UNKNOWN_SCALE_PX > 88

    def test_networks_without_pretrained_weights_cannot_start(self) -> None:
        with pytest.raises(ConfigError, match=r"unet has no pretrained encoder, so it cannot choose .*; use lite"):
            cold_engine("unet")

    def test_nothing_left_to_suggest(self, project: Project, annotate: Annotate) -> None:
        project.draw_validation()
        annotate(project, *(image.name for image in project.pool()))
        with pytest.raises(InputError, match="has no image left to suggest"):
            suggest_round(project, Request())


class TestAfterARound:
    def test_the_ensemble_is_asked_and_reasons_are_stored(self, trained: Project, named: Named) -> None:
        answer = suggest_round(trained, Request(k=2, n_candidates=3))
        assert (answer.round, answer.strategy, len(answer.engines)) == (0, "suggestive", 2)
        left = sorted([*named("incomplete"), *named("bare")])
        assert sorted(answer.pool.names) == left
        model = load_model([round_folder(trained.folder, 0) / "ensemble.fseg"])
        samples = [as_sample(image, annotated=False) for image in trained.pool()]
        again = {
            each.sample.name: each.scores.uncertainty
            for each in score_images(model.engines, samples, lambda sample: model.card.scale, stain=model.card.stain)
        }
        assert len(set(again.values())) == len(left)
        ranks = {name: rank for rank, name in enumerate(sorted(again, key=lambda name: -again[name]), start=1)}
        stored = trained.suggestions(answer.ask)
        assert len(stored) == 2
        for rank, each in enumerate(stored, start=1):
            assert (each.rank, each.round, each.strategy) == (rank, 0, "suggestive")
            assert each.reason.uncertainty == pytest.approx(again[each.image], rel=1e-5)
            assert each.reason.uncertainty_rank == ranks[each.image]
            assert set(each.reason.nearest) <= set(left) - {one.image for one in stored}
            assert 0 < (each.reason.represents or 0) <= 1
            assert -1 <= (each.reason.similarity or 0) <= 1 + 1e-6

    def test_neither_validation_nor_unusable_nor_complete_images_are_suggested(
        self, trained: Project, named: Named
    ) -> None:
        answer = suggest_round(trained, Request(k=50, strategy="entropy"))
        assert sorted(pick.name for pick in answer.suggestions) == sorted([*named("incomplete"), *named("bare")])
        assert answer.set_aside == (), "all validation images are annotated"

    def test_the_same_question_gets_the_same_answer(self, trained: Project) -> None:
        for strategy in ("auto", "power"):
            one, two = (suggest_round(trained, Request(k=2, strategy=strategy, seed=7)) for _ in range(2))
            assert one.suggestions == two.suggestions

    def test_one_network_alone_compares_nothing(self, trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        newest = trained.newest_trained()
        assert newest is not None
        alone = dataclasses.replace(newest, members=newest.members[:1])
        monkeypatch.setattr(Project, "newest_trained", lambda _: alone)
        assert suggest_round(trained, Request(k=2)).strategy == "cover"
        for strategy in COMPARING:
            with pytest.raises(ConfigError, match=f"{strategy} compares networks"):
                suggest_round(trained, Request(k=2, strategy=strategy))

    def test_windows(self, trained: Project) -> None:
        side = 40
        answer = suggest_round(trained, Request(k=4, window_px=side, per_image=1))
        assert len(answer.suggestions) == 3, "three images are left, one window each"
        assert len(answer.pool.names) == 3 * 6, "an image of 72 x 88 is covered by two rows of three windows"
        stored = trained.suggestions()
        assert len({each.image for each in stored}) == 3
        for each, pick in zip(stored, answer.suggestions, strict=True):
            assert each.reason.window is not None
            x, y, width, height = each.reason.window
            assert pick.name == f"{each.image}_x{x}_y{y}"
            assert (width, height) == (side, side)
            assert 0 <= x <= 88 - side
            assert 0 <= y <= 72 - side

    def test_a_lost_ensemble_is_named(self, trained: Project) -> None:
        path = round_folder(trained.folder, 0) / "ensemble.fseg"
        path.unlink()
        with pytest.raises(InputError, match=re.escape(str(path))):
            suggest_round(trained, Request())

    def test_progress_counts_everything_that_is_scored(self, trained: Project) -> None:
        told: list[tuple[int, int]] = []
        suggest_round(trained, Request(k=1), advance=lambda done, total: told.append((done, total)))
        assert told == [(done, 5) for done in range(1, 6)], "three left, two annotated"


class TestReport:
    def page(self, project: Project, tmp_path: Path, request: Request) -> str:
        answer = suggest_round(project, request)
        write_suggestions(tmp_path / "page.html", project, answer)
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        for pick in answer.suggestions:
            assert pick.name in text
        sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", text)
        assert sources, "there are pictures in it"
        assert all(each.startswith(("data:", "#")) for each in sources), "the page needs no other file"
        assert not re.search(r"https?://(?!www\.w3\.org)", text)
        return text

    def test_a_cold_start_says_so(self, project: Project, tmp_path: Path) -> None:
        text = self.page(project, tmp_path, Request(k=2))
        assert "a pretrained encoder compared the images" in text
        assert "Where the networks differ" not in text
        for image in project.validation():
            assert image.name in text

    def test_after_a_round_it_shows_reasons(self, trained: Project, tmp_path: Path) -> None:
        text = self.page(trained, tmp_path, Request(k=2))
        assert "2 images to annotate next" in text
        assert "the 2 networks of round 0 were asked" in text
        assert "Where the networks differ" in text
        for each in trained.suggestions():
            assert f"{each.reason.uncertainty:.4f}" in text
            assert f"{100 * (each.reason.represents or 0):.0f} %" in text
            for name in each.reason.nearest:
                assert name in text

    def test_one_window(self, trained: Project, tmp_path: Path) -> None:
        assert "1 window to annotate next" in self.page(trained, tmp_path, Request(k=1, window_px=40))

    def test_the_plane_keeps_distances_of_flat_rows(self) -> None:
        rows = np.random.default_rng(0).normal(size=(7, 2))
        rows = np.column_stack([rows, np.zeros((7, 3))])
        plane = principal_plane(rows)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(
            np.linalg.norm(plane[:, None] - plane[None], axis=2), np.linalg.norm(unit[:, None] - unit[None], axis=2)
        )
        assert principal_plane(rows[:1]).tolist() == [[0, 0]]
