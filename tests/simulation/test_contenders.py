"""Names of strategies and settings of a simulation."""

import json
from pathlib import Path

import pytest

from frugalseg.errors import ConfigError
from frugalseg.simulation.config import Contender, SimulationConfig
from frugalseg.simulation.run import common_key

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "suggestion" / "ledger"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("suggestive", ("suggestive", "inq", 5, "ensemble")),
        ("suggestive:float", ("suggestive", "none", None, "ensemble")),
        ("bald:lsq-4", ("bald", "lsq", 4, "ensemble")),
        ("cover", ("cover", "inq", 5, "one network")),
        ("random", ("random", "inq", 5, "nothing")),
        ("cold_cover", ("cold_cover", "inq", 5, "nothing")),
    ],
)
def test_a_contender_is_a_strategy_and_its_ensemble(text, expected):
    found = Contender.parse(text)
    assert (found.strategy, found.method, found.bits, found.needs) == expected


@pytest.mark.parametrize("text", ["nothing", "suggestive:huffman", "suggestive:inq-99", "suggestive:inq-x", ""])
def test_others_are_refused(text):
    with pytest.raises(ConfigError, match="strategies"):
        Contender.parse(text)


def test_budgets_are_shares_or_numbers():
    assert SimulationConfig(budgets=(0.1, 0.25, 0.5)).counts(85) == (8, 21, 42)
    assert SimulationConfig(budgets=(4, 8)).counts(10) == (4, 8)


@pytest.mark.parametrize("budgets", [(), (0.5, 0.1), (0.1, 0.1), (0, 1)])
def test_budgets_must_rise(budgets):
    with pytest.raises(ValueError, match="budgets"):
        SimulationConfig(budgets=budgets)


@pytest.mark.parametrize(("budgets", "n"), [((0.1, 0.2), 3), ((4, 20), 10), ((0.5, 2), 85)])
def test_budgets_must_fit_the_pool(budgets, n):
    with pytest.raises(ConfigError, match="too few, too many, or not rising"):
        SimulationConfig(budgets=budgets).counts(n)


def test_ledgers_from_before_there_was_a_choice_of_networks_still_fit() -> None:
    """The hash of the settings that the ledger in docs/results/suggestion was made with."""
    (recorded,) = {json.loads(path.read_text())["key"]["settings"] for path in RESULTS.glob("*.json")}
    assert common_key("x", SimulationConfig(), "testA")["settings"] == recorded
    assert common_key("x", SimulationConfig(net="fcn"), "testA")["settings"] != recorded
