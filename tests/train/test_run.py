"""A run and its folder: what it holds, what it refuses, how it goes on."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from frugalseg.arrays import UNKNOWN
from frugalseg.cli import main
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import read_label_map, write_image, write_label_map
from frugalseg.locking import training_lock
from frugalseg.model_files import read_card
from frugalseg.nets import build_net
from frugalseg.predict import TABLE
from frugalseg.train.config import PRESETS, TrainConfig
from frugalseg.train.folds import FOLDS, fold_folders, train_folds
from frugalseg.train.plan import DataChoice, build_card, load_samples, open_training_data, prepare
from frugalseg.train.run import load_net, read_config, read_metrics, train

pytestmark = pytest.mark.usefixtures("narrow")
Hash = Callable[[Path], str]

FLAGS = ["--net", "unet", "--steps", "4", "--patch-px", "32", "--batch-size", "2", "--threads", "1", "--precision",
         "fp32", "--image-scale", "0.5", "--validate-every", "2", "--device", "cpu"]  # fmt: skip


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines on stderr that are the program's complaints."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("frugalseg: ")]


class TestFolder:
    def test_holds_all_that_a_run_leaves(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        reports: list[int] = []
        out = tmp_path / "a" / "run"
        result = train(tiny, glands, out, on_report=lambda folder: reports.append(len(read_metrics(folder))))
        names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
        assert names == [
            "checkpoints/best.safetensors",
            "checkpoints/step-00000004.safetensors",
            "checkpoints/step-00000006.safetensors",
            "config.json",
            "metrics.jsonl",
            "model.json",
            "model.safetensors",
        ]
        assert reports == [1, 2, 3]
        rows = read_metrics(out)
        assert [row["step"] for row in rows] == [2, 4, 6]
        assert result.metrics == rows[-1]
        for row in rows:
            assert math.isfinite(row["loss"])
            for side in ("validation", "training"):
                assert 0 <= row[f"{side}_object_f1"] <= 1
                assert 0 <= row[f"{side}_object_dice"] <= 1
        document = read_config(out)
        assert document["config"] == dataclasses.asdict(tiny)
        assert document["environment"]["threads"] == 1
        train_side, held_out = document["data"]["train"], document["data"]["validation"]
        assert sorted(train_side + held_out) == ["train_1", "train_2", "train_3", "train_4"]
        assert set(held_out) in ({"train_1", "train_2"}, {"train_3", "train_4"}), "patients are not split"
        net, card = load_net(out)
        assert card == result.card == read_card(out)
        assert card.net == "unet"
        assert card.scale == 0.5
        with torch.inference_mode():
            assert net(torch.zeros(1, 3, 20, 30)).isfinite().all()

    def test_seed_decides_the_bytes(self, tiny: TrainConfig, glands: Path, tmp_path: Path, sha256: Hash) -> None:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            train(dataclasses.replace(tiny, seed=seed, validation=0.0), glands, tmp_path / name)
        a, b, c = (sha256(tmp_path / name / "model.safetensors") for name in "abc")
        assert a == b != c

    def test_validation_does_not_touch_training(
        self, tiny: TrainConfig, glands: Path, tmp_path: Path, sha256: Hash
    ) -> None:
        """Scoring draws no random numbers that training needs, and leaves the network as it was."""
        often = dataclasses.replace(tiny, validation=0.0, validate_every=1)
        train(often, glands, tmp_path / "often")
        train(dataclasses.replace(often, validate_every=6), glands, tmp_path / "once")
        assert sha256(tmp_path / "often" / "model.safetensors") == sha256(tmp_path / "once" / "model.safetensors")

    @pytest.mark.parametrize("change", [{"validation": 0.0}, {"debris": 0.5}])
    def test_no_held_out_images_no_best(
        self, change: dict[str, float], tiny: TrainConfig, glands: Path, tmp_path: Path
    ) -> None:
        train(dataclasses.replace(tiny, steps=1, **change), glands, tmp_path / "run")  # type: ignore[arg-type]
        row = read_metrics(tmp_path / "run")[-1]
        assert ("validation_object_dice" in row) == ("validation" not in change)
        assert "training_object_dice" in row

    def test_presets_are_possible_settings(self) -> None:
        for preset in PRESETS.values():
            for net, values in preset.items():
                assert TrainConfig(**{"net": net, **values}).steps > 0


class TestRefusals:
    """Nothing starts, nothing is left behind."""

    def check(self, words: list[str], out: Path, capsys: pytest.CaptureFixture[str], code: int = 2) -> list[str]:
        existed = out.exists()
        before = sorted(out.rglob("*")) if out.is_dir() else []
        assert main(["train", *words, "--out", str(out), *FLAGS]) == code
        assert out.exists() == existed
        assert (sorted(out.rglob("*")) if out.is_dir() else []) == before
        found = errors(capsys)
        assert found, "silence is no answer"
        return found

    def test_data_that_are_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (line,) = self.check([str(tmp_path / "nowhere")], tmp_path / "run", capsys)
        assert line == f"frugalseg: {tmp_path / 'nowhere'}: does not exist"

    def test_empty_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "data").mkdir()
        assert len(self.check([str(tmp_path / "data")], tmp_path / "run", capsys)) == 1

    def test_no_masks(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_image(tmp_path / "data" / "a.png", np.zeros((40, 40, 3), np.uint8))
        (line,) = self.check([str(tmp_path / "data")], tmp_path / "run", capsys)
        assert "has no annotated image to train on" in line

    def test_no_objects(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_image(tmp_path / "data" / "images" / "a.png", np.zeros((40, 40, 3), np.uint8))
        write_label_map(tmp_path / "data" / "masks" / "a.png", np.zeros((40, 40), np.int32))
        (line,) = self.check([str(tmp_path / "data")], tmp_path / "run", capsys)
        assert "has no annotated object to learn from" in line

    def test_all_damaged_files_are_named_at_once(
        self, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = tmp_path / "data"
        shutil.copytree(glands, data)
        for name in ("train_1.png", "train_3_anno.png"):
            content = bytearray((data / name).read_bytes())
            content[len(content) // 2] ^= 255  # the header stays good: found only on decoding
            (data / name).write_bytes(content)
        found = self.check([str(data)], tmp_path / "run", capsys)
        assert len(found) == 2
        assert "train_1.png" in found[0]
        assert "train_3_anno.png" in found[1]

    def test_out_holds_something(self, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "thesis"
        (out / "chapters").mkdir(parents=True)
        (out / "chapters" / "one.txt").write_text("mine")
        (line,) = self.check([str(glands)], out, capsys)
        assert line == f"frugalseg: {out}: is not empty; choose another folder"
        (line,) = self.check([str(glands), "--folds", "2"], out, capsys)
        assert "is not empty" in line
        (line,) = self.check([str(glands), "--resume"], out, capsys)
        assert "holds no run to resume" in line

    def test_out_is_a_file(self, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").write_text("mine")
        for more in ([], ["--resume"], ["--folds", "2"]):
            (line,) = self.check([str(glands), *more], tmp_path / "file", capsys)
            assert "is a file, not a folder" in line
        assert (tmp_path / "file").read_text() == "mine"

    def test_hidden_leftovers_are_no_obstacle(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        """What a writer leaves that was killed in its first write, and what desktops put into folders."""
        leftover = tmp_path / ".frugalseg-0-0-0"
        leftover.mkdir()
        (leftover / "config.json").write_text("{")
        (tmp_path / ".DS_Store").write_text("")
        train(dataclasses.replace(tiny, steps=1), glands, tmp_path)
        assert (tmp_path / "model.json").exists()

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            (["--patch-px", "8"], "patch_px"),
            (["--learning-rate", "-1"], "learning_rate"),
            (["--patch-px", "64", "--batch-size", "1", "--net", "fcn"], "patch_px"),
            (["--folds", "1"], "folds"),
            (["--folds", "3"], "folds"),
            (["--subset", "testZ"], "testZ"),
        ],
    )
    def test_impossible_settings(
        self, words: list[str], named: str, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["train", str(glands), "--out", str(tmp_path / "run"), *FLAGS, *words]) == 2
        (line,) = errors(capsys)
        assert named in line
        assert not (tmp_path / "run").exists()

    def test_one_name_in_two_subsets(self, glands: Path, tmp_path: Path, tiny: TrainConfig) -> None:
        for subset in ("left", "right"):
            for kind, source in (("images", "train_1.png"), ("masks", "train_1_anno.png")):
                (tmp_path / "data" / subset / kind).mkdir(parents=True)
                shutil.copy(glands / source, tmp_path / "data" / subset / kind / "a.png")
        with pytest.raises(InputError, match=r"has 'a' in several subsets; choose one with --subset"):
            open_training_data(DataChoice(tmp_path / "data"), tiny)
        assert len(open_training_data(DataChoice(tmp_path / "data", subset="left"), tiny).labelled) == 1


class TestBatchNormalisation:
    @pytest.mark.parametrize("net", ["lite", "unet", "fcn"])
    def test_the_smallest_allowed_batch_trains(
        self, net: str, tiny: TrainConfig, glands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("frugalseg.nets.fcn.WIDTHS", (16,) * 5)
        stride = build_net(net).stride
        config = dataclasses.replace(
            tiny, net=net, batch_size=1, patch_px=max(32, stride + 1), steps=1, pretrained=False, validation=0.0
        )
        train(config, glands, tmp_path / "run")
        assert math.isfinite(read_metrics(tmp_path / "run")[0]["loss"])


class TestResume:
    @pytest.mark.parametrize("n_reports", [1, 2, 3])
    def test_after_a_crash_ends_in_the_same_bytes(
        self, n_reports: int, tiny: TrainConfig, glands: Path, tmp_path: Path, sha256: Hash
    ) -> None:
        """A crash between writing metrics and writing the checkpoint, where the two disagree most."""

        def crash(folder: Path) -> None:
            if len(read_metrics(folder)) == n_reports:
                raise ZeroDivisionError

        train(tiny, glands, tmp_path / "whole")
        with pytest.raises(ZeroDivisionError):
            train(tiny, glands, tmp_path / "cut", on_report=crash)
        assert not (tmp_path / "cut" / "model.json").exists()
        with pytest.raises(InputError, match="training has not finished; go on with 'frugalseg train … --resume'"):
            load_net(tmp_path / "cut")
        train(tiny, glands, tmp_path / "cut", resume=True)
        for name in ("model.safetensors", "model.json", "checkpoints/best.safetensors"):
            assert sha256(tmp_path / "whole" / name) == sha256(tmp_path / "cut" / name)
        clocks = {"seconds_per_step"}
        whole, cut = (
            [{key: value for key, value in row.items() if key not in clocks} for row in read_metrics(tmp_path / name)]
            for name in ("whole", "cut")
        )
        assert whole == cut

    def test_before_the_first_checkpoint(self, tiny: TrainConfig, glands: Path, tmp_path: Path, sha256: Hash) -> None:
        train(tiny, glands, tmp_path / "whole")
        (tmp_path / "cut").mkdir()
        shutil.copy(tmp_path / "whole" / "config.json", tmp_path / "cut")
        train(tiny, glands, tmp_path / "cut", resume=True)
        assert sha256(tmp_path / "whole" / "model.safetensors") == sha256(tmp_path / "cut" / "model.safetensors")

    def test_of_a_finished_run_leaves_it(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        """Even where the checkpoints were thrown away: it does not start anew."""
        first = train(tiny, glands, tmp_path)
        shutil.rmtree(tmp_path / "checkpoints")
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert train(tiny, glands, tmp_path, resume=True) == first
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before

    def test_a_metrics_line_cut_off_by_a_kill(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        def crash(folder: Path) -> None:
            if len(read_metrics(folder)) == 2:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            train(tiny, glands, tmp_path, on_report=crash)
        text = (tmp_path / "metrics.jsonl").read_text()
        (tmp_path / "metrics.jsonl").write_text(text[:-20])
        train(tiny, glands, tmp_path, resume=True)
        assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6]

    @pytest.mark.parametrize(("name", "value"), [("steps", 8), ("learning_rate", 1e-4), ("net", "lite"), ("seed", 2)])
    def test_with_another_setting(
        self, name: str, value: object, tiny: TrainConfig, glands: Path, tmp_path: Path
    ) -> None:
        train(dataclasses.replace(tiny, steps=1), glands, tmp_path)
        changed = dataclasses.replace(tiny, **{"steps": 1, name: value})
        with pytest.raises(ConfigError, match=f"^{name}: is {value}, but the run to resume in .* has ") as caught:
            train(changed, glands, tmp_path, resume=True)
        assert caught.value.exit_code == 2

    def test_with_other_data(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        data, out = tmp_path / "data", tmp_path / "run"
        shutil.copytree(glands, data)
        train(dataclasses.replace(tiny, steps=1), data, out)
        labels = read_label_map(data / "train_1_anno.png")
        labels[0, 0] = 1
        write_label_map(data / "train_1_anno.png", labels)
        with pytest.raises(ConfigError, match=r"has changed since the run in .* began: other files"):
            train(dataclasses.replace(tiny, steps=1), data, out, resume=True)

    def test_data_may_have_moved(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        train(dataclasses.replace(tiny, steps=1), glands, tmp_path / "run")
        shutil.copytree(glands, tmp_path / "elsewhere")
        train(dataclasses.replace(tiny, steps=1), tmp_path / "elsewhere", tmp_path / "run", resume=True)

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"config": 3, "data": {}}', '{"config": {}}'])
    def test_with_a_damaged_config(
        self, content: str, tiny: TrainConfig, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "config.json").write_text(content)
        assert main(["train", str(glands), "--out", str(tmp_path), "--resume", *FLAGS]) == 2
        (line,) = errors(capsys)
        assert "config.json" in line

    def test_checkpoints_that_cannot_be_read(
        self, tiny: TrainConfig, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["train", str(glands), "--out", str(tmp_path), *FLAGS]
        assert main(words) == 0
        (tmp_path / "model.json").unlink()
        for path in (tmp_path / "checkpoints").glob("step-*"):
            path.write_bytes(path.read_bytes()[:-100])
        capsys.readouterr()
        assert main([*words, "--resume"]) == 2
        assert len(errors(capsys)) == 1


class TestLock:
    def test_no_wait_fails_in_one_line(self, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with training_lock(tmp_path / "other"):
            assert main(["train", str(glands), "--out", str(tmp_path / "run"), "--no-wait", *FLAGS]) == 1
        (line,) = errors(capsys)
        assert "another training" in line
        assert str(tmp_path / "other") in line
        assert not (tmp_path / "run").exists()

    def test_unusable_data_are_told_before_waiting(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with training_lock(tmp_path / "other"):
            assert main(["train", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), *FLAGS]) == 2
        (line,) = errors(capsys)
        assert "does not exist" in line

    def test_a_folder_filled_while_waiting_is_not_overwritten(
        self, tiny: TrainConfig, glands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two trainings into one folder, started together: the second must not write over the first."""
        waiting = threading.Event()
        monkeypatch.setattr("frugalseg.locking._print_on_stderr", lambda line: None)
        raised: list[BaseException] = []

        def second() -> None:
            try:
                train(tiny, glands, tmp_path / "run")
            except InputError as error:
                raised.append(error)

        with training_lock(tmp_path / "run", announce=lambda line: None):
            thread = threading.Thread(target=second)
            monkeypatch.setattr("frugalseg.train.run.write_json", lambda *args: waiting.set())
            thread.start()
            assert not waiting.wait(2.0), "it wrote although it did not hold the lock"
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "config.json").write_text("{}")
        thread.join(30)
        assert [str(error) for error in raised] == [
            f"{tmp_path / 'run'}: is not empty; go on with it with --resume, or choose another folder"
        ]


