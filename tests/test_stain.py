"""The stain of an image is measured on its tissue and brought to another, whatever it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frugalseg.arrays import Image
from frugalseg.stain import (
    GLASS,
    MOST_FACTOR,
    Stain,
    clear_black,
    curves_for,
    mean_stain,
    measure_stain,
    recolour,
    without_padding,
)
from frugalseg.synthetic import synthetic_glands

GLANDS = synthetic_glands(3, height=160, width=192).image


def dyed(image: Image, factors: tuple[float, float, float]) -> Image:
    """The image with optical densities that are so many times larger."""
    density = -np.log((image.astype(np.float64) + 1) / 256)
    return np.clip(np.rint(256 * np.exp(-density * factors) - 1), 0, 255).astype(np.uint8)


def measured(image: Image) -> Stain:
    found = measure_stain([image])
    assert found is not None
    return found


def test_two_tones_of_tissue_as_computed_by_hand() -> None:
    """Densities ln 2 and ln 4 in each colour, and glass, which does not count."""
    image = np.full((4, 6, 3), 255, dtype=np.uint8)
    image[0], image[1] = 127, 63
    levels = [math.log(math.log(2)), math.log(math.log(4))]
    found = measured(image)
    assert found.level == pytest.approx([np.mean(levels)] * 3)
    assert found.spread == pytest.approx([(levels[1] - levels[0]) / 2] * 3)


def test_several_windows_count_as_one_image() -> None:
    whole = measured(GLANDS)
    parts = measure_stain([GLANDS[:50], GLANDS[50:]])
    assert parts is not None
    assert parts.level == pytest.approx(whole.level)
    assert parts.spread == pytest.approx(whole.spread)


@pytest.mark.parametrize("value", [255, 240, math.ceil(256 * math.exp(-GLASS)) - 1])
def test_glass_has_no_stain_and_stays(value: int) -> None:
    glass = np.full((20, 20, 3), value, dtype=np.uint8)
    assert measure_stain([glass]) is None
    assert curves_for(measured(GLANDS), [glass]) is None
    assert recolour(glass, None) is glass


@pytest.mark.parametrize("lamp", [1.0, 0.95, 0.9, 0.85])
def test_a_dim_lamp_is_taken_back_and_its_grey_glass_is_no_tissue(lamp: float) -> None:
    tissue = dyed(GLANDS, (2, 2, 2))
    image = np.concatenate([tissue, np.full_like(tissue, 250)])
    dim = np.rint(lamp * image).astype(np.uint8)
    found = recolour(dim, curves_for(measured(image), [dim]))[: len(tissue)].astype(float)
    assert np.abs(found - tissue).mean() <= max(0.5 * np.abs(dim[: len(tissue)].astype(float) - tissue).mean(), 1)


def test_a_dark_ground_has_no_stain() -> None:
    """Fluorescence: what is dense there is what has no dye."""
    image = np.full((80, 80, 3), 8, dtype=np.uint8)
    image[:40, :50] = 160
    assert measure_stain([image]) is None
    assert measure_stain([255 - image]) is not None


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_black_padding_does_not_change_how_tissue_is_seen(share: float) -> None:
    """A strip of black beside the glands becomes white, and the glands what they are without it."""
    target, tissue = measured(dyed(GLANDS, (1.5, 0.8, 1.2))), GLANDS
    strip = np.full((len(tissue), round(tissue.shape[1] * share / (1 - share)), 3), 7, dtype=np.uint8)
    padded = np.concatenate([strip, tissue], axis=1)
    seen = recolour(padded, curves_for(target, [padded]))
    assert (seen[:, : strip.shape[1]] == 255).all()
    assert np.array_equal(seen[:, strip.shape[1] :], recolour(tissue, curves_for(target, [tissue])))


def test_fluorescence_stays_dark_for_a_network_of_stained_tissue() -> None:
    """Nuclei in one colour, and grey ones with blurred edges, on a ground of 0."""
    down, across = np.ogrid[:60, :60]
    glow = np.clip(300 * np.exp(-((down - 30) ** 2 + (across - 30) ** 2) / 80), 0, 200).astype(np.uint8)
    blue = np.stack([0 * glow, 0 * glow, glow], axis=2)
    for image in (blue, np.stack([glow] * 3, axis=2)):
        assert curves_for(measured(GLANDS), [image]) is None


def test_an_image_looks_as_it_does_without_its_padding() -> None:
    target = measured(GLANDS)
    frame = np.pad(GLANDS, ((40, 40), (40, 40), (0, 0)), constant_values=2)
    white = np.pad(GLANDS, ((40, 40), (40, 40), (0, 0)), constant_values=255)
    assert np.array_equal(without_padding(frame, target), white)
    assert without_padding(frame, None) is frame
    assert without_padding(GLANDS, target) is GLANDS


def test_nothing_but_black_is_nothing_but_padding() -> None:
    image = np.zeros((8, 9, 3), dtype=np.uint8)
    assert (recolour(image, curves_for(measured(GLANDS), [image])) == 255).all()
    assert measure_stain([image]) is None


def test_probabilities_of_black_padding_are_background() -> None:
    image = np.concatenate([np.zeros_like(GLANDS[:, :30]), GLANDS], axis=1)
    maps = np.full((2, 3, *image.shape[:2]), 1 / 3, dtype=np.float32)
    curves = curves_for(measured(GLANDS), [image])
    clear_black(maps, np.stack([image, image]), curves)
    assert (maps[:, 0, :, :30] == 1).all()
    assert not maps[:, 1:, :, :30].any()
    assert (maps[..., 30:] == np.float32(1 / 3)).all()
    clear_black(maps, np.stack([image, image]), None)
    assert (maps[..., 30:] == np.float32(1 / 3)).all()


def test_a_large_image_is_measured_in_blocks() -> None:
    image = np.tile(GLANDS, (1, 16, 1))  # 160 x 3072
    long = np.tile(GLANDS, (64, 1, 1))  # 10240 x 192: more than a block
    assert measured(image) == measured(long) == measured(GLANDS)


def test_nothing_is_measured_on_nothing() -> None:
    assert measure_stain([]) is None
    assert mean_stain([]) is None
    assert curves_for(None, [GLANDS]) is None


def test_a_little_dirt_on_glass_is_no_tissue() -> None:
    image = np.full((100, 100, 3), 250, dtype=np.uint8)
    image[:9, :9] = 90
    assert measure_stain([image]) is None
    image[:20, :20] = 90
    assert measure_stain([image]) is not None


def test_an_image_of_the_same_stain_stays_as_it_is() -> None:
    assert np.array_equal(recolour(GLANDS, curves_for(measured(GLANDS), [GLANDS])), GLANDS)


@given(st.tuples(*[st.floats(0.6, 1.5)] * 3))
def test_another_strength_of_dye_is_taken_back(factors: tuple[float, float, float]) -> None:
    strong = dyed(GLANDS, (2, 2, 2))  # the program draws pale tissue, some of which would count as glass
    other = dyed(strong, factors)
    back = recolour(other, curves_for(measured(strong), [other]))
    before = np.abs(other.astype(float) - strong).mean()
    after = np.abs(back.astype(float) - strong).mean()
    assert after < max(0.3 * before, 2)


@given(
    st.lists(st.floats(-5, 2), min_size=6, max_size=6),
    st.lists(st.floats(1e-6, 5), min_size=6, max_size=6),
)
def test_darker_stays_darker_and_white_stays_pale(levels: list[float], spreads: list[float]) -> None:
    target, own = (Stain(tuple(levels[i : i + 3]), tuple(spreads[i : i + 3])) for i in (0, 3))
    curves = target.curves_from(own)
    assert curves.shape == (3, 256)
    assert (np.diff(curves.astype(int), axis=1) >= 0).all()
    assert curves[:, 255].min() >= 240


def test_densities_change_by_the_greatest_factor_at_most() -> None:
    own = Stain((math.log(0.2),) * 3, (0.5,) * 3)
    curves = Stain((math.log(20),) * 3, (0.5,) * 3).curves_from(own)
    value = 209  # its density is 0.1985
    expected = 256 * ((value + 1) / 256) ** MOST_FACTOR - 1
    assert curves[:, value].tolist() == [round(expected)] * 3


def test_each_pixel_changes_by_its_value_alone() -> None:
    curves = curves_for(Stain((-0.5, -0.2, -1.0), (0.4, 0.5, 0.6)), [GLANDS])
    whole = recolour(GLANDS, curves)
    assert not np.array_equal(whole, GLANDS)
    assert np.array_equal(recolour(GLANDS[32:96, 16:80], curves), whole[32:96, 16:80])
    assert np.array_equal(recolour(GLANDS[None], curves), whole[None])


def test_the_middle_of_several_stains() -> None:
    stains = [Stain((0, 1, 2), (1, 1, 1)), Stain((2, 1, 0), (3, 1, 2))]
    assert mean_stain(stains) == Stain((1, 1, 1), (2, 1, 1.5))


@pytest.mark.parametrize(
    ("level", "spread"),
    [((0, 0), (1, 1)), ((0, 0, 0), (1, 1, 0)), ((0, math.nan, 0), (1, 1, 1)), ((0, 0, 0), (1, math.inf, 1))],
)
def test_a_stain_that_cannot_be_is_refused(level: tuple[float, ...], spread: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="stain"):
        Stain(level, spread)
