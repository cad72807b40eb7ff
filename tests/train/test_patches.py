"""Patches follow from seed and step alone, and show what the image shows, with the labels that belong there."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from frugalseg.arrays import UNKNOWN
from frugalseg.train.config import TrainConfig
from frugalseg.train.patches import PreparedImage, _span, _to_unit, draw_batch, recolour

PLAIN = TrainConfig(
    patch_px=32, batch_size=4, flip=False, rotate=False, zoom=1.0, elastic_px=0.0, stain=0.0, brightness=0.0
)
WILD = TrainConfig(patch_px=48, batch_size=6, zoom=1.6, elastic_px=8.0, stain=0.3, brightness=0.2)
MOVED = dataclasses.replace(WILD, stain=0.0, brightness=0.0)


def coded_image(height: int, width: int, *, cell: int = 16, seed: int = 0) -> PreparedImage:
    """Square objects of one colour each; the red channel is ten times the label, in the unannotated ones 255."""
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(height) // cell, np.arange(width) // cell
    codes = rng.permutation(max(24, (rows[-1] + 1) * (columns[-1] + 1)))[: (rows[-1] + 1) * (columns[-1] + 1)] % 24
    labels = codes.reshape(rows[-1] + 1, columns[-1] + 1)[rows[:, None], columns[None, :]].astype(np.int32)
    image = np.stack([10 * labels, 255 - 10 * labels, np.full_like(labels, 77)], axis=-1).astype(np.uint8)
    labels = np.where(labels == 23, UNKNOWN, labels).astype(np.int32)
    lookup = np.array([0, *(1 + label % 3 for label in range(1, 23))], dtype=np.int64)
    return PreparedImage("coded", image, labels, lookup)


def noise_image(height: int, width: int, seed: int = 0) -> PreparedImage:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = rng.integers(-1, 5, (height, width)).astype(np.int32)
    return PreparedImage("noise", image, labels, np.array([0, 1, 1, 1, 1]))


def same(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def parts(images: list[PreparedImage], config: TrainConfig, step: int) -> tuple[Tensor, Tensor, Tensor]:
    batch = draw_batch(images, config, step)
    return batch.images, batch.labels, batch.lookup


class TestBatches:
    def test_follow_from_seed_and_step_whatever_came_before(self) -> None:
        images = [coded_image(90, 120), coded_image(70, 80, seed=1)]
        first = parts(images, WILD, 7)
        for step in (0, 1, 2):
            draw_batch(images, WILD, step)
        torch.manual_seed(99)
        np.random.seed(99)
        before = torch.get_rng_state()
        assert same(first, parts(images, WILD, 7))
        assert torch.equal(torch.get_rng_state(), before)
        assert not same(first, parts(images, WILD, 8))
        assert not same(first, parts(images, dataclasses.replace(WILD, seed=1), 7))

    def test_leave_the_images_alone(self) -> None:
        source = coded_image(60, 60)
        image, labels = source.image.copy(), source.labels.copy()
        draw_batch([source], WILD, 0)
        assert (source.image == image).all()
        assert (source.labels == labels).all()

    def test_shapes_and_kinds(self) -> None:
        images, labels, lookup = parts([coded_image(60, 90), noise_image(50, 40)], WILD, 3)
        assert images.shape == (6, 3, 48, 48)
        assert labels.shape == (6, 48, 48)
        assert images.dtype == labels.dtype == torch.float32
        assert lookup.shape == (6, 23), "as long as the longest, the others filled up"
        assert lookup.dtype == torch.int64
        assert images.min() >= 0
        assert images.max() <= 255

    def test_large_images_come_more_often(self) -> None:
        big, small = coded_image(120, 120), noise_image(40, 40)
        config = dataclasses.replace(PLAIN, batch_size=64)
        # the noise image's lookup is shorter, so its rows end in zeros
        n_small = sum(int((parts([big, small], config, step)[2][:, 10] == 0).sum()) for step in range(5))
        assert n_small / 320 == pytest.approx(0.1, abs=0.06)

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 200), (200, 1), (2, 3), (20, 300), (31, 33), (47, 7)])
    def test_images_smaller_than_the_patch(self, height: int, width: int) -> None:
        source = noise_image(height, width)
        for step in range(6):
            images, labels, _ = parts([source], WILD, step)
            assert images.isfinite().all()
            assert np.isin(labels.unique().numpy(), source.labels).all()


class TestLabels:
    def test_are_never_mixed(self) -> None:
        """Labels far apart in number: any interpolation would give numbers in between."""
        source = coded_image(100, 100)
        source = dataclasses.replace(source, labels=np.where(source.labels > 10, 1000, 3).astype(np.int32))
        for step in range(10):
            assert set(parts([source], dataclasses.replace(WILD, batch_size=2), step)[1].unique().tolist()) <= {3, 1000}

    def test_large_numbers_stay_exact(self) -> None:
        source = coded_image(64, 64)
        number = (1 << 24) - 1
        source = dataclasses.replace(source, labels=np.full((64, 64), number, dtype=np.int32))
        assert set(parts([source], MOVED, 0)[1].unique().tolist()) == {number}

    def test_unannotated_pixels_stay_unannotated(self) -> None:
        source = coded_image(100, 100)
        everywhere = dataclasses.replace(source, labels=np.full((100, 100), UNKNOWN, dtype=np.int32))
        assert (parts([everywhere], WILD, 0)[1] == UNKNOWN).all()

    def test_belong_to_the_colours(self) -> None:
        """Each object's colour tells its label; where a patch's colour is pure, its label is that one."""
        source = coded_image(150, 170)
        checked, share_unknown = 0, 0
        for step in range(12):
            images, labels, _ = parts([source], MOVED, step)
            red = images[:, 0]
            steady = (F.max_pool2d(red, 3, 1, 1) - -F.max_pool2d(-red, 3, 1, 1)) < 1e-3  # away from objects' edges
            coded = (red / 10).round()
            expected = torch.where(coded == 23, float(UNKNOWN), coded)
            assert torch.equal(labels[steady], expected[steady])
            checked += int(steady.sum())
            share_unknown += int((labels[steady] == UNKNOWN).sum())
        assert checked > 12 * 6 * 48 * 48 / 3
        assert share_unknown > 0, "the drawing holds unannotated squares, and patches showed some"


class TestGeometry:
    def test_without_augmentation_labels_are_a_crop(self) -> None:
        """Every patch lies in the image exactly once, its mirrored rim included, which a patch near an edge shows."""
        source = coded_image(80, 100, cell=1)
        mirrored = torch.from_numpy(np.pad(source.labels, 32, mode="symmetric").astype(np.float32))
        for patch in parts([source], PLAIN, 4)[1]:
            hits = (mirrored.unfold(0, 32, 1).unfold(1, 32, 1) == patch).all(dim=3).all(dim=2)
            assert int(hits.sum()) == 1

    @pytest.mark.parametrize("config", [PLAIN, MOVED], ids=["plain", "moved"])
    def test_colours_and_labels_come_from_one_place(self, config: TrainConfig) -> None:
        """Red and green are the pixel's column and row, so the patch's colours tell where it was taken, to a fraction;
        the label there is the nearest pixel's."""
        rows, columns = np.mgrid[0:150, 0:200]
        image = np.stack([columns, rows, columns], axis=-1).astype(np.uint8)
        labels = (1000 * rows + columns).astype(np.int32)
        source = PreparedImage("ramps", image, labels, np.zeros(150_000, np.int64))
        checked = 0
        for step in range(4):
            images, found, _ = parts([source], config, step)
            column, row = images[:, 0], images[:, 1]
            if config is PLAIN:
                inside = (column[:, 1:, 1:] > 1) & (column[:, 1:, 1:] < 198) & (row[:, 1:, 1:] > 1)
                inside &= row[:, 1:, 1:] < 148
                ones = torch.ones(int(inside.sum()))
                torch.testing.assert_close(column.diff(dim=2)[:, 1:][inside], ones, rtol=0, atol=1e-3)
                torch.testing.assert_close(row.diff(dim=1)[:, :, 1:][inside], ones, rtol=0, atol=1e-3)
            clear = ((column - column.floor() - 0.5).abs() > 0.01) & ((row - row.floor() - 0.5).abs() > 0.01)
            assert torch.equal((1000 * row.round() + column.round())[clear], found[clear])
            checked += int(clear.sum())
        assert checked > 4 * found[0].numel()

    def test_flip_mirrors_and_rotation_turns(self) -> None:
        source = coded_image(64, 64, cell=64)
        rows = np.arange(64, dtype=np.int32)
        source = dataclasses.replace(source, labels=np.tile(rows, (64, 1)), lookup=np.zeros(64, np.int64))
        config = dataclasses.replace(PLAIN, flip=True, batch_size=16)
        steps_right = torch.sign(parts([source], config, 0)[1].diff(dim=2)).median(dim=2).values.median(dim=1).values
        assert set(steps_right.tolist()) == {-1.0, 1.0}
        config = dataclasses.replace(PLAIN, rotate=True, batch_size=16)
        patches = parts([source], config, 0)[1][:, 8:24, 8:24]
        angles = torch.atan2(patches.diff(dim=1).mean(dim=(1, 2)), patches.diff(dim=2).mean(dim=(1, 2)))
        assert angles.std() > 1, "all directions occur"

    def test_zoom_stays_within_its_limits(self) -> None:
        source = coded_image(200, 200, cell=200)
        columns = np.tile(np.arange(200, dtype=np.int32), (200, 1))
        source = dataclasses.replace(source, labels=columns, lookup=np.zeros(200, np.int64))
        config = dataclasses.replace(PLAIN, zoom=1.5, batch_size=40)
        slopes = parts([source], config, 0)[1][:, 16, 10:22].diff(dim=1).mean(dim=1).abs()
        assert slopes.min() < 0.8
        assert slopes.max() > 1.25
        assert (slopes > 1 / 1.5 - 0.15).all()
        assert (slopes < 1.5 + 0.15).all()


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 60),
    st.floats(-150, 200, width=32),
    st.floats(0, 150, width=32),
    st.integers(2, 40),
)
def test_span_holds_every_pixel_that_sampling_needs(size: int, start: float, length: float, n: int) -> None:
    """Sampling from the part alone equals sampling from the whole, however far outside the positions reach."""
    positions = torch.linspace(start, start + length, n)
    first, last = _span(positions, size)
    assert 0 <= first < last <= size
    values = torch.from_numpy(np.random.default_rng(size).normal(size=size).astype(np.float32))

    def sample(part: Tensor, offset: int, mode: str) -> Tensor:
        x = _to_unit(positions - offset, len(part))
        grid = torch.stack([x, torch.zeros_like(x)], dim=-1)[None, None]
        found = F.grid_sample(part[None, None, None], grid, mode=mode, padding_mode="reflection", align_corners=False)
        return found[0, 0, 0]

    whole, part = sample(values, 0, "bilinear"), sample(values[first:last], first, "bilinear")
    torch.testing.assert_close(part, whole, rtol=1e-3, atol=2e-3)
    # the nearest pixel may differ by one exactly half way between two
    fraction = (positions - positions.floor() - 0.5).abs()
    clear = fraction > 1e-3
    assert torch.equal(
        sample(values[first:last], first, "nearest")[clear],
        sample(values, 0, "nearest")[clear],
    )


