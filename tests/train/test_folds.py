"""Cross-validation: what is left out of which fold, figures of all, resume."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frugalseg.errors import ConfigError, InputError
from frugalseg.images import read_label_map, write_image, write_label_map
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.rejector import FEATURES, KEEP_ALL, Candidates, Rejector
from frugalseg.train import folds
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import read_config
from frugalseg.train.folds import FOLDS, REJECTOR, FittedRejector, candidates_of, fold_folders, train_folds
from frugalseg.train.plan import DataChoice

pytestmark = pytest.mark.usefixtures("narrow")
Hash = Callable[[Path], str]


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of large and small dark discs, of which only the large ones are annotated."""
    root = tmp_path_factory.mktemp("discs")
    rows, columns = np.mgrid[:128, :160]
    for index in range(6):
        rng = np.random.default_rng(index)
        image, mask = np.full((128, 160, 3), 230.0), np.zeros((128, 160), np.int32)
        for place in range(20):
            y, x = 16 + 32 * (place // 5), 16 + 32 * (place % 5)
            radius = 12 if rng.random() < 0.5 else 6
            inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            image[inside] = 60
            mask[inside & (radius == 12)] = place + 1
        write_image(root / "images" / f"d{index}.png", (image + rng.integers(-8, 9, image.shape)).astype(np.uint8))
        write_label_map(root / "masks" / f"d{index}.png", mask)
    return root


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

    def test_too_few_objects_give_no_rejector(self, one_step: TrainConfig, glands: Path, tmp_path: Path) -> None:
        train_folds(one_step, DataChoice(glands), tmp_path, 2)
        (tmp_path / REJECTOR).write_text("of an earlier run")
        assert train_folds(one_step, DataChoice(glands), tmp_path, 2, resume=True)["with_rejector"] is None
        with pytest.raises(
            InputError, match=r"rejector\.json: no such file; 'frugalseg train --folds' makes one where"
        ):
            FittedRejector.read(tmp_path)

    @pytest.mark.parametrize(
        "changes",
        [
            {"format": 2}, {"format": True}, {"weights": [1]}, {"weights": "1234567"}, {"weights": [True] * 7},
            {"bias": None}, {"bias": int("9" * 401)}, {"threshold": 2}, {"class_names": 1}, {"scale": "wide"},
        ],
    )  # fmt: skip
    def test_a_damaged_rejector_is_one_line(self, changes: dict[str, object], tmp_path: Path) -> None:
        good = {"format": 1, "net": "lite", "class_names": ["gland"], "scale": 0.5, "weights": [0.0] * 7, "bias": 0.0}
        (tmp_path / REJECTOR).write_text(json.dumps({**good, "threshold": 0.4}))
        assert FittedRejector.read(tmp_path).rejector.threshold == 0.4
        for content in (json.dumps({**good, "threshold": 0.4, **changes}), "", "[]", "[" * 100_000):
            (tmp_path / REJECTOR).write_text(content)
            with pytest.raises(InputError, match=r"rejector\.json: "):
                FittedRejector.read(tmp_path)

    def test_objects_by_other_rules_are_not_judged(self, tmp_path: Path) -> None:
        card = ModelCard("lite", ("gland",), 0.5, None, 120.0, InstanceSettings(core_threshold=0.6, opening_radius=2.0))
        FittedRejector.of(tmp_path / REJECTOR, KEEP_ALL, card).write()
        read = FittedRejector.read(tmp_path)
        read.check(card)
        larger = dataclasses.replace(card.instances, min_area=300, fragment_area=2000)
        read.check(dataclasses.replace(card, instances=larger))  # sizes go with the objects
        other = dataclasses.replace(card.instances, opening_radius=0.0)
        with pytest.raises(InputError, match="by other rules: opening_radius 2 and not 0"):
            read.check(dataclasses.replace(card, instances=other))
        dataclasses.replace(read, rules={}).check(dataclasses.replace(card, instances=other))  # of an older version

    def test_each_fold_is_judged_by_what_the_others_have_taught(
        self, tiny: TrainConfig, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = dataclasses.replace(
            tiny, steps=20, validate_every=20, patch_px=64, image_scale=1.0, learning_rate=6e-3, min_confidence=0.0
        )
        found: list[Candidates] = []
        judges: list[object] = []
        fits: list[tuple[Candidates, Rejector]] = []
        score, fit = folds._score_fold, folds.fit_rejector

        def note_fit(candidates: Candidates) -> Rejector:
            fits.append((candidates, fit(candidates)))
            return fits[-1][1]

        def note_score(*given: Any) -> Any:
            result = score(*given)
            (judges.append(given[4]) if len(given) > 4 else found.append(joined(result.values())))
            return result

        def joined(parts: Any) -> Candidates:
            return Candidates.joined([each.candidates for each in parts])

        monkeypatch.setattr(folds, "fit_rejector", note_fit)
        monkeypatch.setattr(folds, "_score_fold", note_score)
        train_folds(config, DataChoice(discs), tmp_path, 3)
        taught = [found, found[1:], [found[0], found[2]], found[:2]]
        assert len(fits) == len(taught)
        for (candidates, _), parts in zip(fits, taught, strict=True):
            np.testing.assert_array_equal(candidates.features, np.concatenate([each.features for each in parts]))
            np.testing.assert_array_equal(candidates.are_true, np.concatenate([each.are_true for each in parts]))
        assert FittedRejector.read(tmp_path).rejector == fits[0][1]
        assert judges == [rejector for _, rejector in fits[1:]]

    def test_candidates_are_what_can_be_judged(self) -> None:
        """Three objects: one lost where the full image is smaller than the map, one that nobody looked at, one true."""
        front = np.zeros((40, 40), np.float32)
        front[2:12, 2:12] = front[20:30, 20:30] = 0.9
        front[38, 38] = 0.9
        maps = np.stack([1 - front, front, np.zeros_like(front)])
        truth = np.zeros((20, 20), np.int32)
        truth[1:6, 1:6] = 1
        truth[10:15, 10:12] = 2
        truth[10:15, 12:20] = -1
        found = candidates_of(maps, truth, InstanceSettings())
        assert (found.are_true.tolist(), found.n_true) == ([True], 1)
        assert found.features[0, 0] == pytest.approx(np.log(100))
        empty = candidates_of(np.stack([np.ones_like(front), 0 * front, 0 * front]), truth, InstanceSettings())
        assert (empty.features.shape, empty.n_true) == ((0, len(FEATURES)), 2)

    def test_a_rejector_learns_what_is_not_annotated(self, tiny: TrainConfig, discs: Path, tmp_path: Path) -> None:
        """Small discs look like large ones and are not annotated: the network finds many, the rejector fewer."""
        config = dataclasses.replace(
            tiny,
            steps=20,
            validate_every=20,
            patch_px=64,
            image_scale=1.0,
            learning_rate=6e-3,
            min_confidence=0.0,
        )
        document = train_folds(config, DataChoice(discs), tmp_path / "cv", 3)
        before, after = document["pooled"], document["with_rejector"]["pooled"]
        assert before["n_objects_pred"] > 1.2 * before["n_objects_truth"]
        assert after["object_f1"] > before["object_f1"] + 0.1
        weights = dict(zip(FEATURES, FittedRejector.read(tmp_path / "cv").rejector.weights, strict=True))
        assert weights["log_area"] > 0
        assert document["with_rejector"]["by_fold"][0]["n_images"] == 2

    def test_without_groups_a_warning_says_so(
        self, one_step: TrainConfig, coloured_squares: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        train_folds(dataclasses.replace(one_step, image_scale=1.0), DataChoice(coloured_squares), tmp_path, 3)
        assert "images of one patient may lie on both sides" in caplog.text
        assert len(fold_folders(tmp_path)) == 3
