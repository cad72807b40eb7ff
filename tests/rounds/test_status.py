"""The outlook against numbers worked out by hand, and progress from a project's rounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from frugalseg.project import Project
from frugalseg.rounds.status import Progress, outlook, progress


def scored(number: int, n: int, dice: float | None, low: float | None = None, high: float | None = None) -> Progress:
    return Progress(number, n, dice, low, high)


# errors of n^-1/2: 0.5 at 4 images, 0.25 at 16, 0.2 at 25, 0.125 at 64
FIRST = scored(0, 4, 0.5, 0.3, 0.7)


@pytest.mark.parametrize(
    ("k", "interval", "gain", "stop"),
    [
        (48, (0.60, 0.90), 0.125, False),  # half the half-width is 0.075
        (9, (0.60, 0.90), 0.05, True),
        (9, (0.70, 0.80), 0.05, False),
        (9, (None, None), 0.05, None),
    ],
)
def test_two_points_on_a_power_law(
    k: int, interval: tuple[float | None, float | None], gain: float, stop: bool | None
) -> None:
    found = outlook([FIRST, scored(1, 16, 0.75, *interval)], k)
    assert found.gain == pytest.approx(gain)
    assert found.stop is stop
    assert found.reason
    if stop:
        assert "0.075" in found.reason


def test_more_points_are_fitted_by_least_squares() -> None:
    n, dice = [5, 10, 20, 40], [0.5, 0.7, 0.65, 0.8]
    slope, offset = np.polyfit(np.log(n), np.log(1 - np.array(dice)), 1)
    expected = math.exp(offset + slope * math.log(40)) - math.exp(offset + slope * math.log(50))
    rounds = [scored(number, *each) for number, each in enumerate(zip(n, dice, strict=True))]
    assert outlook(rounds, 10).gain == pytest.approx(expected)


def test_a_curve_that_falls_gives_no_reason_to_go_on() -> None:
    found = outlook([scored(0, 4, 0.8, 0.7, 0.9), scored(1, 16, 0.7, 0.6, 0.8)], 8)
    assert found.gain is not None
    assert found.gain < 0
    assert found.stop is True


@pytest.mark.parametrize(
    ("rounds", "missing"),
    [
        ([], "one scored on annotated validation images"),
        ([scored(0, 4, None), scored(1, 8, None)], "one scored on annotated validation images"),
        ([FIRST], "a second one"),
        ([FIRST, scored(1, 8, None)], "a second one"),
        ([FIRST, scored(1, 4, 0.6)], "a second one"),
        ([FIRST, scored(1, 8, 1.0)], "a second one"),
    ],
)
def test_too_little_is_known(rounds: list[Progress], missing: str) -> None:
    found = outlook(rounds, 8)
    assert (found.gain, found.stop) == (None, None)
    assert missing in found.reason


def test_progress_is_of_trained_rounds_only(project: Project) -> None:
    figures = {"n_images": 2, "object_dice": 0.7, "object_dice_interval": [0.6, 0.8]}
    for metrics in (figures, {"n_images": 0}, {**figures, "object_dice_interval": None}, None):
        begun = project.begin_round({}, [])
        if metrics is not None:
            project.finish_round(begun.number, metrics)
    assert progress(project) == [
        scored(0, 0, 0.7, 0.6, 0.8),
        scored(1, 0, None),
        scored(2, 0, 0.7),
    ]