class TestColours:
    def test_nothing_asked_for_changes_nothing(self) -> None:
        colours = torch.rand(2, 3, 8, 8) * 255
        assert torch.equal(recolour(colours, PLAIN, np.random.default_rng(0)), colours)

    def test_white_stays_nearly_white_under_stains(self) -> None:
        """Glass without tissue takes up no stain: its density is 0 whatever the factors; offsets tint it slightly."""
        config = dataclasses.replace(PLAIN, stain=0.15)
        white = torch.full((16, 3, 4, 4), 255.0)
        assert recolour(white, config, np.random.default_rng(0)).min() > 215

    def test_stains_vary_along_their_own_axes(self) -> None:
        """Pure haematoxylin: of the factors only its own applies; the offsets, drawn second, add to every stain."""
        axis = torch.tensor([0.65, 0.70, 0.29])
        axis = axis / axis.norm()
        colours = (256 * torch.exp(-0.8 * axis) - 1)[None, :, None, None].expand(8, 3, 2, 2)

        rng = np.random.default_rng(3)
        changed = recolour(colours, dataclasses.replace(PLAIN, stain=0.2), rng)
        rng = np.random.default_rng(3)
        factors = 1 + 0.2 * rng.normal(0, 1, (8, 3, 1, 1))[:, 0, 0, 0]
        offsets = 0.04 * rng.normal(0, 1, (8, 3, 1, 1))[:, :, 0, 0]
        basis = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
        basis /= np.linalg.norm(basis, axis=1, keepdims=True)
        density = 0.8 * factors[:, None] * axis.numpy()[None] + offsets @ basis
        expected = np.clip(256 * np.exp(-density) - 1, 0, 255)
        np.testing.assert_allclose(changed[:, :, 0, 0].numpy(), expected, atol=0.05)

    def test_brightness_keeps_the_range(self) -> None:
        config = dataclasses.replace(PLAIN, brightness=1.0, stain=1.0)
        colours = torch.rand(20, 3, 6, 6) * 255
        changed = recolour(colours, config, np.random.default_rng(0))
        assert changed.isfinite().all()
        assert changed.min() >= 0
        assert changed.max() <= 255
        assert not math.isclose(float(changed.mean()), float(colours.mean()), abs_tol=0.01)
