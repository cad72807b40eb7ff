"""Targets counted by hand on tiny maps; pixels nobody annotated count nowhere."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from frugalseg.arrays import UNKNOWN
from frugalseg.losses import (
    border_target,
    class_target,
    gap_weight,
    segmentation_loss,
    size_weight,
    window_max,
    window_min,
)

GAPS = {"border_px": 1, "gap_px": 2, "gap_factor": 3.0}
PARTS = {**GAPS, "diameter_px": 4.0, "small_factor": 1.0, "dice_factor": 1.0, "border_factor": 1.0}
CE_ONLY = {**PARTS, "gap_factor": 0.0, "dice_factor": 0.0, "border_factor": 0.0}


def label_map(text: str) -> Tensor:
    """Label map (1, H, W) from a drawing: digits are labels, a dot background, a question mark not annotated."""
    values = {".": 0, "?": UNKNOWN}
    rows = [[values.get(sign) if sign in values else int(sign) for sign in line.strip()] for line in text.split()]
    return torch.tensor(rows, dtype=torch.float32)[None]


def drawing(mask: Tensor) -> str:
    """The other way round, for what is 0 or 1: ``#`` for 1."""
    return "\n".join("".join("#" if value else "." for value in row) for row in mask[0])


def lines(text: str) -> str:
    return "\n".join(text.split())


def test_windows_end_at_the_map() -> None:
    x = torch.tensor([[[1.0, 2, 3, 4, 9]]])
    assert window_max(x, 1).tolist() == [[[2, 3, 4, 9, 9]]]
    assert window_min(x, 2).tolist() == [[[1, 1, 1, 2, 3]]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_windows_equal_the_obvious_loop(reach: int, height: int, width: int, seed: int) -> None:
    x = torch.randint(-1, 6, (2, height, width), generator=torch.Generator().manual_seed(seed)).float()
    for y in range(height):
        for column in range(width):
            rows = slice(max(0, y - reach), y + reach + 1)
            window = x[:, rows, max(0, column - reach) : column + reach + 1]
            assert torch.equal(window_max(x, reach)[:, y, column], window.amax(dim=(1, 2)))
            assert torch.equal(window_min(x, reach)[:, y, column], window.amin(dim=(1, 2)))


class TestBorderTarget:
    def test_rim_lies_inside_and_diagonal_neighbours_count(self) -> None:
        rim, known = border_target(
            label_map("""
            .......
            .11111.
            .11111.
            .11111.
            .......
            """),
            1,
        )
        assert drawing(rim) == lines("""
            .......
            .#####.
            .#...#.
            .#####.
            .......
            """)
        assert known.all()

    def test_two_objects_that_touch_have_a_rim_each(self) -> None:
        rim, _ = border_target(
            label_map("""
            111222
            111222
            111222
            """),
            1,
        )
        assert drawing(rim) == lines("""
            ..##..
            ..##..
            ..##..
            """), "and none at the image's edge, where the object may go on"

    def test_width(self) -> None:
        rim, _ = border_target(label_map("...1111111..."), 2)
        assert drawing(rim) == "...##...##..."

    def test_unknown_near_unannotated_pixels(self) -> None:
        rim, known = border_target(
            label_map("""
            ..111111?
            ..1111111
            ..1111111
            """),
            1,
        )
        assert drawing(known) == lines("""
            #######..
            #######..
            #########
            """)
        assert drawing(rim * known) == lines("""
            ..#......
            ..#......
            ..#......
            """)


class TestGapWeight:
    def test_counts_where_two_objects_are_near(self) -> None:
        weight = gap_weight(label_map("11..22......3"), 2, 3.0)
        assert weight[0, 0].tolist() == [1, 1, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1]
        weight = gap_weight(label_map("11..22......3"), 3, 3.0)
        assert weight[0, 0].tolist() == [1, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1]

    def test_one_object_has_no_gap_however_bent(self) -> None:
        assert (gap_weight(label_map("1.1 1.1 111"), 2, 3.0) == 1).all()

    def test_no_object_at_all(self) -> None:
        assert (gap_weight(label_map("..? ..."), 2, 3.0) == 1).all()

    def test_labels_need_not_be_in_order(self) -> None:
        assert gap_weight(label_map("7.2"), 1, 1.0)[0, 0].tolist() == [1, 2, 1]


def test_class_target_looks_labels_up_image_by_image() -> None:
    labels = torch.cat([label_map("0123 ?012"), label_map("1111 2??0")])
    lookup = torch.tensor([[0, 2, 1, 3], [0, 1, 3, 0]])
    assert class_target(labels, lookup).tolist() == [[[0, 2, 1, 3], [-1, 0, 2, 1]], [[1, 1, 1, 1], [3, -1, -1, 0]]]


def logits_for(labels: Tensor, lookup: Tensor, n_classes: int, sure: float, border_px: int) -> Tensor:
    """Logits of a network that knows the truth, `sure` high where it is right and as low where it is not."""
    classes = class_target(labels, lookup).clamp(min=0)
    one_hot = torch.nn.functional.one_hot(classes, n_classes + 1).permute(0, 3, 1, 2).float()
    rim, _ = border_target(labels, border_px)
    return torch.cat([(one_hot * 2 - 1) * sure, (rim[:, None] * 2 - 1) * sure], dim=1)


@pytest.fixture
def two_classes() -> tuple[Tensor, Tensor]:
    """One image of three objects in two classes, with a corner that nobody annotated."""
    labels = label_map("""
        ..111...?
        ..111.222
        ..111.222
        33......?
        """)
    return labels, torch.tensor([[0, 1, 2, 1]])


def test_perfect_logits_cost_nothing_and_their_opposite_much(two_classes: tuple[Tensor, Tensor]) -> None:
    labels, lookup = two_classes
    logits = logits_for(labels, lookup, 2, 20.0, PARTS["border_px"])
    assert segmentation_loss(logits, labels, lookup, **PARTS) < 1e-4
    assert segmentation_loss(-logits, labels, lookup, **PARTS) > 20


def test_confusing_classes_costs_cross_entropy_but_no_dice(two_classes: tuple[Tensor, Tensor]) -> None:
    labels, lookup = two_classes
    swapped = logits_for(labels, lookup, 2, 20.0, 1)[:, [0, 2, 1, 3]]
    assert segmentation_loss(swapped, labels, lookup, **CE_ONLY) > 5
    dice = {**CE_ONLY, "dice_factor": 1.0}
    difference = segmentation_loss(swapped, labels, lookup, **dice) - segmentation_loss(
        swapped, labels, lookup, **CE_ONLY
    )
    assert abs(float(difference)) < 1e-4


def test_undecided_logits_cost_what_one_computes_by_hand() -> None:
    """All logits 0: log 2 a pixel for two classes and for the border; Dice by its formula with p = 1/2."""
    labels, lookup = label_map("111...?"), torch.tensor([[0, 1]])
    logits = torch.zeros(1, 3, 1, 7)
    assert segmentation_loss(logits, labels, lookup, **CE_ONLY).item() == pytest.approx(math.log(2))
    border = segmentation_loss(logits, labels, lookup, **{**CE_ONLY, "border_factor": 2.0})
    assert border.item() == pytest.approx(3 * math.log(2))
    dice = segmentation_loss(logits, labels, lookup, **{**CE_ONLY, "dice_factor": 1.0})
    # front: 6 known pixels at 1/2; truth: 3; overlap: 3 at 1/2
    assert dice.item() == pytest.approx(math.log(2) + 1 - (2 * 1.5 + 1) / (3 + 3 + 1))


def test_a_gap_counts_as_its_weight_says() -> None:
    """``1.2``: the gap's pixel weighs 4, its neighbours 1; only the gap's pixel is wrong."""
    labels, lookup = label_map("1.2"), torch.tensor([[0, 1, 1]])
    logits = torch.zeros(1, 3, 1, 3)
    logits[0, 1] = 30.0  # foreground everywhere
    for factor in (0.0, 3.0):
        loss = segmentation_loss(logits, labels, lookup, **{**CE_ONLY, "gap_px": 1, "gap_factor": factor})
        assert loss.item() == pytest.approx(30 * (1 + factor) / (3 + factor), rel=1e-5)


def test_small_objects_weigh_as_much_more_as_they_are_narrower() -> None:
    """Areas 1, 4 and 16 against a disc of diameter 4 (area 4 pi): widths 1.13, 2.26 and 4.51 instead of 4."""
    labels = torch.cat([label_map("1.22.33333333 ..22.33333333"), label_map("12........... .............")])
    weights = size_weight(labels, 4.0, 3.0)
    width = 4 * math.sqrt(math.pi / 4)
    assert weights[0, 0].tolist() == pytest.approx([3, 1, width / 2, width / 2, 1, *[1] * 8])
    assert weights[1, 0].tolist() == pytest.approx([3, 3, *[1] * 11])
    assert size_weight(labels, 4.0, 1.0).unique().tolist() == [1]


def test_missing_a_small_object_costs_more_than_missing_a_large_one() -> None:
    labels, lookup = label_map("1...222222222222"), torch.tensor([[0, 1, 1]])
    losses = []
    for missed in (1, 2):
        logits = logits_for(torch.where(labels == missed, 0, labels), lookup, 1, 8.0, 1)
        losses += [
            float(segmentation_loss(logits, labels, lookup, **{**CE_ONLY, "small_factor": factor}))
            for factor in (1.0, 3.0)
        ]
    assert losses[1] > 2 * losses[0]
    assert losses[3] < losses[2]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.sampled_from([0.0, 0.3, 1.0]))
