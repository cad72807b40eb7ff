"""A simulation on tiny synthetic images: what is shown to whom, what is kept, and how it goes on."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.measure import regionprops

from frugalseg.cli import main
from frugalseg.errors import ConfigError, FrugalsegError, InputError
from frugalseg.executors import open_executor
from frugalseg.images import cut_windows, open_dataset, read_label_map, write_label_map
from frugalseg.ledger import Ledger
from frugalseg.simulation.chain import START, Chain, play
from frugalseg.simulation.config import Contender, SimulationConfig
from frugalseg.simulation.curves import Curve
from frugalseg.simulation.report import summarise, write_simulation
from frugalseg.simulation.run import LEDGER, compare_all, curves_of, simulate
from frugalseg.synthetic import write_synthetic_dataset

N_POOL, N_TEST = 9, 2
TINY = SimulationConfig(
    budgets=(2, 4, 6), seeds=1, steps=2, batch_size=2, patch_px=32, members=2, quantize_steps=1, shared_trunk=True
)
STRATEGIES = ("random", "cover")
Cells = dict[tuple[str, int, int], dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "glands"
    write_synthetic_dataset(folder, N_POOL, N_TEST, 1, height=48, width=64)
    return folder


def contenders(*texts: str) -> list[Contender]:
    return [Contender.parse(text) for text in texts]


def run(data: Path, out: Path, *texts: str, config: SimulationConfig = TINY, **more: Any) -> list[Curve]:
    parts = {"subset": "train", "test_subset": "testA", **more}
    return simulate(data, out, contenders(*texts), config, open_executor("serial"), **parts)


def cells(out: Path) -> Cells:
    return {(key["strategy"], key["seed"], key["budget"]): result for key, result, _ in Ledger(out / LEDGER).cells()}


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / LEDGER).iterdir()}


@pytest.fixture(scope="module")
def played(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("played") / "out"
    run(data, out, *STRATEGIES)
    return out


class TestWhatIsAnnotated:
    def test_all_strategies_share_the_first_budget(self, played: Path) -> None:
        found = cells(played)
        assert {key for key in found if key[2] == 2} == {(START, 0, 2)}
        first = found[START, 0, 2]["labelled"]
        for name in STRATEGIES:
            assert found[name, 0, 4]["labelled"][:2] == first
        curves = {curve.name: curve for curve in curves_of(played)}
        assert set(curves) == set(STRATEGIES)
        for curve in curves.values():
            assert curve.budgets == (2, 4, 6)
            assert np.array_equal(curve.scores[:, 0], curves["random"].scores[:, 0])

    def test_annotated_sets_are_nested_and_of_the_right_sizes(self, played: Path, data: Path) -> None:
        pool = {sample.name for sample in open_dataset(data, subset="train").samples}
        found = cells(played)
        for name in STRATEGIES:
            sets = [found[START, 0, 2]["labelled"], found[name, 0, 4]["labelled"], found[name, 0, 6]["labelled"]]
            for fewer, more in pairwise(sets):
                assert more[: len(fewer)] == fewer
            assert [len(set(each)) for each in sets] == [2, 4, 6]
            assert set(sets[-1]) <= pool

    def test_networks_are_compared_on_the_test_images_only(self, played: Path, data: Path) -> None:
        wanted = {sample.name for sample in open_dataset(data, subset="testA").samples}
        assert all(set(result["scores"]) == wanted for result in cells(played).values())

    def test_costs_are_those_of_the_annotated_masks(self, played: Path, data: Path) -> None:
        for (_, _, budget), result in cells(played).items():
            masks = [read_label_map(data / f"{name}_anno.png") for name in result["labelled"]]
            assert result["n_images"] == budget == len(masks)
            assert result["n_objects"] == sum(len(np.unique(mask[mask > 0])) for mask in masks)
            assert result["outline_px"] == pytest.approx(
                sum(region.perimeter for mask in masks for region in regionprops(mask)), abs=0.5
            )

    def test_results_on_other_test_masks_are_not_added_to(self, played: Path, data: Path, tmp_path: Path) -> None:
        other = Path(shutil.copytree(data, tmp_path / data.name))
        mask = next(path for path in sorted(other.rglob("*_anno.png")) if "testA" in path.name)
        write_label_map(mask, np.zeros_like(read_label_map(mask)))
        before = times(played)
        with pytest.raises(InputError, match="on test images that were others then"):
            run(other, played, *STRATEGIES)
        assert times(played) == before

    def test_one_network_cannot_be_compared_with_itself(self, data: Path, tmp_path: Path) -> None:
        alone = dataclasses.replace(TINY, members=1)
        for name in ("suggestive", "uncertainty", "bald:lsq-4"):
            with pytest.raises(ConfigError, match="at least 2 are needed"):
                run(data, tmp_path / "out", name, config=alone)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("names", [STRATEGIES, pytest.param(("suggestive:float", "bald"), marks=pytest.mark.slow)])
    def test_hidden_masks_decide_nothing(self, names: tuple[str, ...], data: Path, tmp_path: Path) -> None:
        """With every mask that the first budget does not show made another one, the same images are picked next."""
        config = dataclasses.replace(TINY, budgets=(2, 4), steps=1)
        played = tmp_path / "played"
        run(data, played, *names, config=config)
        other = Path(shutil.copytree(data, tmp_path / data.name))
        shown = cells(played)[START, 0, 2]["labelled"]
        for sample in open_dataset(other, subset="train").samples:
            if sample.name not in shown:
                mask = other / f"{sample.name}_anno.png"
                garbage = np.zeros_like(read_label_map(mask))
                garbage[::7, ::3] = np.arange(garbage[::7, ::3].size).reshape(garbage[::7, ::3].shape) % 50
                write_label_map(mask, garbage)
        run(other, tmp_path / "out", *names, config=config)
        before, after = cells(played), cells(tmp_path / "out")
        assert after[START, 0, 2] == before[START, 0, 2]
        for name in names:
            assert after[name, 0, 4]["labelled"] == before[name, 0, 4]["labelled"]
            assert after[name, 0, 4]["n_objects"] != before[name, 0, 4]["n_objects"]

    def test_without_a_test_part_images_are_held_out(self, data: Path, tmp_path: Path) -> None:
        config = dataclasses.replace(TINY, budgets=(2, 3), steps=1)
        run(data, tmp_path, "random", config=config, test_subset=None)
        found = cells(tmp_path)
        tested = set(found[START, 0, 2]["scores"])
        assert tested
        assert not tested & set(found["random", 0, 3]["labelled"])
        samples = {sample.name: sample for sample in open_dataset(data, subset="train").samples}
        patients = {samples[name].group for name in tested}
        assert all(samples[name].group not in patients for name in set(samples) - tested), "patients are not split"


class TestGoingOn:
    def test_a_second_call_does_nothing_new(self, played: Path, data: Path) -> None:
        before = times(played)
        networks = {path: path.stat().st_mtime_ns for path in (played / "work").rglob("model.safetensors")}
        run(data, played, *STRATEGIES)
        assert times(played) == before
        assert networks
        assert {path: path.stat().st_mtime_ns for path in (played / "work").rglob("model.safetensors")} == networks

    def test_a_killed_simulation_ends_in_the_same_ledger(self, played: Path, data: Path, tmp_path: Path) -> None:
        """After the first results, with the networks of the rest gone as if they had never been."""
        out = tmp_path / "out"
        (out / LEDGER).mkdir(parents=True)
        ledger = Ledger(played / LEDGER)
        kept = [key for key, _, _ in ledger.cells() if key["strategy"] == START or key["budget"] == 4]
        for key in kept:
            shutil.copy2(ledger.path(key), out / LEDGER)
        before = times(out)
        assert len(before) == 3
        run(data, out, *STRATEGIES)
        assert cells(out) == cells(played)
        assert {name: time for name, time in times(out).items() if name in before} == before

    def test_a_chain_alone_gives_the_same_cells(self, played: Path, data: Path, tmp_path: Path) -> None:
        (key, *_) = [key for key, _, _ in Ledger(played / LEDGER).cells()]
        common = {name: key[name] for name in ("data", "settings", "device")}
        test_hash = open_dataset(data, subset="testA").content_hash()[:16]
        chain = Chain(data, "train", "testA", (), test_hash, Contender.parse("random"), 0, TINY, tmp_path / "work",
                      tmp_path / LEDGER, common)  # fmt: skip
        assert play(chain) == 3
        found = cells(tmp_path)
        assert found["random", 0, 6] == cells(played)["random", 0, 6]

    def test_results_of_two_machines_are_merged(self, played: Path, data: Path, tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
        """One played one strategy, one the other: with both ledgers nothing is left to do."""
        here, there = tmp_path / "here", tmp_path / "there"
        ledger = Ledger(played / LEDGER)
        for out, names in ((here, (START, "random")), (there, (START, "cover"))):
            (out / LEDGER).mkdir(parents=True)
            for key, _, _ in ledger.cells():
                if key["strategy"] in names:
                    shutil.copy(ledger.path(key), out / LEDGER)
        flags = [str(data), "--out", str(here), "--merge", str(there), "--strategies", "random,cover", "--executor",
                 "serial", "--subset", "train", "--test-subset", "testA", "--budgets", "2,4,6", "--seeds", "1",
                 "--steps", "2", "--batch-size", "2", "--patch-px", "32", "--members", "2", "--quantize-steps", "1",
                 "--json"]  # fmt: skip
        assert main(["simulate", *flags]) == 0
        document = json.loads(capsys.readouterr().out)
        assert set(document["curves"]) == {"random", "cover"}
        assert not (here / "work").exists(), "no network was trained"
        assert len(times(here)) == 5

    def test_results_of_other_data_are_not_taken_over(
        self, played: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ["--subset", "train", "--test-subset", "testA", "--budgets", "2,4", "--steps", "3", "--seeds", "1"]
        assert main(["simulate", str(data), "--out", str(tmp_path), "--merge", str(played), *flags]) == 2
        assert "holds results of other settings" in capsys.readouterr().err
        assert not list(tmp_path.rglob("*.json")), "what does not fit would be in everybody's way"

    def test_machines_that_trained_the_same_first_networks_can_be_merged(
        self, played: Path, data: Path, tmp_path: Path
    ) -> None:
        """Two machines need not be equally fast."""
        run(data, tmp_path, "random")
        assert Ledger(tmp_path / LEDGER).merge(played / LEDGER) == 2


class TestContenders:
    def test_windows(self, data: Path, tmp_path: Path) -> None:
        config = dataclasses.replace(TINY, budgets=(4, 8), window_px=40, per_image=1, steps=1)
        run(data, tmp_path, "cover", config=config)
        windows = {each.name: each for each in cut_windows(open_dataset(data, subset="train").samples, 40)}
        found = cells(tmp_path)
        first, then = found[START, 0, 4]["labelled"], found["cover", 0, 8]["labelled"]
        assert set(then) <= set(windows)
        assert all(windows[name].window is not None for name in then)
        assert len({windows[name].image for name in then if name not in first}) == 4, "one window an image and round"

    def test_cold_cover_differs_in_the_first_images_and_has_no_more(self, data: Path, tmp_path: Path) -> None:
        config = dataclasses.replace(TINY, budgets=(3, 5), steps=1)
        curves = run(data, tmp_path, "cold_cover", "random", config=config)
        found = cells(tmp_path)
        assert set(found) == {(START, 0, 3), ("cold_cover", 0, 3), ("random", 0, 5)}
        assert set(found["cold_cover", 0, 3]["labelled"]) != set(found[START, 0, 3]["labelled"])
        by_name = {curve.name: curve for curve in curves}
        assert by_name["cold_cover"].budgets == (3,)
        assert by_name["random"].budgets == (3, 5)
        (only,) = compare_all(curves)
        assert only.name == "cold_cover"
        assert [row[0] for row in only.by_budget] == [3]

    def test_one_named_twice_is_played_once(self, data: Path, tmp_path: Path) -> None:
        config = dataclasses.replace(TINY, budgets=(2, 3), steps=1)
        assert [curve.name for curve in run(data, tmp_path, "random", "random", config=config)] == ["random"]


class TestParts:
    def test_training_images_are_the_pool_where_no_part_is_named(self, data: Path, tmp_path: Path) -> None:
        """Of data with test images, which networks would leave out of their training, too."""
        config = dataclasses.replace(TINY, budgets=(2, 3), steps=1)
        run(data, tmp_path, "random", config=config, subset=None, test_subset=None)
        found = cells(tmp_path)
        assert set(found) == {(START, 0, 2), ("random", 0, 3)}
        assert all(name.startswith("train_") for result in found.values() for name in result["labelled"])
        assert all(name.startswith("train_") for result in found.values() for name in result["scores"])

    def test_names_that_mean_two_images(self, tmp_path: Path) -> None:
        for part in ("left", "right"):
            write_synthetic_dataset(tmp_path / "one", 4, 0, 1, height=48, width=64)
            for kind in ("images", "masks"):
                (tmp_path / "data" / part / kind).mkdir(parents=True)
            for path in (tmp_path / "one").glob("train_*.png"):
                kind = "masks" if "_anno" in path.name else "images"
                shutil.copy(path, tmp_path / "data" / part / kind / path.name.replace("_anno", ""))
        with pytest.raises(InputError, match="has 'train_1' in several subsets; choose one with --subset"):
            run(tmp_path / "data", tmp_path / "out", "random", subset=None, test_subset=None)
        assert not (tmp_path / "out").exists()


class TestRefusals:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--strategies", "guess"], "strategies: no strategy 'guess'"),
            (["--strategies", ","], "strategies"),
            (["--budgets", "0.5,0.1"], "budgets must be positive and rise"),
            (["--budgets", "4,40"], "too few, too many, or not rising"),
            (["--patch-px", "8"], "patch_px must be at least 32"),
            (["--window-px", "-1"], "window_px must be at least 0"),
            (["--quantize-steps", "-1"], "quantize_steps must be at least 0"),
            (["--quantize-steps", "0", "--strategies", "suggestive:float"], "they would be equal"),
            (["--subset", "none"], "has no subset 'none'"),
            (["--test-subset", "none"], "has no subset 'none'"),
            (["--test-subset", "train"], "'train' is the pool itself"),
            (["--merge", "/nonexistent"], "is not a folder"),
            (["--executor", "serial", "--workers", "2"], "workers: the serial executor has one"),
        ],
    )
    def test_one_line_before_any_work(
        self, flags: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = ["--subset", "train", "--test-subset", "testA", "--budgets", "2,4", "--steps", "1", "--seeds", "1",
                 "--executor", "serial"]  # fmt: skip
        assert main(["simulate", str(data), "--out", str(tmp_path / "out"), *given, *flags]) == 2
        told = capsys.readouterr().err
        (line,) = [line for line in told.splitlines() if line.startswith("frugalseg: ")]
        assert message in line
        assert "Traceback" not in told
        assert not (tmp_path / "out").exists()

    def test_too_few_images_to_hold_any_out(self, tmp_path: Path) -> None:
        write_synthetic_dataset(tmp_path / "data", 1, 0, 1, height=48, width=64)
        with pytest.raises(InputError, match="too few images, or groups, to hold any out"):
            simulate(tmp_path / "data", tmp_path / "out", contenders("random"), TINY, open_executor("serial"))

    def test_other_data_or_settings_do_not_join_a_ledger(self, played: Path, data: Path, tmp_path: Path) -> None:
        out = Path(shutil.copytree(played, tmp_path / "out"))
        before = times(out)
        with pytest.raises(FrugalsegError, match="holds results of other settings"):
            run(data, out, "random", config=dataclasses.replace(TINY, steps=1))
        assert times(out) == before, "found out before any work"

    def test_seeds_are_no_settings(self, data: Path, tmp_path: Path) -> None:
        """Machines share the work by seeds."""
        small = dataclasses.replace(TINY, budgets=(2, 3), steps=1)
        for first in (0, 1):
            curves = run(data, tmp_path, "random", config=dataclasses.replace(small, first_seed=first))
        assert curves[0].seeds == (0, 1)
        found = cells(tmp_path)
        assert found[START, 0, 2]["labelled"] != found[START, 1, 2]["labelled"]

    def test_config_refuses_what_contenders_cannot(self) -> None:
        with pytest.raises(ConfigError, match="strategies"):
            Contender.parse("suggestive:none-3-4")


class TestReport:
    def test_report_and_summary_agree_with_the_ledger(self, played: Path, tmp_path: Path) -> None:
        from frugalseg.metrics import ImageScores, pool

        curves = curves_of(played)
        comparisons = compare_all(curves)
        page = write_simulation(tmp_path, curves, comparisons, "Played through on squares.")
        text = page.read_text(encoding="utf-8")
        summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
        assert summary == json.loads(json.dumps(summarise(curves, comparisons)))
        found = cells(played)
        for name in STRATEGIES:
            assert name in text
            for at, budget in enumerate((2, 4, 6)):
                result = found[START if budget == 2 else name, 0, budget]
                pooled = pool([ImageScores.from_list(values) for values in result["scores"].values()])
                curve = summary["curves"][name]
                assert curve["budgets"][at] == budget
                for figure in ("object_dice", "object_f1", "object_hausdorff"):
                    assert curve[figure]["mean"][at] == pytest.approx(getattr(pooled, figure), abs=1e-5)
                assert curve["objects"][at] == result["n_objects"]
                assert curve["outline_px"][at] == result["outline_px"]
                assert f"{curve['object_dice']['mean'][at]:.3f}" in text
        assert {each.name for each in comparisons} == set(STRATEGIES) - {"random"} == set(summary["against_random"])
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", text)
        assert sources
        assert all(each.startswith(("data:", "#")) for each in sources)

    def test_without_random_images_it_says_so(self, played: Path, tmp_path: Path) -> None:
        curves = [curve for curve in curves_of(played) if curve.name != "random"]
        assert compare_all(curves) == []
        assert "add the strategy" in write_simulation(tmp_path, curves, [], "").read_text(encoding="utf-8")
