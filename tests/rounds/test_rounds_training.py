"""A round: what it trains on, what it leaves, where it begins, and how it goes on after an interruption."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import packed_nets
import pytest
import torch

from frugalseg.artifact import read_artifact, write_artifact
from frugalseg.ensemble.config import EnsembleConfig
from frugalseg.errors import ConfigError, InputError, TrainingError
from frugalseg.executors import open_executor
from frugalseg.executors.serial import SerialExecutor
from frugalseg.graphs import float_tensors
from frugalseg.images import load_sample, open_dataset, read_image, read_label_map, write_image
from frugalseg.locking import training_lock
from frugalseg.metrics import pool, score_image
from frugalseg.predict import load_model
from frugalseg.project import Project
from frugalseg.project.round_files import round_folder
from frugalseg.rounds import training
from frugalseg.rounds.data import annotated_dataset
from frugalseg.rounds.training import train_round, validate
from frugalseg.segmentation import segment
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import read_config
from frugalseg.train.weights import load_net

Named = Callable[[str], list[str]]
Annotate = Callable[..., None]


class Breaking(SerialExecutor):
    """An executor whose user presses Ctrl-C after so many tasks."""

    def __init__(self, n_tasks: int) -> None:
        self.n_tasks = n_tasks

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any], *, label: Any = str) -> Iterator[Any]:
        yield from super().map(function, list(tasks)[: self.n_tasks], label=label)
        raise KeyboardInterrupt


@pytest.fixture
def ready(project: Project, annotate: Annotate) -> Project:
    """Roles drawn, two images of the pool annotated."""
    project.draw_validation()
    annotate(project, *(image.name for image in project.pool()[:2]))
    return project


def go(project: Project, config: TrainConfig, ensemble: EnsembleConfig, **more: Any) -> Any:
    return train_round(project, config, ensemble, open_executor("serial"), **more)


def weights(project: Project, number: int = 0) -> dict[str, str]:
    folder = round_folder(project.folder, number) / "members"
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("model.safetensors"))
    }


def listed(project: Project, number: int = 0) -> list[dict[str, Any]]:
    text = (round_folder(project.folder, number) / "data" / "samples.json").read_text(encoding="utf-8")
    return list(json.loads(text)["samples"])


class TestFirstRound:
    def test_trains_on_complete_annotations_of_usable_images_of_the_pool(self, trained: Project, named: Named) -> None:
        assert [each["name"] for each in listed(trained)] == named("complete")
        (only,) = trained.rounds()
        assert (only.number, only.status) == (0, "trained")
        assert only.labelled == dict.fromkeys(named("complete"), 1)
        members = round_folder(trained.folder, 0) / "members"
        for index, member in enumerate(only.members):
            assert trained.folder / member.folder == members / f"member-{index}"
            assert member.seed == read_config(members / f"member-{index}" / "float")["config"]["seed"]
            assert set(read_config(members / f"member-{index}")["data"]["train"]) <= set(named("complete"))
        assert len(only.members) == 2

    def test_the_list_of_its_data_is_a_data_set(self, trained: Project, glands: Path, named: Named) -> None:
        dataset = open_dataset(round_folder(trained.folder, 0) / "data")
        for sample in dataset.samples:
            assert sample.mask is not None
            assert np.array_equal(read_label_map(sample.mask), read_label_map(glands / f"{sample.name}_anno.png"))

    def test_leaves_an_ensemble_that_opens(self, trained: Project) -> None:
        model = load_model([round_folder(trained.folder, 0) / "ensemble.fseg"])
        assert len(model.engines) == 2
        assert (model.card.net, model.card.class_names) == ("unet", ("object",))
        assert model.card.quantization is not None
        assert trained.integrity() == ()

    def test_is_scored_on_the_validation_images(self, trained: Project, named: Named, glands: Path) -> None:
        metrics = trained.rounds()[0].metrics
        assert metrics["n_images"] == len(named("validation")) == 2
        model = load_model([round_folder(trained.folder, 0) / "ensemble.fseg"])
        scores = {}
        for name in named("validation"):
            image, card = read_image(glands / f"{name}.png"), model.card
            found = segment(model.engines, image, scale=card.scale, settings=card.instances, stain=card.stain)
            scores[name] = score_image(found.labels, read_label_map(glands / f"{name}_anno.png"))
        pooled = pool(list(scores.values()))
        assert metrics["object_dice"] == pytest.approx(pooled.object_dice)
        assert metrics["object_f1"] == pytest.approx(pooled.object_f1)
        low, high = metrics["object_dice_interval"]
        assert low <= metrics["object_dice"] <= high
        by_image = {name: pool([each]).object_dice for name, each in scores.items()}
        assert metrics["worst"] == sorted(by_image, key=lambda name: (by_image[name], name))

    def test_incomplete_validation_masks_and_other_images_do_not_score(
        self, trained: Project, named: Named, annotate: Annotate
    ) -> None:
        model = round_folder(trained.folder, 0) / "ensemble.fseg"
        before = validate(trained, model)
        assert before == dict(trained.rounds()[0].metrics)
        annotate(trained, *named("bare"))
        assert validate(trained, model) == before
        first, second = named("validation")
        annotate(trained, first, complete=False)
        after = validate(trained, model)
        assert (after["n_images"], after["worst"]) == (1, [second])
        assert after["object_dice_interval"] is None, "one image says nothing of others"
        annotate(trained, second, complete=False)
        assert validate(trained, model) == {"n_images": 0}


class TestRefusals:
    """What cannot be trained is refused before a round begins, for a round that has begun keeps its settings."""

    def test_nothing_annotated(self, project: Project, tiny: TrainConfig, floats: EnsembleConfig) -> None:
        project.draw_validation()
        with pytest.raises(InputError, match="has no complete annotation of an image that may train"):
            go(project, tiny, floats)
        assert project.rounds() == ()

    def test_only_incomplete_or_validation_masks(
        self, project: Project, annotate: Annotate, tiny: TrainConfig, floats: EnsembleConfig
    ) -> None:
        project.draw_validation()
        annotate(project, project.pool()[0].name, complete=False)
        annotate(project, *(image.name for image in project.validation()))
        with pytest.raises(InputError, match="has no complete annotation"):
            go(project, tiny, floats)

    def test_masks_without_any_object(self, project: Project, tiny: TrainConfig, floats: EnsembleConfig) -> None:
        project.draw_validation()
        image = project.pool()[0]
        labels = np.zeros((image.height, image.width), np.int32)
        labels[:4, :4] = 1
        project.annotate(image.name, labels, complete=True, source="test", window=(40, 30, 20, 20))
        with pytest.raises(InputError, match="has no annotated object to learn from"):
            go(project, tiny, floats)
        assert project.rounds() == ()

    @pytest.mark.parametrize(
        ("change", "message"),
        [({"batch_size": 1, "patch_px": 32, "net": "fcn"}, "patch_px"), ({"device": "cuda"}, "no CUDA device")],
    )
    def test_settings_that_are_impossible_here(
        self, change: dict[str, Any], message: str, ready: Project, tiny: TrainConfig, floats: EnsembleConfig
    ) -> None:
        if "device" in change and torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
        with pytest.raises(ConfigError, match=message):
            go(ready, dataclasses.replace(tiny, **change), floats)
        assert ready.rounds() == ()

    def test_a_quantizer_that_cannot(self, ready: Project, tiny: TrainConfig) -> None:
        with pytest.raises(ConfigError, match="bits"):
            go(ready, tiny, EnsembleConfig(members=1, method="inq", bits=99))
        assert ready.rounds() == ()

    def test_an_image_that_is_gone(self, ready: Project, tiny: TrainConfig, floats: EnsembleConfig) -> None:
        lost = ready.labelled()[0]
        aside = lost.path.rename(lost.path.with_suffix(".aside"))
        with pytest.raises(InputError, match=re.escape(str(lost.path))):
            go(ready, tiny, floats)
        assert ready.rounds() == ()

        aside.rename(lost.path)
        with pytest.raises(KeyboardInterrupt):
            train_round(ready, tiny, floats, Breaking(1))
        lost.path.unlink()
        ready.mark_unusable(lost.name, "lost")
        with pytest.raises(InputError, match=r"round 0: began with this; put it back, or '.* --abandon' gives"):
            go(ready, tiny, floats)
        assert go(ready, tiny, floats, abandon=True).number == 1

    def test_another_training_on_this_machine(
        self, ready: Project, tiny: TrainConfig, floats: EnsembleConfig, tmp_path: Path
    ) -> None:
        with training_lock(tmp_path), pytest.raises(TrainingError, match="another training"):
            go(ready, tiny, floats, wait=False)
        assert ready.rounds() == (), "other settings may still be chosen"


def test_masks_may_come_before_the_first_suggestion(
    project: Project, annotate: Annotate, tiny: TrainConfig, floats: EnsembleConfig
) -> None:
    """All that is annotated counts: for training, or for validation."""
    annotate(project, *(image.name for image in project.images()))
    done = go(project, tiny, floats)
    assert len(done.labelled) + done.metrics["n_images"] == len(project.images())
    assert done.metrics["n_images"] > 0


class TestNextRound:
    def test_begins_with_the_last_rounds_float_weights(self, trained: Project, named: Named, annotate: Annotate,
                                                       tiny: TrainConfig) -> None:  # fmt: skip
        annotate(trained, *named("bare"))
        second = go(trained, tiny, EnsembleConfig(members=2, method="none"), warm_steps=1)
        assert second.number == 1
        assert [each["name"] for each in listed(trained, 1)] == sorted([*named("complete"), *named("bare")])
        for index in range(2):
            document = read_config(round_folder(trained.folder, 1) / "members" / f"member-{index}")
            before = round_folder(trained.folder, 0) / "members" / f"member-{index}" / "float" / "model.safetensors"
            assert document["source"]["sha256"] == hashlib.sha256(before.read_bytes()).hexdigest()
            assert document["config"]["steps"] == 1
        assert trained.newest_trained() == second
        assert len(trained.rounds()) == 2

    @pytest.mark.parametrize(
        "ensemble",
        [
            EnsembleConfig(members=3, method="none"),
            EnsembleConfig(members=1, method="none", quantize_steps=1, shared_trunk=True),
        ],
    )
    def test_as_a_whole_from_scratch_where_there_were_no_such_members(
        self, ensemble: EnsembleConfig, trained: Project, tiny: TrainConfig
    ) -> None:
        """Half the steps are for members that begin with trained weights."""
        go(trained, tiny, ensemble, warm_steps=1)
        members = round_folder(trained.folder, 1) / "members"
        for run in members.iterdir():
            if run.name == "trunk" or not ensemble.shared_trunk:
                assert "source" not in read_config(run)
                assert read_config(run)["config"]["steps"] == tiny.steps

    def test_from_members_of_a_trunk_to_members_of_their_own(self, ready: Project, tiny: TrainConfig) -> None:
        """Those have few bits and no float weights of their own to begin with."""
        go(ready, tiny, EnsembleConfig(members=1, quantize_steps=0, shared_trunk=True))
        second = go(ready, tiny, EnsembleConfig(members=1, method="none"), warm_steps=1)
        assert second.status == "trained"
        assert read_config(round_folder(ready.folder, 1) / "members" / "member-0")["config"]["steps"] == tiny.steps

    def test_from_scratch_if_asked(self, trained: Project, tiny: TrainConfig) -> None:
        go(trained, tiny, EnsembleConfig(members=1, method="none"), warm_steps=None)
        document = read_config(round_folder(trained.folder, 1) / "members" / "member-0")
        assert "source" not in document
        assert document["config"]["steps"] == tiny.steps


class TestInterrupted:
    def test_goes_on_to_the_same_and_refuses_other_settings(
        self, ready: Project, annotate: Annotate, tiny: TrainConfig, floats: EnsembleConfig, tmp_path: Path
    ) -> None:
        """Masks that are drawn anew while a round is interrupted are for the next one."""
        whole = Project.open(Path(shutil.copytree(ready.folder, tmp_path / "whole")))
        go(whole, tiny, floats)
        with pytest.raises(KeyboardInterrupt):
            train_round(ready, tiny, floats, Breaking(1))
        begun = ready.newest_round()
        assert begun is not None
        assert (begun.number, begun.status) == (0, "training")
        assert ready.newest_trained() is None

        for change in ({"seed": 9}, {"steps": 3}):
            (name, value), *_ = change.items()
            wanted = f"{name}: is {value}, but the interrupted round 0 has {getattr(tiny, name)}; use the same"
            with pytest.raises(ConfigError, match=re.escape(wanted)):
                go(ready, dataclasses.replace(tiny, **change), floats)
        with pytest.raises(ConfigError, match="members: is 3, but the interrupted round 0 has 2"):
            go(ready, tiny, dataclasses.replace(floats, members=3))
        with pytest.raises(ConfigError, match="warm_steps: is 7"):
            go(ready, tiny, floats, warm_steps=7)

        first, second = sorted(begun.labelled)
        labels = np.zeros((72, 88), np.int32)
        labels[10:30, 10:30] = 1
        ready.annotate(first, labels, complete=True, source="anew")
        ready.mark_unusable(second, "out of focus")
        annotate(ready, ready.pool()[0].name)
        done = go(ready, tiny, floats)
        assert done.status == "trained"
        assert done.labelled == {first: 1, second: 1}
        assert [Path(each["masks"][0]).name for each in listed(ready)] == [f"{first}.v1.png", f"{second}.v1.png"]
        assert weights(ready) == weights(whole)
        assert done.metrics == whole.rounds()[0].metrics

        after = go(ready, tiny, floats)
        assert after.number == 1
        assert after.labelled[first] == 2
        assert second not in after.labelled

    def test_threads_may_differ(self, ready: Project, tiny: TrainConfig, floats: EnsembleConfig) -> None:
        with pytest.raises(KeyboardInterrupt):
            train_round(ready, dataclasses.replace(tiny, threads=2), floats, Breaking(0))
        assert go(ready, tiny, floats).number == 0


class TestFromAModel:
    """Rounds that do not begin from the last one's weights may begin from those of a model."""

    def test_all_members_begin_there_and_the_next_round_goes_on(
        self, ready: Project, annotate: Annotate, tiny: TrainConfig, floats: EnsembleConfig, tmp_path: Path
    ) -> None:
        still = dataclasses.replace(tiny, steps=1, learning_rate=0.0, ema_decay=1.0)
        model = packed_unet(tmp_path / "model.fseg")
        go(ready, still, floats, model=model)
        expected = dict(float_tensors(read_artifact(model).members[0]))
        for member in range(2):
            net = load_net(round_folder(ready.folder, 0) / "members" / f"member-{member}")[0]
            for name, parameter in net.named_parameters():
                np.testing.assert_array_equal(parameter.detach().numpy(), expected[name], err_msg=name)
        annotate(ready, ready.pool()[2].name)
        go(ready, tiny, floats, warm_steps=1, model=model)
        began = read_config(round_folder(ready.folder, 1) / "members" / "member-0")["source"]["run"]
        assert began.endswith("rounds/000/members/member-0")

    def test_an_interrupted_round_keeps_its_model(
        self, ready: Project, tiny: TrainConfig, floats: EnsembleConfig, tmp_path: Path
    ) -> None:
        model = packed_unet(tmp_path / "model.fseg")
        with pytest.raises(KeyboardInterrupt):
            train_round(ready, tiny, floats, Breaking(1), model=model)
        with pytest.raises(ConfigError, match="model: is None, but the interrupted round 0 has"):
            go(ready, tiny, floats)
        go(ready, tiny, floats, model=model)

    def test_a_model_of_another_network_begins_no_round(
        self, ready: Project, tiny: TrainConfig, floats: EnsembleConfig, tmp_path: Path
    ) -> None:
        model = packed_unet(tmp_path / "model.fseg")
        with pytest.raises(InputError, match=r"model\.fseg: holds a 'unet', not a 'lite'"):
            go(ready, dataclasses.replace(tiny, net="lite"), floats, model=model)
        assert not ready.rounds()


