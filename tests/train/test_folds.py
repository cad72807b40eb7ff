"""Cross-validation: what is left out of which fold, figures of all, resume."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frugalseg.errors import ConfigError, InputError
from frugalseg.images import read_label_map
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import read_config
from frugalseg.train.folds import FOLDS, fold_folders, train_folds
from frugalseg.train.plan import DataChoice

pytestmark = pytest.mark.usefixtures("narrow")
Hash = Callable[[Path], str]


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
