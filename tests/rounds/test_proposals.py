"""What a round proposes for images, and what it leaves of validation images."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from frugalseg.ensemble.config import EnsembleConfig
from frugalseg.ensemble.scoring import score_one
from frugalseg.errors import InputError
from frugalseg.executors import open_executor
from frugalseg.images import load_image, read_image, read_label_map
from frugalseg.metrics import pool, score_image
from frugalseg.predict import load_model
from frugalseg.project import Project, Round
from frugalseg.project.round_files import prediction_file, proposal_file, round_folder, uncertainty_file
from frugalseg.rounds import report
from frugalseg.rounds.data import as_sample
from frugalseg.rounds.proposals import find_suggested, propose, write_proposals
from frugalseg.rounds.report import publish
from frugalseg.rounds.suggesting import Request, suggest_round
from frugalseg.rounds.training import train_round, validate
from frugalseg.segmentation import scaled_size, segment
from frugalseg.train.config import TrainConfig

Named = Callable[[str], list[str]]
Annotate = Callable[..., None]


def labels_of(path: Path) -> np.ndarray:
    return read_label_map(path, split_binary=False)


def grey(path: Path) -> np.ndarray:
    with Pillow.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


class TestSuggested:
    def test_objects_and_uncertainty_are_those_of_the_ensemble(self, trained: Project, glands: Path) -> None:
        answer = suggest_round(trained, Request(k=2))
        publish(trained, answer)
        model = load_model([round_folder(trained.folder, 0) / "ensemble.fseg"])
        for pick in answer.suggestions:
            image = read_image(glands / f"{pick.name}.png")
            sample = as_sample(trained.image(pick.name), annotated=False)
            scale = model.card.scale_for(None)
            card = model.card
            expected = segment(model.engines, image, scale=scale, settings=card.instances, stain=card.stain)
            stored = labels_of(proposal_file(trained.folder, 0, pick.name))
            assert stored.shape == image.shape[:2]
            assert np.array_equal(stored, expected.labels)
            deviation = score_one(model.engines, sample, image, scale, card.stain).scores.uncertainty_map
            picture = grey(uncertainty_file(trained.folder, 0, pick.name))
            assert picture.shape == scaled_size(*image.shape[:2], scale)
            assert np.abs(picture - 255 * deviation / 0.5).max() <= 0.51
            assert math.isclose(deviation.mean(), pick.uncertainty, rel_tol=1e-5)

    def test_only_suggested_images_of_the_pool_have_one(self, trained: Project, named: Named) -> None:
        answer = suggest_round(trained, Request(k=20))
        publish(trained, answer)
        names = {path.name.split(".")[0] for path in (round_folder(trained.folder, 0) / "proposals").iterdir()}
        assert names == {pick.name for pick in answer.suggestions} == {*named("bare"), *named("incomplete")}

    def test_what_is_there_is_never_written_again(self, trained: Project) -> None:
        answer = suggest_round(trained, Request(k=3))
        found = find_suggested(answer)
        names = [pick.name for pick in answer.suggestions]
        taken = proposal_file(trained.folder, 0, names[0])
        taken.parent.mkdir()
        taken.write_bytes(b"mine")
        written = write_proposals(trained, answer, found)
        assert [path.name for path in written] == [f"{name}.tif" for name in names[1:]]
        assert taken.read_bytes() == b"mine"
        assert uncertainty_file(trained.folder, 0, names[0]).exists()
        assert write_proposals(trained, answer, found) == ()

    def test_each_image_is_looked_at_once_for_page_and_proposal(
        self, trained: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = suggest_round(trained, Request(k=2))
        looks: list[int] = []
        find = report.find_suggested
        monkeypatch.setattr(report, "find_suggested", lambda answer: looks.append(1) or find(answer))
        page = publish(trained, answer)
        assert page == trained.folder / "rounds" / "suggestion-001.html"
        assert "Where the networks differ" in page.read_text(encoding="utf-8")
        assert looks == [1]

    def test_a_cold_start_proposes_nothing(self, project: Project) -> None:
        page = publish(project, suggest_round(project, Request(k=2)))
        assert page.exists()
        assert [path.name for path in (project.folder / "rounds").iterdir()] == [page.name]

    def test_windows_are_filled_and_nothing_is_proposed_outside(self, trained: Project) -> None:
        answer = suggest_round(trained, Request(k=20, n_candidates=20, window_px=40, per_image=2))
        found = find_suggested(answer)
        publish(trained, answer)
        names = {trained.image(each.image).path: each.image for each in trained.suggestions()}
        assert len(answer.samples) > len(names), "of some image there are two"
        scale = answer.card.scale if answer.card else math.nan
        for path, name in names.items():
            labels = labels_of(proposal_file(trained.folder, 0, name))
            picture = grey(uncertainty_file(trained.folder, 0, name))
            assert labels.shape == (72, 88)
            assert picture.shape == scaled_size(72, 88, scale)
            outside = np.ones(labels.shape, dtype=bool)
            n_objects = 0
            for sample, finding in zip(answer.samples, found, strict=True):
                if sample.image != path:
                    continue
                assert sample.window is not None
                x, y, w, h = sample.window
                free = outside[y : y + h, x : x + w]  # not in a window that was suggested before
                part = np.where(free, labels[y : y + h, x : x + w], 0)
                objects = np.where(free, finding.labels, 0)
                assert np.array_equal(part > 0, objects > 0)
                pairs = set(zip(part.ravel().tolist(), objects.ravel().tolist(), strict=True)) - {(0, 0)}
                assert len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}) == len(pairs)
                n_objects += len(pairs)
                outside[y : y + h, x : x + w] = False
            assert not labels[outside].any()
            assert len(np.unique(labels[labels > 0])) == n_objects


class TestOneImage:
    def test_of_the_pool_by_the_newest_round(self, trained: Project, named: Named) -> None:
        trained.begin_round({}, [])
        image = trained.image(named("bare")[0])
        assert propose(trained, image) == 0
        model = load_model([round_folder(trained.folder, 0) / "ensemble.fseg"])
        pixels = load_image(as_sample(image, annotated=False))
        card = model.card
        expected = segment(model.engines, pixels, scale=card.scale, settings=card.instances, stain=card.stain)
        path = proposal_file(trained.folder, 0, image.name)
        assert np.array_equal(labels_of(path), expected.labels)
        before = path.stat().st_mtime_ns
        (round_folder(trained.folder, 0) / "ensemble.fseg").unlink()
        assert propose(trained, image) == 0, "there already, so nobody has to be asked"
        assert path.stat().st_mtime_ns == before

    def test_before_the_first_round(self, project: Project) -> None:
        with pytest.raises(InputError, match="has no trained round that could propose anything"):
            propose(project, project.images()[0])

    def test_refusals(self, trained: Project, named: Named) -> None:
        with pytest.raises(InputError, match="is for validation: it is drawn without a proposal"):
            propose(trained, trained.image(named("validation")[0]))
        (round_folder(trained.folder, 0) / "ensemble.fseg").unlink()
        with pytest.raises(InputError, match="the round's networks cannot be asked"):
            propose(trained, trained.image(named("bare")[0]))


class TestValidation:
    def test_predictions_are_those_that_were_scored(self, trained: Project, named: Named, glands: Path) -> None:
        metrics = trained.rounds()[0].metrics
        scores = {}
        for name in named("validation"):
            found = labels_of(prediction_file(trained.folder, 0, name))
            scores[name] = score_image(found, read_label_map(glands / f"{name}_anno.png"))
        assert pool(list(scores.values())).object_dice == metrics["object_dice"]
        assert metrics["worst_dice"] == {name: pool([scores[name]]).object_dice for name in metrics["worst"]}
        assert not (round_folder(trained.folder, 0) / "proposals").exists()

    def test_of_a_window_they_cover_the_whole_image(self, trained: Project, named: Named, glands: Path) -> None:
        first = named("validation")[0]
        truth = read_label_map(glands / f"{first}_anno.png")
        trained.annotate(first, truth, complete=True, source="test", window=(8, 4, 60, 50))
        validate(trained, round_folder(trained.folder, 0) / "ensemble.fseg", 0)
        found = labels_of(prediction_file(trained.folder, 0, first))
        assert found.shape == (72, 88)
        outside = np.ones(found.shape, dtype=bool)
        outside[4:54, 8:68] = False
        assert not found[outside].any()


def test_a_backup_holds_proposals_and_predictions(trained: Project, named: Named, tmp_path: Path) -> None:
    publish(trained, suggest_round(trained, Request(k=1)))
    trained.backup(tmp_path / "all.zip")
    packed = set(zipfile.ZipFile(tmp_path / "all.zip").namelist())
    name = trained.suggestions()[0].image
    for path in (
        proposal_file(trained.folder, 0, name),
        uncertainty_file(trained.folder, 0, name),
        prediction_file(trained.folder, 0, named("validation")[0]),
    ):
        assert path.relative_to(trained.folder).as_posix() in packed
    assert trained.integrity() == ()


class TestAbandoning:
    def test_the_next_round_has_all_annotations(
        self, trained: Project, annotate: Annotate, named: Named, tiny: TrainConfig, floats: EnsembleConfig
    ) -> None:
        trained.begin_round({"steps": 99}, trained.labelled())
        annotate(trained, *named("bare"))
        begun: list[tuple[Round, int]] = []
        done = train_round(
            trained, tiny, floats, open_executor("serial"), abandon=True, begun=lambda *told: begun.append(told)
        )
        assert [each.status for each in trained.rounds()] == ["trained", "abandoned", "trained"]
        assert (done.number, len(done.labelled)) == (2, 4)
        ((told, total),) = begun
        assert (told.number, told.status, total) == (2, "training", 2 * 2)

    def test_not_if_there_is_nothing_to_train_on(
        self, project: Project, tiny: TrainConfig, floats: EnsembleConfig
    ) -> None:
        project.draw_validation()
        project.begin_round({"steps": 99}, [])
        with pytest.raises(InputError, match="has no complete annotation"):
            train_round(project, tiny, floats, open_executor("serial"), abandon=True)
        assert [each.status for each in project.rounds()] == ["training"]