def packed_unet(path: Path) -> Path:
    write_artifact(path, packed_nets.packed_net(packed_nets.settled_net("unet"), "unet"))
    return path


def test_an_object_of_several_pieces_is_one(ready: Project) -> None:
    """Also where it is the only one of its image: the pieces of a project's label are no objects."""
    (name,) = (image.name for image in ready.pool()[:1])
    image = ready.image(name)
    labels = np.zeros((image.height, image.width), np.int32)
    labels[2:20, 2:20] = labels[40:60, 40:60] = 1
    ready.annotate(name, labels, complete=True, source="test")
    dataset = annotated_dataset(ready, [ready.image(name)])
    assert load_sample(dataset, dataset.samples[0]).labels.max() == 1


def test_a_pixel_size_beside_those_of_the_files_is_refused(
    glands: Path, annotate: Annotate, tiny: TrainConfig, floats: EnsembleConfig, tmp_path: Path
) -> None:
    """Validation and suggestions would look at images at another scale than training."""
    for sample in open_dataset(glands).samples[:3]:
        write_image(tmp_path / "images" / f"{sample.name}.png", read_image(sample.image), pixel_size_um=0.5)
    project = Project.create(tmp_path / "project")
    project.add_images(open_dataset(tmp_path / "images").samples)
    annotate(project, *(image.name for image in project.images()))
    with pytest.raises(ConfigError, match="pixel_size_um: is for images whose files tell none"):
        go(project, dataclasses.replace(tiny, pixel_size_um=2.0), floats)
    assert project.rounds() == ()


def test_a_round_that_an_older_version_began_goes_on(ready: Project, tiny: TrainConfig, floats: EnsembleConfig) -> None:
    """It took the pieces of an image's only label for objects; so does the rest of the round, at the same scale."""
    (name, *_) = (image.name for image in ready.labelled())
    image = ready.image(name)
    labels = np.zeros((image.height, image.width), np.int32)
    labels[2:20, 2:20] = labels[40:70, 40:70] = 1
    ready.annotate(name, labels, complete=True, source="test")
    with pytest.MonkeyPatch.context() as older:
        older.setattr(training, "_prepare_data", functools.partial(training._prepare_data, whole_objects=False))
        with pytest.raises(KeyboardInterrupt):
            train_round(ready, tiny, floats, Breaking(1))
    assert go(ready, dataclasses.replace(tiny, threads=2), floats).status == "trained"
    torch.set_num_threads(1)