def test_unannotated_pixels_count_neither_in_loss_nor_in_gradient(seed: int, n_classes: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (2, 9, 11), generator=generator).float()
    labels[torch.rand(labels.shape, generator=generator) < share] = UNKNOWN
    lookup = torch.cat([torch.zeros(2, 1), torch.randint(1, n_classes + 1, (2, 3), generator=generator)], dim=1).long()
    logits = torch.randn(2, n_classes + 2, 9, 11, generator=generator)
    unknown = (labels == UNKNOWN)[:, None]
    other = torch.where(unknown, 30 * torch.randn(logits.shape, generator=generator), logits)
    results: list[tuple[Tensor, Any]] = []
    for each in (logits, other):
        leaf = each.clone().requires_grad_(True)
        loss = segmentation_loss(leaf, labels, lookup, **PARTS)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.isfinite()
        assert (gradient[unknown.expand_as(gradient)] == 0).all()
        results.append((loss.detach(), gradient))
    torch.testing.assert_close(results[0], results[1])
    if share == 1.0:
        assert results[0][0] == 0


def test_loss_falls_along_its_gradient() -> None:
    labels, lookup = label_map("11..22 11..22 ......"), torch.tensor([[0, 1, 2]])
    logits = torch.zeros(1, 4, 3, 6, requires_grad=True)
    before = segmentation_loss(logits, labels, lookup, **PARTS)
    before.backward()
    assert logits.grad is not None
    after = segmentation_loss((logits - 0.1 * logits.grad).detach(), labels, lookup, **PARTS)
    assert after < before
