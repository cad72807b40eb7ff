"""The study on tiny synthetic glands: what is trained, kept, resumed and merged."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frugalseg.cli import main
from frugalseg.errors import InputError, StoppedError
from frugalseg.executors import open_executor
from frugalseg.images import load_sample, open_dataset, write_label_map
from frugalseg.ledger import Ledger
from frugalseg.metrics import score_image
from frugalseg.model_files import WEIGHTS
from frugalseg.predict import load_model
from frugalseg.quant.batch_norm import reestimate_batch_norm
from frugalseg.segmentation import segment
from frugalseg.simulation.run import LEDGER as SIMULATED
from frugalseg.study.config import StudyConfig
from frugalseg.study.grid import StudyCell, choose_cells
from frugalseg.study.networks import Work, do_work
from frugalseg.study.run import LEDGER, SELECTION, WORK, StudyData, merge, not_done, reproduce
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train import quantized
from frugalseg.train import run as training
from frugalseg.train.folder import read_config
from frugalseg.train.loop import InterruptedTrainingError

TINY = StudyConfig(
    steps=2,
    batch_size=2,
    patch_px=32,
    phase_steps=4,
    suggest_budgets=(0.25, 0.5),
    suggest_steps=1,
    suggest_batch_size=2,
    suggest_patch_px=32,
    suggest_members=2,
    suggest_phase_steps=1,
)
FLAGS = [
    "--steps", "2", "--batch-size", "2", "--patch-px", "32", "--phase-steps", "4", "--suggest-budgets", "0.25,0.5",
    "--suggest-steps", "1", "--suggest-batch-size", "2", "--suggest-patch-px", "32", "--suggest-members", "2",
    "--suggest-phase-steps", "1",
]  # fmt: skip
EVERY = "lite/all/every/inq-5/x1/seed-0"
RANDOM = "lite/half/random/noise-5/x1/seed-0"
CONFIGS = {"lite": TINY}


@pytest.fixture(scope="module", autouse=True)
def few_batches() -> Iterator[None]:
    """One thread, and statistics of batch normalisation from two batches instead of fifty."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            quantized, "reestimate_batch_norm", lambda net, batches: reestimate_batch_norm(net, islice(batches, 2))
        )
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "glands"
    write_synthetic_dataset(folder, 8, 2, 1, height=48, width=64)
    return folder


def run(data: Path, out: Path, *names: str) -> None:
    cells = choose_cells("cpu", ",".join(names))
    reproduce(StudyData.open(data), out, cells, CONFIGS, open_executor("serial"))


def results(out: Path) -> dict[str, Any]:
    return {key["cell"]: result for key, result, _ in Ledger(out / LEDGER).cells()}


