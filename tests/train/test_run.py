"""A run and its folder: what it holds, what it refuses, how it goes on."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from frugalseg.cli import main
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import read_label_map, write_label_map
from frugalseg.locking import training_lock
from frugalseg.model_files import CARD, read_card
from frugalseg.nets import build_net
from frugalseg.train.config import PRESETS, TrainConfig
from frugalseg.train.folder import CONFIG, read_config, read_metrics
from frugalseg.train.run import train
from frugalseg.train.weights import load_net

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
        assert card.stain is not None
        assert card.net == "unet"
        assert card.scale == 0.5
        with torch.inference_mode():
            assert net(torch.zeros(1, 3, 20, 30)).isfinite().all()

    def test_without_matching_of_stain_the_card_has_none(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        train(dataclasses.replace(tiny, stain_matching=False), glands, tmp_path / "run")
        assert read_card(tmp_path / "run").stain is None

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

    def test_of_a_version_that_lacked_a_setting(self, tiny: TrainConfig, glands: Path, tmp_path: Path) -> None:
        train(tiny, glands, tmp_path / "run")
        (tmp_path / "run" / CARD).unlink()
        document = json.loads((tmp_path / "run" / CONFIG).read_text())
        del document["config"]["opening_px"]
        (tmp_path / "run" / CONFIG).write_text(json.dumps(document))
        train(tiny, glands, tmp_path / "run", resume=True)
        assert read_card(tmp_path / "run").instances.opening_radius == tiny.opening_px

    def test_on_another_number_of_threads(
        self, tiny: TrainConfig, glands: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        train(tiny, glands, tmp_path / "run")
        (tmp_path / "run" / CARD).unlink()
        train(dataclasses.replace(tiny, threads=2, precision="fp32"), glands, tmp_path / "run", resume=True)
        assert "versions, device or threads differ from the interrupted run's" in caplog.text
        torch.set_num_threads(1)

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
            monkeypatch.setattr("frugalseg.train.folder.write_json", lambda *args: waiting.set())
            thread.start()
            assert not waiting.wait(2.0), "it wrote although it did not hold the lock"
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "config.json").write_text("{}")
        thread.join(30)
        assert [str(error) for error in raised] == [
            f"{tmp_path / 'run'}: is not empty; go on with it with --resume, or choose another folder"
        ]


def test_what_the_data_lack_is_told(
    glands: Path, tiny: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the images that are trained on; groups where images are held out."""
    data = Path(shutil.copytree(glands, tmp_path / "data"))
    (data / "groups.csv").unlink(missing_ok=True)
    (data / "Grade.csv").unlink(missing_ok=True)
    masks = sorted(data.glob("train_*_anno.png"))
    masks[0].unlink()
    for path in data.glob("test*_anno.png"):
        path.unlink()
    train(dataclasses.replace(tiny, steps=1, validation=0.0), data, tmp_path / "all")
    assert "1 image without a mask" in caplog.text
    assert "no groups" not in caplog.text
    train(dataclasses.replace(tiny, steps=1, validation=0.5), data, tmp_path / "some")
    assert "no groups: validation splits by image" in caplog.text
