"""Training that begins from a model's weights: which, what is refused, what follows from it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import packed_nets
import pytest
import torch

from frugalseg.artifact import Artifact, read_artifact, write_artifact
from frugalseg.cli import main
from frugalseg.errors import ConfigError
from frugalseg.export import export_model
from frugalseg.graphs import float_tensors
from frugalseg.images import load_sample, open_dataset
from frugalseg.metrics import pool, score_image
from frugalseg.model_files import ModelCard
from frugalseg.predict import load_model
from frugalseg.quant import QuantSpec
from frugalseg.quant.layers import effective_weights
from frugalseg.segmentation import segment
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import read_config
from frugalseg.train.quantize_config import QuantizeConfig
from frugalseg.train.quantized import quantize_run
from frugalseg.train.run import train
from frugalseg.train.weights import first_net, licence_of, load_net

SPEC = QuantSpec("lsq", 4)
TERMS = "research only"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A packed few-bit U-Net of one class."""
    return write_packed(tmp_path / "small.fseg", "unet")


@pytest.fixture
def start_of_nothing(tiny: TrainConfig) -> TrainConfig:
    """Settings that leave the weights as they were, as far as training can."""
    return dataclasses.replace(tiny, steps=1, learning_rate=0.0, ema_decay=1.0, validation=0.0)


def write_packed(path: Path, net: str, n_classes: int = 1) -> Path:
    made = packed_nets.settled_net(net, n_classes=n_classes, spec=SPEC)
    write_artifact(path, dataclasses.replace(packed_nets.packed_net(made, net, SPEC), licence=TERMS))
    return path


def floats(artifact: Artifact) -> dict[str, np.ndarray]:
    return dict(float_tensors(artifact.members[0]))


def card_of(path: Path, *names: str) -> ModelCard:
    return dataclasses.replace(read_artifact(path).card, class_names=names or ("gland",))


