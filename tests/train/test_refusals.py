"""What training refuses, before it starts and without leaving anything behind."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frugalseg.cli import main
from frugalseg.errors import InputError
from frugalseg.images import write_image, write_label_map
from frugalseg.train.config import TrainConfig
from frugalseg.train.plan import DataChoice, open_training_data
from frugalseg.train.run import train

pytestmark = pytest.mark.usefixtures("narrow")
Hash = Callable[[Path], str]

FLAGS = ["--net", "unet", "--steps", "4", "--patch-px", "32", "--batch-size", "2", "--threads", "1", "--precision",
         "fp32", "--image-scale", "0.5", "--validate-every", "2", "--device", "cpu"]  # fmt: skip


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines on stderr that are the program's complaints."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("frugalseg: ")]


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
            (["--folds", "2", "--validation", "0.2"], "validation: does not go with --folds"),
            (["--subset", "testZ"], "testZ"),
            (["--seed", str(2**64)], "seed must be at most"),
            (["--threads", "999999999999"], "threads must be at most 1024"),
            (["--image-scale", "none", "--object-diameter-px", "1e-300"], "object_diameter_px: scales images by 0"),
            (["--image-scale", "1e-9"], "image_scale: scales images by 1e-09"),
            (["--image-scale", "1000"], "image_scale must be at most 16"),
        ],
    )
    def test_impossible_settings(
        self, words: list[str], named: str, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["train", str(glands), "--out", str(tmp_path / "run"), *FLAGS, *words]) == 2
        (line,) = errors(capsys)
        assert named in line
        assert not (tmp_path / "run").exists()

    def test_a_network_that_is_no_word(self, glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "c.toml").write_text('net = ["lite"]')
        assert main(["train", str(glands), "--out", str(tmp_path / "run"), "--config", str(tmp_path / "c.toml")]) == 2
        assert "net must be one of lite, unet, fcn" in capsys.readouterr().err

    def test_settings_of_another_version(
        self, glands: Path, tmp_path: Path, tiny: TrainConfig, capsys: pytest.CaptureFixture[str]
    ) -> None:
        train(dataclasses.replace(tiny, steps=1), glands, tmp_path / "run")
        document = json.loads((tmp_path / "run" / "config.json").read_text())
        for change, reason in (
            ({"later": 1}, "unexpected keyword argument 'later'"),
            ({"steps": "x"}, "not supported"),
        ):
            changed = {**document, "config": {**document["config"], **change}}
            (tmp_path / "run" / "config.json").write_text(json.dumps(changed))
            assert main(["quantize", str(tmp_path / "run"), "--out", str(tmp_path / "few"), "--steps", "1"]) == 2
            (line,) = errors(capsys)
            assert "config.json: holds settings that this version does not take" in line
            assert reason in line

    def test_one_name_in_two_subsets(self, glands: Path, tmp_path: Path, tiny: TrainConfig) -> None:
        for subset in ("left", "right"):
            for kind, source in (("images", "train_1.png"), ("masks", "train_1_anno.png")):
                (tmp_path / "data" / subset / kind).mkdir(parents=True)
                shutil.copy(glands / source, tmp_path / "data" / subset / kind / "a.png")
        with pytest.raises(InputError, match=r"has 'a' in several subsets; choose one with --subset"):
            open_training_data(DataChoice(tmp_path / "data"), tiny)
        assert len(open_training_data(DataChoice(tmp_path / "data", subset="left"), tiny).labelled) == 1
