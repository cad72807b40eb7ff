"""Means, differences, verdicts and the page, from a few cells worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from frugalseg.errors import InputError
from frugalseg.study.comparing import Contrast, difference
from frugalseg.study.grid import GRID
from frugalseg.study.literature import Published
from frugalseg.study.page import MARKER, NAMES, render
from frugalseg.study.questions import NOT_RUN, QUESTIONS, answer
from frugalseg.study.reading import mean_and_deviation, read_results
from frugalseg.study.report import write_study
from frugalseg.study.saturation import saturation
from frugalseg.study.tables import cells_not_run, in_words, table_rows

from .builders import put_cell

EMPTY = "# Study\n" + "\n".join(f"{MARKER.format(n, 'begins')}\nstale\n{MARKER.format(n, 'ends')}" for n in NAMES)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """INQ-5 is .02 above float on every image, noise .01 below; random images only; two seeds."""
    folder = tmp_path / "ledger"
    for seed, base in ((0, 0.80), (1, 0.84)):
        for training, gain in (("float", 0.0), ("inq-5", 0.02), ("noise-5", -0.01)):
            name = f"lite/half/random/{training}"
            put_cell(folder, f"{name}/x1/seed-{seed}", [base + gain, base + gain + 0.02], minutes=2 + 2 * seed)
    put_cell(folder, "lite/half/random/float/x3/seed-0", [0.9, 0.9], apart=[0.10, 0.20])
    put_cell(folder, "lite/half/random/inq-5/x3/seed-0", [0.9, 0.9], apart=[0.14, 0.24])
    return folder


def test_means_and_deviations_over_seeds(ledger: Path) -> None:
    row = table_rows(read_results(ledger))[0]
    assert row.pattern == "lite/half/random/float/x1/*"
    assert row.seeds == (0, 1)
    # .81 and .85 (equal areas): mean .83, deviation .04 / sqrt 2
    assert row.figures["testA"] == ("1.000 ± 0.000", "0.830 ± 0.028", "3.0 ± 0.0")
    assert "testB" not in row.figures
    assert (row.plain_bytes, row.coded_bytes, row.minutes) == (400, 300, 3.0)
    assert mean_and_deviation([0.5]) == (0.5, None)


def test_disagreement_is_a_mean_over_images(ledger: Path) -> None:
    rows = {row.cell.row: row for row in table_rows(read_results(ledger))}
    assert rows["lite/half/random/float/x3"].disagreement == "0.1500"
    assert rows["lite/half/random/float/x1"].disagreement == "–"


def test_a_difference_that_is_the_same_on_every_image_is_sure(ledger: Path) -> None:
    contrast = Contrast("INQ-5 against float", "training", "inq-5", "float", {"n_networks": (1,)})
    pairs = contrast.pairs(read_results(ledger))
    assert [(left.cell.seed, right.cell.training) for left, right in pairs] == [(0, "float"), (1, "float")]
    found = difference(pairs, "testA", "object_dice")
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.02, 0.02, 0.02))
    assert (found.n_pairs, found.n_seeds, found.sign) == (2, 2, 1)
    assert difference(pairs, "testB", "object_dice") is None
    assert difference([], "testA", "object_dice") is None


def test_a_difference_that_varies_over_images_has_an_interval(tmp_path: Path) -> None:
    put_cell(tmp_path, "lite/half/random/float/x1/seed-0", [0.8] * 10)
    put_cell(tmp_path, "lite/half/random/inq-5/x1/seed-0", [0.9, 0.72] * 5)
    results = read_results(tmp_path)
    pairs = Contrast("", "training", "inq-5", "float").pairs(results)
    found = difference(pairs, "testA", "object_dice")
    assert found is not None
    assert found.mean == pytest.approx(0.01)
    # gains of +.1 and -.08, ten images: standard error .09 / sqrt 10
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.09 / 10**0.5, rel=0.1)
    assert found.sign == 0
    assert found == difference(pairs, "testA", "object_dice"), "the same draws every time"


def test_verdicts_come_from_the_intervals(ledger: Path) -> None:
    results = read_results(ledger)
    said = {each.contrast.words: each for question in QUESTIONS for each in answer(question, results)}
    assert said["INQ-5 against noise as large as INQ-5's error"].verdict == "helps"
    assert said["noise as large as INQ-5's error against float training"].verdict == "hurts"
    assert said["INQ-5 against freezing alone"].verdict == NOT_RUN
    apart = said["members trained with INQ-5 against float ones"]
    assert apart.verdict == "they differ more in the only seed, which shows nothing of others"
    assert apart.found is not None
    assert apart.found.mean == pytest.approx(0.04)
    words = in_words(said["noise as large as INQ-5's error against float training"])
    assert words == (
        "Noise as large as INQ-5's error against float training (`lite`, part A): -0.0100 object Dice"
        " [-0.0100, -0.0100], 2 pairs of 2 seeds: hurts."
    )
    assert in_words(said["INQ-5 against freezing alone"]) == "INQ-5 against freezing alone: not run."


def test_one_seed_shows_nothing_of_others(tmp_path: Path) -> None:
    put_cell(tmp_path, "lite/half/random/float/x1/seed-0", [0.8] * 10)
    put_cell(tmp_path, "lite/half/random/inq-5/x1/seed-0", [0.9] * 10)
    said = {each.contrast.words: each for question in QUESTIONS for each in answer(question, read_results(tmp_path))}
    assert said["INQ-5 against float training"].verdict == "helps in the only seed, which shows nothing of others"


def test_part_b_stands_beside_part_a(tmp_path: Path) -> None:
    name = "lite/half/random/float/x1/seed-0"
    put_cell(tmp_path, name, [0.8, 0.8])
    put_cell(tmp_path, name, [0.8, 0.8], part_b=[0.6])
    (result,) = read_results(tmp_path)
    assert result.figure("testB", "object_dice") == pytest.approx(0.6)
    (row,) = table_rows([result])
    assert row.figures["testB"][1] == "0.600"


def test_the_page(ledger: Path) -> None:
    page = render(EMPTY, read_results(ledger), "../images/study.png")
    assert "stale" not in page
    assert "**Does quantized training (QNT) help?** By the first line: `lite`, part A: helps." in page
    assert "**Does quantized suggestion (QSA) help?** Not run." in page
    assert (
        "| `lite/half/random/float/x1/*` | 0, 1 | 1.000 ± 0.000 / 0.830 ± 0.028 / 3.0 ± 0.0 | – | – | 400 | 300 | 3.0 |"
        in page
    )
    assert "(../images/study.png)" in page
    assert "| Xu et al. 2018: QSA + QNT, INQ-7, 5 + 5 networks | 0.930 / 0.862 | 0.914 / 0.859 | 41.8 / 97.4 |" in page
    assert "| 7 | 0.000 % | 0.1944 |" in page
    assert "8 of 864 cells have been run" in page
    assert "- `lite/half/random/*/x3`: float (seed 1, 2), inq-3" in page
    assert "Preset `gpu`: none of" in page
    assert render(page, read_results(ledger), "../images/study.png") == page, "made anew, it is the same"
    with pytest.raises(ValueError, match="markers"):
        render("# Study", [])


def test_the_page_without_results() -> None:
    page = render(EMPTY, [])
    assert "No cell has been run." in page
    assert "helps" not in page
    assert page.count("not run.") >= sum(len(question.contrasts) for question in QUESTIONS)
    assert "| **ours**, the paper's set-up | not run |" in page


def test_the_page_with_models_that_ship_and_patients_held_out(ledger: Path) -> None:
    model = Published("**ours**, `glands`", (0.9, math.nan), (0.91, math.nan), (44.44, math.nan), "its card")
    page = render(EMPTY, read_results(ledger), shipped=[model], held_out={"inq-5": ".8 / .7 / 99.0"})
    assert "| **ours**, `glands` | 0.900 / – | 0.910 / – | 44.4 / – | its card |" in page
    assert "| `inq-5` | – | not run | .8 / .7 / 99.0 |" in page
    assert "| `float` | – | not run | not run |" in page


def test_what_is_not_run_is_told_whole(ledger: Path) -> None:
    groups = cells_not_run(read_results(ledger), "cpu")
    told = sum(len(name.split("(seed ")[1].split(",")) if "(seed" in name else 3 for each in groups.values()
               for name in each)  # fmt: skip
    assert told == len(GRID["cpu"]) - 8


def test_the_report(ledger: Path, tmp_path: Path) -> None:
    text = write_study(tmp_path, read_results(ledger)).read_text(encoding="utf-8")
    assert "0.830 ± 0.028" in text
    assert "Do quantized members differ more?" in text
    assert "data:image/png;base64" in text


def test_cells_that_cannot_be_compared_are_refused(ledger: Path) -> None:
    put_cell(ledger, "lite/half/random/twn-2/x1/seed-0", [0.8, 0.8], settings="other")
    with pytest.raises(InputError, match="other data, settings or devices"):
        read_results(ledger)


def test_cells_scored_on_other_images_are_refused(ledger: Path) -> None:
    put_cell(ledger, "lite/half/random/twn-2/x1/seed-0", [0.8] * 3)
    with pytest.raises(InputError, match="other images of testA"):
        read_results(ledger)


def test_seven_bits_stand_for_more() -> None:
    found = {each.bits: each for each in saturation()}
    assert found[7].differs_from_9 == 0
    assert found[6].differs_from_9 < 3e-4
    assert 0.01 < found[5].differs_from_9 < 0.1
    assert [round(found[bits].relative_rmse, 3) for bits in (3, 4, 5, 7)] == [0.576, 0.211, 0.194, 0.194]