@pytest.mark.usefixtures("narrow")
class TestWeights:
    def test_of_a_packed_file(self, packed: Path, tiny: TrainConfig) -> None:
        state = first_net(tiny, card_of(packed, "of another name"), packed).state_dict()
        for name, expected in floats(read_artifact(packed)).items():
            np.testing.assert_array_equal(state[name].numpy(), expected, err_msg=name)

    def test_are_what_the_run_moves(
        self, packed: Path, start_of_nothing: TrainConfig, glands: Path, tmp_path: Path
    ) -> None:
        train(start_of_nothing, glands, tmp_path / "run", start=packed)
        trained = dict(load_net(tmp_path / "run")[0].named_parameters())
        expected = floats(read_artifact(packed))
        for name, parameter in trained.items():
            np.testing.assert_array_equal(parameter.detach().numpy(), expected[name], err_msg=name)

    def test_of_a_quantized_run(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        train(dataclasses.replace(tiny, steps=1), glands, tmp_path / "float")
        quantize_run(tmp_path / "float", QuantizeConfig(method="lsq", bits=4, steps=1), tmp_path / "few")
        few, card = load_net(tmp_path / "few")
        state = first_net(tiny, dataclasses.replace(card, quantization=None), tmp_path / "few").state_dict()
        expected = effective_weights(few)
        assert expected
        assert all(torch.equal(state[name], weight) for name, weight in expected.items())

    def test_last_layer_is_new_for_other_classes(self, packed: Path, tiny: TrainConfig) -> None:
        net = first_net(tiny, card_of(packed, "gland", "lumen", "stroma"), packed)
        assert net.n_classes == 3
        before, after = floats(read_artifact(packed)), net.state_dict()
        changed = [name for name, value in before.items() if not np.array_equal(value, after[name].numpy())]
        assert len(changed) == 2, changed
        assert {after[name].shape[0] for name in changed} == {5}


@pytest.mark.usefixtures("narrow")
class TestTerms:
    def test_follow_the_weights(self, packed: Path, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        short = dataclasses.replace(tiny, steps=1, validation=0.0)
        train(short, glands, tmp_path / "float", start=packed)
        quantize_run(tmp_path / "float", QuantizeConfig(method="lsq", bits=4, steps=1), tmp_path / "few")
        for run in ("float", "few"):
            assert licence_of(tmp_path / run) == TERMS
            export_model([tmp_path / run], tmp_path / f"{run}.fseg", "fseg", int8=False)
            assert read_artifact(tmp_path / f"{run}.fseg").licence == TERMS
            assert load_model([tmp_path / run]).licences == (TERMS,)
            assert main(["inspect", str(tmp_path / run)]) == 0
        export_model([tmp_path / "few"], tmp_path / "own.fseg", "fseg", int8=False, licence="mine")
        assert read_artifact(tmp_path / "own.fseg").licence == "mine"

    def test_are_shown_once(
        self, packed: Path, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setenv("FRUGALSEG_STATE_DIR", str(tmp_path / "state"))
        flags = ["--preset", "smoke", "--net", "unet", "--patch-px", "32", "--threads", "1", "--device", "cpu"]
        for out, times in (("a", 1), ("b", 0)):
            assert main(["train", str(glands), "--out", str(tmp_path / out), "--start", str(packed), *flags]) == 0
            assert capsys.readouterr().err.count(TERMS) == times
        assert read_config(tmp_path / "a")["source"]["licence"] == TERMS


@pytest.mark.usefixtures("narrow")
class TestRefusals:
    def refused(self, glands: Path, start: Path, out: Path, *flags: str) -> int:
        return main(["train", str(glands), "--out", str(out), "--start", str(start), *flags])

    def test_say_why_and_leave_nothing(
        self, packed: Path, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        artifact = read_artifact(packed)
        write_artifact(tmp_path / "two.fseg", dataclasses.replace(artifact, members=artifact.members * 2))
        (tmp_path / "half").mkdir()
        (tmp_path / "half" / "config.json").write_text("{}")
        (tmp_path / "empty").mkdir()
        (tmp_path / "damaged.fseg").write_bytes(packed.read_bytes()[:-100])
        reasons = {
            packed: "holds a 'unet', not a 'lite'; choose it with --net unet",
            tmp_path / "two.fseg": "holds 2 networks; begin from a model of one",
            tmp_path / "half": "training has not finished",
            tmp_path / "empty": "holds no trained model",
            tmp_path / "damaged.fseg": "damaged.fseg",
            tmp_path / "gone": "no such model",
            glands / "train_1.png": "is neither a run folder nor a packed model",
        }
        for start, reason in reasons.items():
            assert self.refused(glands, start, tmp_path / "out", "--steps", "1") == 2
            error = capsys.readouterr().err
            assert str(start) in error
            assert reason in error
            assert not (tmp_path / "out").exists()

    def test_resuming_from_elsewhere(self, packed: Path, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        short = dataclasses.replace(tiny, steps=1)
        train(short, glands, tmp_path / "run", start=packed)
        train(short, glands, tmp_path / "run", start=packed, resume=True)
        with pytest.raises(ConfigError, match=r"start: the run to resume in .* began from .*small.fseg, not from no"):
            train(short, glands, tmp_path / "run", resume=True)
        moved = shutil.move(packed, tmp_path / "elsewhere.fseg")
        train(short, glands, tmp_path / "run", start=moved, resume=True)  # the same weights, wherever they lie
        shutil.copy(write_packed(tmp_path / "other.fseg", "unet", 2), packed)
        with pytest.raises(ConfigError, match="began with other weights"):
            train(short, glands, tmp_path / "run", start=packed, resume=True)


def test_from_the_shipped_glands_a_few_images_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic_dataset(tmp_path / "data", 2, 4, 3, height=256, width=320)
    flags = ["--net", "lite", "--steps", "12", "--patch-px", "128", "--batch-size", "2", "--threads", "1",
             "--device", "cpu", "--validate-every", "100", "--learning-rate", "5e-4", "--json"]  # fmt: skip
    dice = {}
    for name, start in (("glands", ["--start", "glands"]), ("imagenet", [])):
        assert main(["train", str(tmp_path / "data"), "--out", str(tmp_path / name), *start, *flags]) == 0
        json.loads(capsys.readouterr().out)
        model = load_model([tmp_path / name])
        dataset = open_dataset(tmp_path / "data", subset="testA")
        scores = []
        for sample in dataset.samples:
            content = load_sample(dataset, sample)
            card = model.card
            found = segment(model.engines, content.image, scale=card.scale, settings=card.instances, stain=card.stain)
            scores.append(score_image(found.labels, content.labels))
        dice[name] = pool(scores).object_dice
    assert dice["glands"] > dice["imagenet"] + 0.1, dice
