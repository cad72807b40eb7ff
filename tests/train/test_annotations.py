"""What is annotated decides what is learned: missing masks, unknown pixels, classes; and the model that results."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from frugalseg.arrays import UNKNOWN
from frugalseg.cli import main
from frugalseg.errors import InputError
from frugalseg.images import read_image, read_label_map, write_label_map
from frugalseg.results_folder import TABLE
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import read_config
from frugalseg.train.plan import DataChoice, build_card, load_samples, open_training_data, prepare
from frugalseg.train.run import train
from frugalseg.train.weights import load_net

pytestmark = pytest.mark.usefixtures("narrow")
Hash = Callable[[Path], str]


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines on stderr that are the program's complaints."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("frugalseg: ")]


class TestAnnotations:
    def test_images_without_a_mask_are_left_out(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        data = tmp_path / "data"
        shutil.copytree(glands, data)
        (data / "train_2_anno.png").unlink()
        train(dataclasses.replace(tiny, steps=1, validation=0.0), data, tmp_path / "run")
        assert read_config(tmp_path / "run")["data"]["train"] == ["train_1", "train_3", "train_4"]

    def test_the_test_subset_is_left_out(self, tiny: TrainConfig, tmp_path: Path) -> None:
        write_synthetic_dataset(tmp_path / "data", 1, 1, 0, height=96, width=96)
        dataset = open_training_data(DataChoice(tmp_path / "data"), tiny)
        assert [sample.name for sample in dataset.samples] == ["train_1"]

    def test_pixels_with_the_ignore_value_are_unknown(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        data = tmp_path / "data"
        shutil.copytree(glands, data)
        for path in data.glob("*_anno.png"):
            labels = read_label_map(path)
            labels[:, 56:] = 255
            write_label_map(path, labels)
        choice = DataChoice(data, ignore_value=255)
        dataset = open_training_data(choice, tiny)
        loaded = load_samples(dataset, dataset.labelled)
        card = build_card(dataset, loaded, tiny)
        prepared = prepare(loaded[0], card.scale)
        assert prepared.labels.shape == (48, 56)
        assert (prepared.labels[:, 28:] == UNKNOWN).all()
        assert (prepared.labels[:, :28] != UNKNOWN).all()
        train(dataclasses.replace(tiny, steps=2), choice, tmp_path / "run")
        assert read_config(tmp_path / "run")["data"]["ignore_value"] == 255
        train(dataclasses.replace(tiny, steps=2), data, tmp_path / "believing")
        ignoring, believing = (load_net(tmp_path / name)[0].state_dict() for name in ("run", "believing"))
        assert not torch.equal(ignoring["head.weight"], believing["head.weight"])

    def test_objects_are_numbered_and_keep_their_class(self, coloured_squares: Path, tiny: TrainConfig) -> None:
        dataset = open_training_data(DataChoice(coloured_squares), tiny)
        assert dataset.class_names == ("blue", "red")
        for sample in load_samples(dataset, dataset.labelled):
            prepared = prepare(sample, 1.0)
            assert sorted(np.unique(prepared.labels)) == [0, 1, 2, 3, 4, 5, 6]
            colour_of = sample.image[..., 0] > 100  # red squares, and the ground
            for label in range(1, 7):
                is_red = bool(colour_of[prepared.labels == label].all())
                assert prepared.lookup[label] == (2 if is_red else 1)

    def test_classes_are_learned_and_reported(
        self, coloured_squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ["--net", "unet", "--steps", "90", "--patch-px", "48", "--batch-size", "2", "--threads", "1",
                 "--precision", "fp32", "--image-scale", "1", "--validate-every", "90", "--learning-rate", "0.02",
                 "--ema-decay", "0.9", "--stain", "0", "--brightness", "0", "--elastic-px", "0", "--zoom", "1.0",
                 "--border-px", "1", "--device", "cpu"]  # fmt: skip
        run, out = str(tmp_path / "run"), tmp_path / "out"
        assert main(["train", str(coloured_squares), "--out", run, *flags]) == 0
        assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"curves.png", "gallery.png"}
        words = ["predict", run, str(coloured_squares / "images"), "--out", str(out), "--threads", "1"]
        assert main([*words, "--precision", "fp32", "--json"]) == 0
        rows = list(csv.DictReader((out / TABLE).read_text().splitlines()))
        assert {row["class"] for row in rows} == {"blue", "red"}
        right = 0
        for index in range(3):
            image = read_image(coloured_squares / "images" / f"s{index}.png")
            for row in (row for row in rows if row["image"] == f"s{index}"):
                y, x = round(float(row["centroid_y_px"])), round(float(row["centroid_x_px"]))
                right += row["class"] == ("red" if image[y, x, 0] > image[y, x, 2] else "blue")
        assert right >= 16, f"of 18 squares, {len(rows)} found"
        assert len(rows) <= 20


class TestModelFiles:
    def test_another_number_of_classes_is_one_line(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        train(dataclasses.replace(tiny, steps=1), glands, tmp_path)
        card = json.loads((tmp_path / "model.json").read_text())
        card["class_names"] = ["benign", "malignant"]
        (tmp_path / "model.json").write_text(json.dumps(card))
        with pytest.raises(InputError, match="does not fit the network 'unet'") as caught:
            load_net(tmp_path)
        assert "\n" not in str(caught.value)

    def test_damaged_weights_are_one_line(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        train(dataclasses.replace(tiny, steps=1), glands, tmp_path)
        path = tmp_path / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match="does not fit its checksum"):
            load_net(tmp_path)

    @pytest.mark.parametrize(
        "change", [{"net": "vnet"}, {"class_names": []}, {"class_names": None}, {"scale": "big"}, {"scale": 0},
                   {"net": None}, {"instances": {"nonsense": 1}}, {"object_diameter_px": 10**400}],
    )  # fmt: skip
    def test_a_card_that_makes_no_sense_is_one_line(
        self, change: dict[str, object], tiny: TrainConfig, glands: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        train(dataclasses.replace(tiny, steps=1), glands, tmp_path / "run")
        card = json.loads((tmp_path / "run" / "model.json").read_text())
        (tmp_path / "run" / "model.json").write_text(json.dumps({**card, **change}))
        words = ["predict", str(tmp_path / "run"), str(glands / "train_1.png"), "--out", str(tmp_path / "out")]
        assert main([*words, "--threads", "1"]) == 2
        (line,) = errors(capsys)
        assert "model.json" in line
        assert main(["inspect", str(tmp_path / "run")]) == 2
        (line,) = errors(capsys)
        assert "model.json" in line
