"""Each quantizer on a few weights, computed by hand, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from frugalseg.quant.inq import Inq, nearest_exponent, power_of_two, power_of_two_levels, top_exponent
from frugalseg.quant.lsq import Lsq
from frugalseg.quant.tensors import ChannelLayout
from frugalseg.quant.ternary import Ttq

from .builders import quantizer_for


def close(values: torch.Tensor, expected: list[float] | list[list[float]]) -> None:
    torch.testing.assert_close(values.detach(), torch.tensor(expected))


# ------------------------------------------------------------------------------------------------ INQ


def test_inq_by_hand() -> None:
    # s = 1.4: n1 = floor(log2(1.867)) = 0; 3 bits: n2 = 0 + 1 - 2 = -1; codebook 0, ±1/2, ±1.
    # borders: 1/4 (0 to 1/2), 3/4 (1/2 to 1); above 3/2 it stays 1
    weights = [1.4, -0.76, 0.75, 0.7499, -0.25, 0.2499, 0.0, -1.3]
    quantizer, latent = quantizer_for(weights, "inq", 3)
    assert isinstance(quantizer, Inq)
    assert quantizer.top.tolist() == [0]
    quantizer.freeze_largest(latent, 1.0)
    assert quantizer(latent).tolist() == [1, -1, 1, 0.5, -0.5, 0, 0, -1]


def test_inq_largest_exponent_is_exact_at_its_border() -> None:
    # 4s/3 = 2^n exactly at s = 3/4 · 2^n; one unit in the last place below belongs to n - 1
    border = torch.tensor(0.75)
    below = torch.nextafter(border, torch.tensor(0.0))
    layout = ChannelLayout.of((1,), "layer")
    for n in range(-120, 121):
        size = 2.0**n
        assert top_exponent((border * size).reshape(1), layout).item() == n
        assert top_exponent((below * size).reshape(1), layout).item() == n - 1


def test_inq_weight_that_outgrew_the_codebook_clamps_and_does_not_vanish() -> None:
    quantizer, _ = quantizer_for([1.0, 0.5], "inq", 4)
    assert isinstance(quantizer, Inq)
    quantizer.freeze_largest(torch.tensor([-7.0, 1.51]), 1.0)
    assert quantizer(torch.zeros(2)).tolist() == [-1.0, 1.0]


def test_inq_per_channel() -> None:
    quantizer, latent = quantizer_for([[1.0, 0.5], [0.01, 0.03]], "inq", 3, "channel")
    assert isinstance(quantizer, Inq)
    assert quantizer.top.tolist() == [0, -5]  # 4 · 0.03 / 3 = 0.04, 2^-5 = 0.03125
    quantizer.freeze_largest(latent, 1.0)
    assert quantizer(latent).tolist() == [[1.0, 0.5], [2.0**-6, 2.0**-5]]


def test_inq_channel_of_zeros_has_the_layers_codebook() -> None:
    quantizer, _ = quantizer_for([[0.0, 0.0], [0.4, 0.1]], "inq", 4, "channel")
    assert isinstance(quantizer, Inq)
    assert quantizer.top.tolist() == [-1, -1]
    empty, latent = quantizer_for([0.0, 0.0], "inq", 4)
    assert isinstance(empty, Inq)
    empty.freeze_largest(latent, 1.0)
    assert empty(latent).tolist() == [0.0, 0.0]


def test_inq_levels_reach_below_the_smallest_normal_number() -> None:
    # n1 = -10, 9 bits: n2 = -137
    weights = torch.tensor([2.0**-10, 2.0**-137, 1.4 * 2.0**-137, 2.0**-138, 2.0**-139, -(2.0**-130)])
    quantizer, latent = quantizer_for(weights, "inq", 9)
    assert isinstance(quantizer, Inq)
    quantizer.freeze_largest(latent, 1.0)
    assert quantizer(latent).tolist() == [2.0**-10, 2.0**-137, 2.0**-137, 2.0**-137, 0.0, -(2.0**-130)]


def test_inq_freezes_the_largest_first_and_the_first_of_equals() -> None:
    weights = [0.1, -0.9, 0.4, 0.4, -0.4, 0.2, 0.0, 0.3]
    quantizer, latent = quantizer_for(weights, "inq", 5)
    assert isinstance(quantizer, Inq)
    quantizer.freeze_largest(latent, 0.25)
    assert quantizer.is_frozen.tolist() == [False, True, True, False, False, False, False, False]
    close(quantizer(latent), [0.1, -1.0, 0.5, 0.4, -0.4, 0.2, 0.0, 0.3])
    quantizer.freeze_largest(latent, 0.25)
    assert int(quantizer.is_frozen.sum()) == 2
    quantizer.freeze_largest(latent, 0.5)
    assert quantizer.is_frozen.tolist() == [False, True, True, True, True, False, False, False]


def test_inq_channels_freeze_their_own_share() -> None:
    quantizer, latent = quantizer_for([[9.0, 8, 7, 6], [0.1, 0.4, 0.3, 0.2]], "inq", 5, "channel")
    assert isinstance(quantizer, Inq)
    quantizer.freeze_largest(latent, 0.5)
    assert quantizer.is_frozen.tolist() == [[True, True, False, False], [False, True, True, False]]


def test_inq_gradient_reaches_free_weights_only() -> None:
    quantizer, latent = quantizer_for([0.9, 0.2, -0.8, 0.1], "inq", 5)
    assert isinstance(quantizer, Inq)
    quantizer.freeze_largest(latent, 0.5)
    (quantizer(latent) * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert latent.grad is not None
    assert latent.grad.tolist() == [0.0, 2.0, 0.0, 4.0]


def test_inq_codes_need_all_weights_frozen() -> None:
    quantizer, latent = quantizer_for([0.9, 0.2, -0.8, 0.1], "inq", 5)
    assert isinstance(quantizer, Inq)
    quantizer.freeze_largest(latent, 0.75)
    with pytest.raises(ValueError, match=r"only 75.0% of the weights are frozen"):
        quantizer.split(latent)


def test_inq_nine_bits_are_seven_where_seven_have_two_neighbours() -> None:
    """From 3/2 · 2^(n1-32) on. Just below, seven bits must round up to their least level 2^(n1-31); nine need not."""
    n1 = torch.tensor(3)
    torch.manual_seed(0)
    weights = torch.randn(4096) * 2.0 ** torch.randint(-34, 4, (4096,))
    border = 1.5 * 2.0 ** (3 - 32)
    seven, nine = (power_of_two_levels(weights, n1, bits) for bits in (7, 9))
    large = weights.abs() >= border
    assert 100 < int(large.sum()) < 4090
    assert torch.equal(seven[large], nine[large])
    between = torch.tensor([2.0 ** (3 - 32), 1.49 * 2.0 ** (3 - 32)])
    assert (power_of_two_levels(between, n1, 7) == 2.0**-31).all()
    assert (power_of_two_levels(between, n1, 9) == 2.0**-32).all()


def test_powers_of_two_are_exact() -> None:
    exponents = torch.arange(-126, 128)
    assert power_of_two(exponents).tolist() == [2.0**n for n in range(-126, 128)]
    assert nearest_exponent(power_of_two(exponents)).tolist() == exponents.tolist()


# ------------------------------------------------------------------------------------------------ DoReFa


def test_dorefa_one_bit_is_sign_times_mean() -> None:
    quantizer, latent = quantizer_for([0.5, -1.5, 0.0, -0.0, -2.0], "dorefa", 1)
    close(quantizer(latent), [0.8, -0.8, 0.8, 0.8, -0.8])  # sign(0) = +1, E|w| = 4/5
    (quantizer(latent) * torch.arange(5.0)).sum().backward()
    assert latent.grad is not None
    assert latent.grad.tolist() == [0, 1, 2, 3, 4]


def test_dorefa_two_bits_by_hand() -> None:
    # tanh: 1 -> .7616, .2 -> .1974, -.6 -> -.5370; over twice the largest, plus 1/2: 1, .6296, .1474;
    # times 3: 3, 1.889, .442 -> 3, 2, 0 -> w_q = 1, 1/3, -1. E|w| = .6, E|w_q| = 7/9: scale 27/35
    quantizer, latent = quantizer_for([1.0, 0.2, -0.6], "dorefa", 2)
    close(quantizer(latent), [27 / 35, 9 / 35, -27 / 35])
    split = quantizer.split(latent)
    assert split.level.tolist() == [3, 1, -3]
    close(split.scale, [9 / 35])


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_dorefa_gradient_is_that_of_the_formula_without_rounding(bits: int) -> None:
    torch.manual_seed(bits)
    quantizer, latent = quantizer_for(torch.randn(5, 7), "dorefa", bits, "channel")
    slope = torch.randn(5, 7)
    (quantizer(latent) * slope).sum().backward()
    smooth = latent.detach().clone().requires_grad_()
    squashed = smooth.tanh()
    unrounded = squashed / squashed.abs().amax(1, keepdim=True)
    with torch.no_grad():
        scale = quantizer.split(latent).scale * (2**bits - 1)
    (unrounded * scale * slope).sum().backward()
    torch.testing.assert_close(latent.grad, smooth.grad)


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_dorefa_keeps_the_mean_size(bits: int) -> None:
    torch.manual_seed(bits)
    quantizer, latent = quantizer_for(torch.randn(4, 50) * 0.03, "dorefa", bits, "channel")
    torch.testing.assert_close(quantizer(latent).abs().mean(1), latent.abs().mean(1))


def test_dorefa_of_zeros_is_zero() -> None:
    for bits in (1, 4):
        quantizer, latent = quantizer_for([0.0, 0.0, 0.0], "dorefa", bits)
        value = quantizer(latent)
        assert value.tolist() == [0, 0, 0]
        value.sum().backward()
        assert latent.grad is not None
        assert bool(latent.grad.isfinite().all())


# ------------------------------------------------------------------------------------------------ TWN, TTQ


def test_twn_by_hand() -> None:
    # E|w| = 1, Δ = .7: above it .8, 1.2, 2.9 and 2.01, α their mean
    quantizer, latent = quantizer_for([0.8, -1.2, 2.9, 0.1, 0.0, 0.3, -0.69, 2.01], "twn", 2)
    alpha = (0.8 + 1.2 + 2.9 + 2.01) / 4
    close(quantizer(latent), [alpha, -alpha, alpha, 0, 0, 0, 0, alpha])
    (quantizer(latent) * torch.arange(8.0)).sum().backward()
    assert latent.grad is not None
    assert latent.grad.tolist() == list(range(8))


def test_twn_per_channel() -> None:
    quantizer, latent = quantizer_for([[1.0, 0.1], [0.02, -0.04]], "twn", 2, "channel")
    close(quantizer(latent), [[1.0, 0.0], [0.0, -0.04]])  # second: E|w| = .03, Δ = .021


def test_ttq_by_hand() -> None:
    # Δ = .05 · 2 = .1; W_p = mean(1, .5) = .75, W_n = mean(2, .4) = 1.2
    quantizer, latent = quantizer_for([1.0, 0.5, 0.1, -0.05, -2.0, -0.4], "ttq", 2)
    assert isinstance(quantizer, Ttq)
    close(quantizer.above, [0.75])
    close(quantizer.below, [1.2])
    close(quantizer(latent), [0.75, 0.75, 0, 0, -1.2, -1.2])
    slope = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    (quantizer(latent) * slope).sum().backward()
    assert latent.grad is not None
    assert quantizer.above.grad is not None
    assert quantizer.below.grad is not None
    close(quantizer.above.grad, [3.0])
    close(quantizer.below.grad, [-48.0])
    close(latent.grad, [0.75, 1.5, 4.0, 8.0, 1.2 * 16, 1.2 * 32])


def test_ttq_scales_follow_their_gradients() -> None:
    """The gradient of W_p and W_n is the real one: finite differences agree."""
    torch.manual_seed(0)
    quantizer, latent = quantizer_for(torch.randn(3, 6), "ttq", 2, "channel")
    assert isinstance(quantizer, Ttq)
    slope = torch.randn(3, 6)
    (quantizer(latent) * slope).sum().backward()
    for scale in (quantizer.above, quantizer.below):
        for channel in range(3):
            with torch.no_grad():
                before = (quantizer(latent) * slope).sum()
                scale[channel] += 0.125
                change = ((quantizer(latent) * slope).sum() - before) / 0.125
                scale[channel] -= 0.125
            assert scale.grad is not None
            torch.testing.assert_close(change, scale.grad[channel], rtol=1e-4, atol=1e-4)


def test_ttq_side_without_weights_starts_as_the_other() -> None:
    quantizer, _ = quantizer_for([1.0, 0.5, 0.0], "ttq", 2)
    assert isinstance(quantizer, Ttq)
    close(quantizer.below, [0.75])


# ------------------------------------------------------------------------------------------------ LSQ


def test_lsq_by_hand() -> None:
    # E|w| = .5, 3 bits: Q_N = 4, Q_P = 3, s = 2 · .5 / sqrt 3 = .57735
    quantizer, latent = quantizer_for([1.0, -0.5, 0.25, -0.25], "lsq", 3)
    assert isinstance(quantizer, Lsq)
    step = 1 / math.sqrt(3)
    close(quantizer.step, [step])
    close(quantizer(latent), [2 * step, -step, 0.0, 0.0])


def test_lsq_gradient_of_the_step_is_equation_three() -> None:
    quantizer, latent = quantizer_for([0.35, -0.9, 0.8, -2.0, 2.0, 0.3], "lsq", 2)
    assert isinstance(quantizer, Lsq)
    with torch.no_grad():
        quantizer.step.fill_(0.5)  # w/s = .7, -1.8, 1.6, -4, 4, .6; Q_N = 2, Q_P = 1
    slope = torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0])
    (quantizer(latent) * slope).sum().backward()
    terms = [1 - 0.7, -2 + 1.8, 1.0, -2.0, 1.0, 1 - 0.6]
    expected = sum(float(g) * term for g, term in zip(slope, terms, strict=True)) / math.sqrt(6 * 1)
    assert quantizer.step.grad is not None
    assert latent.grad is not None
    close(quantizer.step.grad, [expected])
    assert latent.grad.tolist() == [1, 10, 0, 0, 0, 100000]


def test_lsq_gradient_of_each_channels_step() -> None:
    """Against the definition, autograd through a detached rounding error, channel by channel."""
    torch.manual_seed(1)
    quantizer, latent = quantizer_for(torch.randn(4, 9), "lsq", 4, "channel")
    assert isinstance(quantizer, Lsq)
    slope = torch.randn(4, 9)
    (quantizer(latent) * slope).sum().backward()
    assert quantizer.step.grad is not None
    for channel in range(4):
        step = quantizer.step.detach()[channel].clone().requires_grad_()
        ratio = (latent.detach()[channel] / step).clamp(-8, 7)
        rounded = ratio + (ratio.round() - ratio).detach()
        (rounded * step * slope[channel]).sum().backward()
        assert step.grad is not None
        torch.testing.assert_close(quantizer.step.grad[channel], step.grad / math.sqrt(9 * 7), rtol=1e-4, atol=1e-6)


def test_lsq_step_that_crossed_zero_still_counts() -> None:
    quantizer, latent = quantizer_for([1.0, -0.5, 0.25, -0.25], "lsq", 3)
    assert isinstance(quantizer, Lsq)
    before = quantizer(latent).detach()
    with torch.no_grad():
        quantizer.step.neg_()
    assert torch.equal(quantizer(latent), before)
    with torch.no_grad():
        quantizer.step.zero_()
    assert bool(quantizer(latent).isfinite().all())


@pytest.mark.parametrize(("method", "bits"), [("lsq", 4), ("ttq", 2)])
def test_channels_of_zeros_begin_with_a_scale_to_grow_into(method: str, bits: int) -> None:
    """Their own would be 0, and no gradient would ever move it."""
    weights = torch.tensor([[1.0, -2.0, 1.0, 2.0], [0.0] * 4, [3.0, -3.0, 2.0, 1.0]])
    quantizer, _ = quantizer_for(weights, method, bits, "channel")
    scales = [value.detach() for value in quantizer.parameters()]
    assert scales
    for scale in scales:
        assert scale[1].item() == pytest.approx((scale[0].item() + scale[2].item()) / 2)
    latent = weights.clone().requires_grad_()
    optimiser = torch.optim.SGD([latent, *quantizer.parameters()], lr=0.1)
    for _ in range(30):
        optimiser.zero_grad()
        ((quantizer(latent) - 2.0) ** 2).mean().backward()
        optimiser.step()
    assert (quantizer(latent)[1] > 1).all()
    zeros, nothing = quantizer_for(torch.zeros(2, 4), method, bits, "channel")
    assert zeros(nothing).abs().max() < 1e-30


def test_learned_scales_are_vectors() -> None:
    """The optimiser spares vectors from weight decay, which would pull scales to 0."""
    for method, bits in (("lsq", 4), ("ttq", 2)):
        quantizer, _ = quantizer_for(torch.randn(4, 9), method, bits, "channel")
        shapes = [parameter.shape for parameter in quantizer.parameters()]
        assert shapes
        assert all(shape == (4,) for shape in shapes)