class TestAnnotations:
    def test_images_without_a_mask_are_left_out(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        data = tmp_path / "data"
        shutil.copytree(glands, data)
        (data / "train_2_anno.png").unlink()
        train(dataclasses.replace(tiny, steps=1, validation=0.0), data, tmp_path / "run")
        assert read_config(tmp_path / "run")["data"]["train"] == ["train_1", "train_3", "train_4"]

    def test_the_test_subset_is_left_out(self, tiny: TrainConfig, tmp_path: Path) -> None:
        from frugalseg.synthetic import write_synthetic_dataset

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
            image = np.asarray(read_image_of(coloured_squares, index))
            for row in (row for row in rows if row["image"] == f"s{index}"):
                y, x = round(float(row["centroid_y_px"])), round(float(row["centroid_x_px"]))
                right += row["class"] == ("red" if image[y, x, 0] > image[y, x, 2] else "blue")
        assert right >= 16, f"of 18 squares, {len(rows)} found"
        assert len(rows) <= 20


def read_image_of(root: Path, index: int) -> np.ndarray:
    from frugalseg.images import read_image

    return read_image(root / "images" / f"s{index}.png")


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
                   {"net": None}, {"instances": {"nonsense": 1}}],
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


class TestFolds:
    @pytest.fixture
    def one_step(self, tiny: TrainConfig) -> TrainConfig:
        return dataclasses.replace(tiny, steps=2, validate_every=2)

    def test_no_group_on_both_sides_and_figures_of_all(
        self, one_step: TrainConfig, glands: Path, tmp_path: Path
    ) -> None:
        document = train_folds(one_step, DataChoice(glands), tmp_path, 2)
        assert json.loads((tmp_path / FOLDS).read_text()) == document
        held_out = [read_config(folder)["data"]["validation"] for folder in fold_folders(tmp_path)]
        assert sorted(map(sorted, held_out)) == [["train_1", "train_2"], ["train_3", "train_4"]]
        for folder in fold_folders(tmp_path):
            data = read_config(folder)["data"]
            assert not set(data["train"]) & set(data["validation"])
            assert len(data["train"]) == 2
        assert document["n_folds"] == 2
        counts = [figures["n_objects_truth"] for figures in document["by_fold"]]
        objects = sum(len(np.unique(read_label_map(path))) - 1 for path in glands.glob("*_anno.png"))
        assert sum(counts) == document["pooled"]["n_objects_truth"] == objects
        by_category = document["by_category"]
        assert set(by_category) == {"benign", "malignant"}
        assert sum(each["n_objects_truth"] for each in by_category.values()) == objects

    def test_resume_keeps_finished_folds(
        self, one_step: TrainConfig, glands: Path, tmp_path: Path, sha256: Hash
    ) -> None:
        choice = DataChoice(glands)
        whole = train_folds(one_step, choice, tmp_path / "whole", 2)

        def crash(folder: Path) -> None:
            if folder.name == "fold-1":
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            train_folds(one_step, choice, tmp_path / "cut", 2, on_report=crash)
        assert not (tmp_path / "cut" / FOLDS).exists()
        finished = (tmp_path / "cut" / "fold-0" / "model.safetensors").stat().st_mtime_ns
        assert train_folds(one_step, choice, tmp_path / "cut", 2, resume=True) == whole
        assert (tmp_path / "cut" / "fold-0" / "model.safetensors").stat().st_mtime_ns == finished
        for fold in ("fold-0", "fold-1"):
            a, b = (sha256(tmp_path / side / fold / "model.safetensors") for side in ("whole", "cut"))
            assert a == b

    def test_resume_with_other_settings_or_folds_is_refused(
        self, one_step: TrainConfig, glands: Path, tmp_path: Path
    ) -> None:
        """Finished folds are compared, too: else figures would mix two experiments, or score seen images."""
        groups = tmp_path / "groups.csv"
        groups.write_text("image,group\n" + "".join(f"train_{i},{i}\n" for i in range(1, 5)))
        choice = DataChoice(glands, groups=groups)
        out = tmp_path / "folds"
        train_folds(one_step, choice, out, 2)
        with pytest.raises(ConfigError, match=r"^learning_rate: "):
            train_folds(dataclasses.replace(one_step, learning_rate=1e-5), choice, out, 2, resume=True)
        with pytest.raises(ConfigError, match=r"other (training|held-out) images"):
            train_folds(one_step, choice, out, 3, resume=True)
        with pytest.raises(InputError, match="is not empty"):
            train_folds(one_step, choice, out, 2)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"n_folds": "two"}', '{"n_folds": 0}', '{"n_folds": 9}'])
    def test_a_damaged_summary_is_one_line(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "fold-0").mkdir()
        assert fold_folders(tmp_path) == [], "no summary: not a finished cross-validation"
        (tmp_path / FOLDS).write_text(content)
        with pytest.raises(InputError, match=r"folds\.json: "):
            fold_folders(tmp_path)

    def test_without_groups_a_warning_says_so(
        self, one_step: TrainConfig, coloured_squares: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        train_folds(dataclasses.replace(one_step, image_scale=1.0), DataChoice(coloured_squares), tmp_path, 3)
        assert "images of one patient may lie on both sides" in caplog.text
        assert len(fold_folders(tmp_path)) == 3
