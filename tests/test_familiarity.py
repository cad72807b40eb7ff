"""Images unlike the training images are found, and what is different is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from frugalseg.arrays import Image
from frugalseg.familiarity import DETAIL_PX, Familiarity, appearance, learn_familiarity
from frugalseg.synthetic import synthetic_glands


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return [synthetic_glands(seed, height=192, width=256).image for seed in range(24)]


@pytest.fixture(scope="module")
def familiar(images: list[Image]) -> Familiarity:
    found = learn_familiarity([appearance(image) for image in images[:16]])
    assert found is not None
    return found


def test_the_numbers_of_a_flat_image_as_computed_by_hand() -> None:
    flat = np.full((20, 30, 3), (255, 127, 15), dtype=np.uint8)
    numbers = appearance(flat)
    assert numbers[:3] == pytest.approx([0, math.log(2), math.log(16)], abs=1e-6)
    assert numbers[3:6] == pytest.approx([math.log(0.01)] * 3, abs=0.2)  # no deviation but rounding
    assert numbers[6:] == pytest.approx([math.log(0.001)] * len(DETAIL_PX), abs=0.01)


def test_detail_shows_in_the_number_of_its_size() -> None:
    rows = np.arange(256)
    for place, sigma in enumerate(DETAIL_PX):
        wave = 127 + 100 * np.sin(
            rows * math.sqrt(2) / sigma
        )  # near the frequency that this pair of Gaussians lets through
        image = np.repeat(np.tile(wave, (256, 1)).astype(np.uint8)[:, :, None], 3, axis=2)
        assert int(np.argmax(appearance(image)[6:])) in (place, max(0, place - 1))


def test_images_of_the_same_kind_are_familiar_and_others_are_not(images: list[Image], familiar: Familiarity) -> None:
    same = [familiar.distance(appearance(image)) for image in images[16:]]
    assert np.mean(np.array(same) > 1) <= 0.25
    for image in images[16:20]:
        grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
        blurred = ndimage.gaussian_filter(image, (3, 3, 0))
        noise = np.random.default_rng(0).integers(0, 255, image.shape).astype(np.uint8)
        for other in (grey, blurred, noise, 255 - image):
            assert familiar.distance(appearance(other)) > 1


def test_what_is_different_is_named(images: list[Image], familiar: Familiarity) -> None:
    image = images[20]
    pale = (255 - (255 - image.astype(int)) // 4).astype(np.uint8)
    assert "paler" in familiar.difference(appearance(pale)) or "less contrast" in familiar.difference(appearance(pale))
    assert "less fine detail" in familiar.difference(appearance(ndimage.gaussian_filter(image, (4, 4, 0))))


def test_a_training_image_lies_no_further_than_the_threshold(images: list[Image], familiar: Familiarity) -> None:
    assert max(familiar.distance(appearance(image)) for image in images[:16]) <= 1


def test_few_images_do_not_tell_what_is_usual(images: list[Image]) -> None:
    rows = [appearance(image) for image in images[:8]]
    assert learn_familiarity(rows[:7]) is None
    assert learn_familiarity(rows) is not None
    assert learn_familiarity([]) is None


def test_equal_training_images_do_not_make_everything_strange() -> None:
    image = synthetic_glands(3, height=96, width=96).image
    familiar = learn_familiarity([appearance(image)] * 10)
    assert familiar is not None
    assert familiar.distance(appearance(image)) < 1


@given(st.integers(1, 40), st.integers(1, 40))
def test_any_size_has_finite_numbers(height: int, width: int) -> None:
    assert np.isfinite(appearance(np.zeros((height, width, 3), dtype=np.uint8))).all()


def test_windows_stand_for_a_large_image() -> None:
    tile = synthetic_glands(5, height=256, width=256).image
    large = np.tile(tile, (9, 9, 1))  # 2304 x 2304, above the size that is looked at whole
    assert appearance(large) == pytest.approx(appearance(np.tile(tile, (4, 4, 1))), abs=0.05)


@pytest.mark.parametrize(
    "change",
    [{"mean": (0.0,) * 9}, {"spread": (0.0,) * 10}, {"threshold": 0.0}, {"threshold": math.nan}, {"precision": ()}],
)
def test_numbers_that_cannot_be_are_refused(familiar: Familiarity, change: dict[str, object]) -> None:
    values = {"mean": familiar.mean, "spread": familiar.spread, "precision": familiar.precision, "threshold": 1.0}
    with pytest.raises(ValueError, match="familiarity"):
        Familiarity(**{**values, **change})  # type: ignore[arg-type]