@pytest.fixture(scope="module")
def whole(data: Path, few_batches: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    run(data, out, EVERY, RANDOM)
    return out


def test_a_cell_keeps_all_that_the_page_needs(whole: Path, data: Path) -> None:
    result = results(whole)[EVERY]
    assert result["images"] == [sample.name for sample in open_dataset(data, subset="train").labelled]
    assert len(results(whole)[RANDOM]["images"]) == 4
    (run_folder,) = (whole / WORK / "lite" / "every").glob("seed-0-*/network-0/inq-5")
    model = load_model([run_folder])
    dataset = open_dataset(data, subset="testA")
    assert set(result["scores"]) == {"testA"}
    for sample in dataset.labelled:
        loaded = load_sample(dataset, sample)
        found = segment(model.engines, loaded.image, scale=model.card.scale, settings=model.card.instances)
        assert result["scores"]["testA"][sample.name] == score_image(found.labels, loaded.labels).as_list()
    assert len(result["sha256"]) == 1
    assert result["bytes"]["coded"] < result["bytes"]["plain"] < result["bytes"]["float32"] / 4
    assert results(whole)[RANDOM]["bytes"]["plain"] > result["bytes"]["float32"], "noise leaves floats"
    assert result["disagreement"] is None


@pytest.mark.slow
def test_an_interrupted_study_ends_with_the_same_results(
    whole: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the second cell's phase; resumed by the same call."""
    out = tmp_path / "out"
    shutil.copytree(whole / SELECTION, out / SELECTION)
    rows = []
    plain = training.record_row

    def stop(folder: Path, row: dict[str, Any]) -> None:
        plain(folder, row)
        rows.append(folder)
        if folder.name == "noise-5" and row["step"] == 2:
            raise InterruptedTrainingError("stopped by the test")

    monkeypatch.setattr(training, "record_row", stop)
    with pytest.raises(StoppedError, match="the same command goes on"):
        run(data, out, RANDOM, EVERY)
    monkeypatch.setattr(training, "record_row", plain)
    assert RANDOM not in results(out)
    run(data, out, RANDOM, EVERY)
    assert results(out) == results(whole), "hashes of the weights, too"


def test_what_is_there_is_not_made_again(whole: Path, data: Path) -> None:
    files = [path for path in whole.rglob("*") if path.suffix in (".json", ".safetensors")]
    before = {path: path.stat().st_mtime_ns for path in files}
    run(data, whole, EVERY, RANDOM)
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_cells_share_networks(whole: Path, data: Path, tmp_path: Path) -> None:
    """A float run of the cells of one network and one ensemble is trained once, with the images of the selection."""
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    (folder,) = (out / WORK / "lite" / "random").glob("seed-0-*")
    plain = folder / "network-0" / "float-plain" / WEIGHTS
    before = plain.stat().st_mtime_ns
    # the source of a phase is named by its path, which is another one here
    (found,) = (whole / WORK / "lite" / "random").glob("seed-0-*")
    assert read_config(found / "network-0" / "noise-5")["source"]["run"] == str(found / "network-0" / "float-plain")
    run(data, out, "lite/half/random/float-plain/x3/seed-0")
    assert plain.stat().st_mtime_ns == before
    assert sorted(path.name for path in folder.iterdir()) == ["network-0", "network-1", "network-2"]
    result = results(out)["lite/half/random/float-plain/x3/seed-0"]
    assert len(set(result["sha256"])) == 3
    assert all(value > 0 for value in result["disagreement"]["testA"].values())
    seeds = [read_config(folder / f"network-{member}" / "float-plain")["config"]["seed"] for member in range(3)]
    assert seeds == [0, 1, 2]


def test_part_b_is_scored_when_it_comes(whole: Path, data: Path, tmp_path: Path) -> None:
    """With one label for all its glands, as the release has some: the truth is then the connected components."""
    out, more = Path(shutil.copytree(whole, tmp_path / "out")), Path(shutil.copytree(data, tmp_path / "glands"))
    shutil.copy(more / "testA_1.png", more / "testB_1.png")
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[4:16, 4:20] = mask[24:40, 4:20] = mask[10:30, 30:60] = 1
    write_label_map(more / "testB_1_anno.png", mask)
    opened = StudyData.open(more)
    assert opened.parts == ("testA", "testB")
    (cell,) = choose_cells("cpu", EVERY)
    assert not_done(out, opened, [cell], CONFIGS) == [cell]
    run(more, out, EVERY)
    found = [result for key, result, _ in Ledger(out / LEDGER).cells() if key["cell"] == EVERY]
    assert sorted(len(each["scores"]) for each in found) == [1, 2]
    both = max(found, key=lambda each: len(each["scores"]))
    assert both["sha256"] == min(found, key=lambda each: len(each["scores"]))["sha256"], "not trained again"
    assert [row[4] for row in both["scores"]["testB"].values()] == [3], "true glands"
    elsewhere = tmp_path / "elsewhere"
    assert merge(elsewhere, out / LEDGER, StudyData.open(data), CONFIGS) == 3, "where part B is missing, too"
    assert not_done(elsewhere, StudyData.open(data), [cell], CONFIGS) == []


def test_cells_of_another_machine_are_taken_over(whole: Path, data: Path, tmp_path: Path) -> None:
    opened = StudyData.open(data)
    assert merge(tmp_path, whole, opened, CONFIGS) == 2
    assert results(tmp_path) == results(whole)
    assert (tmp_path / SELECTION / "lite" / SIMULATED).is_dir()
    assert merge(tmp_path, whole / LEDGER, opened, CONFIGS) == 0
    run(data, tmp_path, EVERY, RANDOM)
    assert not (tmp_path / WORK).exists(), "nothing is left to train"
    other = {"lite": StudyConfig(steps=3)}
    with pytest.raises(InputError, match="of other settings"):
        merge(tmp_path / "new", whole, opened, other)
    assert not (tmp_path / "new").exists()


def test_workers_can_carry_their_work(whole: Path) -> None:
    assert pickle.loads(pickle.dumps(do_work)) is do_work
    assert pickle.loads(pickle.dumps(Work("a", whole, whole))) == Work("a", whole, whole)


class TestCommand:
    def test_it_lists_and_reports(
        self, whole: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        command = ["reproduce", "glas", str(data), "--out", str(out), *FLAGS, "--executor", "serial"]
        cells = ["--cells", f"{EVERY},{RANDOM},lite/all/every/float/x1/seed-0"]
        assert main([*command, *cells, "--list", "--merge", str(whole)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sorted(line.split()[0] for line in lines[:3]) == ["done", "done", "not"]
        assert lines[3].startswith("2 of 3 done; about")
        assert main([*command, "--cells", f"{EVERY},{RANDOM}", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["cells"] == {name: results(whole)[name]["sha256"] for name in (EVERY, RANDOM)}
        assert "Does quantized training" in Path(document["report"]).read_text(encoding="utf-8")
        assert main([*command, "--cells", EVERY]) == 0
        told = capsys.readouterr().out
        assert "lite/all/every/inq-5/x1" in told
        assert "the report: " in told

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--cells", "lite/none/*"], "--cells: no cell fits 'lite/none/*'"),
            (["--steps", "0"], "steps must be at least 1"),
            (["--suggest-budgets", "0.1,0.3"], "suggest_budgets must end with 0.5"),
            (["--merge", "/nonexistent"], "is not a folder"),
            (["--merge-selection", "/nonexistent"], "is not a folder"),
            (["--executor", "serial", "--workers", "2"], "the serial executor has one"),
        ],
    )
    def test_one_line_before_any_work(
        self, flags: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        assert main(["reproduce", "glas", str(data), "--out", str(out), "--cells", EVERY, *flags]) == 2
        told = capsys.readouterr().err
        (line,) = [line for line in told.splitlines() if line.startswith("frugalseg: ")]
        assert message in line
        assert "Traceback" not in told
        assert not out.exists()

    def test_data_without_a_test_part(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_synthetic_dataset(tmp_path / "data", 2, 0, 1, height=48, width=64)
        assert main(["reproduce", "glas", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 2
        assert "has no subset 'testA'" in capsys.readouterr().err

    def test_other_settings_do_not_join_a_ledger(
        self, whole: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["reproduce", "glas", str(data), "--out", str(whole), "--cells", EVERY, *FLAGS]
        assert main([*command, "--phase-steps", "5"]) == 2
        assert "of other settings" in capsys.readouterr().err


def test_names_of_cells_have_folders(whole: Path) -> None:
    cell = StudyCell("lite", "every", "inq-5", 1, 0)
    assert cell.name == EVERY
    assert not list(whole.rglob("checkpoints")), "they are removed when a network is ready"
