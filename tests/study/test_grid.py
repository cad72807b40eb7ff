"""Names of cells, patterns, and the settings behind them."""

from __future__ import annotations

import itertools

import pytest

from frugalseg.errors import ConfigError
from frugalseg.study.config import PRESETS, StudyConfig, estimated_minutes
from frugalseg.study.grid import GRID, NETWORKS, QUANTIZED, SELECTIONS, TRAININGS, StudyCell, choose_cells, is_core


@pytest.mark.parametrize("preset", GRID)
def test_names_are_unique_and_read_back(preset: str) -> None:
    names = [cell.name for cell in GRID[preset]]
    assert len(set(names)) == len(names)
    assert [StudyCell.parse(name) for name in names] == list(GRID[preset])
    assert "lite/half/suggestive-inq-5/inq-5/x1/seed-0" in names
    assert f"fcn/all/every/decay/x{NETWORKS[preset]}/seed-2" in names


def test_the_papers_grid_is_whole() -> None:
    """Every selection with every quantizer and float, one network and several, both nets, all seeds."""
    for preset, number in NETWORKS.items():
        cells = set(GRID[preset])
        for net, selection, training, n, seed in itertools.product(
            ("lite", "fcn"), (*SELECTIONS, "every"), ("float", *QUANTIZED), (1, number), (0, 1, 2)
        ):
            assert StudyCell(net, selection, training, n, seed) in cells


def test_the_core_is_what_was_agreed() -> None:
    core = choose_cells("cpu", "core")
    assert {cell.selection for cell in core} == {"random", "suggestive-float", "suggestive-inq-5", "every"}
    assert {cell.training for cell in core} == {"float", "inq-5", "noise-5"}
    assert {(cell.net, cell.n_networks) for cell in core} == {("lite", 1), ("lite", 3)}
    assert len(core) == 4 * 3 * 2 * 3
    assert [cell.n_networks for cell in core] == sorted(cell.n_networks for cell in core), "single networks first"


def test_patterns() -> None:
    (one,) = choose_cells("cpu", "lite/half/random/float/x1/seed-0")
    assert (one.share, one.selection, one.seed) == (0.5, "random", 0)
    part = choose_cells("cpu", "core:*/x1/*")
    assert all(is_core(cell) and cell.n_networks == 1 for cell in part)
    assert len(part) == 36
    both = choose_cells("cpu", " lite/*/seed-1 , fcn/all/*/seed-1,lite/*/seed-1")
    assert {cell.seed for cell in both} == {1}
    assert choose_cells("cpu", "all") == GRID["cpu"]
    for wrong in ("lite/half/random/float/x1/seed-9", "core:fcn/*", "core,nothing", "", ","):
        with pytest.raises(ConfigError, match="--cells"):
            choose_cells("cpu", wrong)


@pytest.mark.parametrize("name", ["lite/all/random/float/x1/seed-0", "lite/half/random/float/1/seed-0", "a/b"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no name of a cell|not enough values|invalid literal"):
        StudyCell.parse(name)


@pytest.mark.parametrize(
    "name",
    ["lite/half/random/lsq-4/x1/seed-0", "unet/half/random/float/x1/seed-0", "lite/half/worst/float/x1/seed-0"],
)
def test_cells_of_other_networks_images_or_trainings_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a cell"):
        StudyCell.parse(name)


def test_each_training_has_a_phase_that_can_be_done() -> None:
    config = StudyConfig()
    phases = {name: config.phase(name) for name in TRAININGS}
    assert phases.pop("float-plain") is None
    for name, phase in phases.items():
        assert phase is not None
        assert (phase.steps, phase.learning_rate) == (config.phase_steps, config.phase_rate), "the same further steps"
        assert (phase.spec is not None) == (name in QUANTIZED)
        assert (phase.weight_decay is not None) == (name == "decay")
        assert phase.n_cycles == 4
    assert phases["noise-3"].bits == 3  # type: ignore[union-attr]
    assert phases["dorefa-1"].spec.method == "dorefa"  # type: ignore[union-attr]


def test_networks_of_a_seed_differ_and_share_no_seed_with_others() -> None:
    config = StudyConfig()
    seeds = [config.float_training("lite", seed, member).seed for seed in range(3) for member in range(5)]
    assert len(set(seeds)) == 15


def test_settings_of_the_selection_do_not_touch_cells_of_all_images() -> None:
    every, random = (StudyCell("lite", name, "float", 1, 0) for name in ("every", "random"))
    one, other = StudyConfig(), StudyConfig(suggest_steps=7)
    assert one.digest(every) == other.digest(every)
    assert one.digest(random) != other.digest(random)
    assert one.digest(every) != StudyConfig(steps=7).digest(every)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("phase_rate", 0.0), ("suggest_budgets", (0.1, 0.4)), ("suggest_members", 0), ("threads", -1)],
)
def test_impossible_settings_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name}"):
        StudyConfig(**{name: value})  # type: ignore[arg-type]


def test_presets_can_be_built() -> None:
    for nets in PRESETS.values():
        for values in nets.values():
            StudyConfig(**values)


def test_a_network_counts_once_in_estimates() -> None:
    config = StudyConfig(steps=100, phase_steps=20)
    cells = [StudyCell("lite", "every", training, 1, 0) for training in ("float", "inq-5", "float-plain")]
    trained: set[tuple[object, ...]] = set()
    first, second, third = (estimated_minutes(cell, config, trained) for cell in cells)
    assert first == pytest.approx(6 * second)
    assert third == 0
