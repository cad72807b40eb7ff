"""How many bits codes hold, as a part of the loss: against their entropy, against numerical gradients, in a network."""

from __future__ import annotations

import itertools
import math
from typing import cast

import numpy as np
import pytest
import torch

from frugalseg.quant import ChannelLayout, code_entropy
from frugalseg.quant.layers import quantizers, to_codes
from frugalseg.quant.lsq import Lsq
from frugalseg.quant.rate import code_rate, mean_code_bits
from frugalseg.quant.spec import level_table, lsq_bits

from .builders import quantized_net, quantizer_for


def lsq_of(weights: list[float], step: float, bits: int = 3) -> tuple[Lsq, torch.Tensor]:
    quantizer, latent = quantizer_for(weights, "lsq", bits)
    lsq = cast(Lsq, quantizer)
    lsq.step.data.fill_(step)
    return lsq, latent


def test_by_hand_where_weights_lie_on_levels() -> None:
    # 0.5: levels 0, 0, 0, 0, 1, 1, -2, 9 -> 3 (clipped): entropy 1/2 + 1/4·2 + 1/8·3 + 1/8·3 = 1.75 bits
    lsq, latent = lsq_of([0, 0, 0, 0, 0.5, 0.5, -1.0, 4.5], 0.5)
    assert code_rate(latent, lsq).item() == pytest.approx(8 * 1.75)


def test_by_hand_between_levels() -> None:
    # x = 0, 0, 1, 0.25: level 0 counts 2.75, level 1 counts 1.25
    lsq, latent = lsq_of([0, 0, 2, 0.5], 2.0)
    bits = -2.75 * math.log2(2.75 / 4) - 1.25 * math.log2(1.25 / 4)
    rate = code_rate(latent, lsq)
    assert rate.item() == pytest.approx(bits)
    rate.backward()
    slope = (math.log2(2.75) - math.log2(1.25)) / 2.0  # bits, by unit of the weight
    assert latent.grad is not None
    assert latent.grad[3].item() == pytest.approx(slope)
    factor = 1 / math.sqrt(4 * 3)
    # x = 0 has no say in the step; x = 1 lies on a level, where the way up begins, to a level that no weight has
    up = math.log2(1.25)
    assert lsq.step.grad is not None
    assert lsq.step.grad.item() == pytest.approx(-(0.25 * slope + 1 * up / 2.0) * factor, rel=1e-6)


def test_gradient_is_the_numerical_one() -> None:
    torch.manual_seed(0)
    shape = (3, 40)
    lsq = Lsq(torch.randn(shape), ChannelLayout.of(shape, "channel"), 3).double()
    lsq.step.data = torch.tensor([0.9, 1.1, 0.7], dtype=torch.float64)
    latent = torch.randn(shape, dtype=torch.float64) * 1.5
    place = latent / lsq.grouped_step
    latent = (latent + torch.where((place - place.round()).abs() < 1e-2, 0.05, 0.0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda weights: code_rate(weights, lsq), latent)
    code_rate(latent, lsq).backward()
    assert lsq.step.grad is not None
    for channel, change in itertools.product(range(3), (1e-6,)):
        values = []
        for sign in (1, -1):
            moved = Lsq(latent.detach(), lsq.layout, 3).double()
            moved.step.data = lsq.step.data.clone()
            moved.step.data[channel] += sign * change
            values.append(code_rate(latent.detach(), moved).item())
        numerical = (values[0] - values[1]) / (2 * change)
        assert lsq.step.grad[channel].item() == pytest.approx(numerical * lsq.step_factor, rel=1e-4)


def test_a_network_on_its_levels_has_its_codes_entropy() -> None:
    net = quantized_net("lsq", 4, "channel")
    for layer, quantizer in quantizers(net).values():
        layer.parametrizations.weight.original.data = layer.weight.detach().clone()  # type: ignore[union-attr]
        assert isinstance(quantizer, Lsq)
    codes = [tensor.codes for tensor in to_codes(net).values()]
    expected = sum(code_entropy(each) * each.size for each in codes) / sum(each.size for each in codes)
    assert mean_code_bits(net).item() == pytest.approx(expected, rel=1e-5)


def test_descending_it_makes_codes_cheaper() -> None:
    net = quantized_net("lsq", 4, "channel")
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    before = mean_code_bits(net).item()
    for _ in range(60):
        optimiser.zero_grad()
        mean_code_bits(net).backward()
        optimiser.step()
    tensors = to_codes(net).values()
    entropy = sum(code_entropy(each.codes) * each.codes.size for each in tensors) / sum(
        each.codes.size for each in tensors
    )
    assert entropy < 0.7 * before


def test_channels_next_to_zero_leave_gradients_finite() -> None:
    weights = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    weights[1] *= 1e-36
    weights[2] = 0
    quantizer, latent = quantizer_for(weights, "lsq", 4, "channel")
    code_rate(latent, cast(Lsq, quantizer)).backward()
    steps = cast(Lsq, quantizer).step.grad
    assert latent.grad is not None
    assert steps is not None
    assert torch.isfinite(latent.grad).all()
    assert torch.isfinite(steps).all()
    assert latent.grad[1].abs().max() < 1000 * latent.grad[0].abs().max()


def test_other_quantizers_have_no_such_rate() -> None:
    with pytest.raises(ValueError, match="LSQ"):
        mean_code_bits(quantized_net("dorefa", 4))


def test_fewest_bits_for_levels() -> None:
    for bits in range(2, 9):
        table = level_table("lsq", bits)
        assert lsq_bits(table) == bits
        assert lsq_bits(table[:-1]) == bits  # the lowest level stays
        assert lsq_bits(table[1:]) == bits
        if bits > 2:
            assert lsq_bits(table[2 ** (bits - 2) : 3 * 2 ** (bits - 2)]) == bits - 1
    assert lsq_bits(np.zeros(3, np.float32)) == 2


def test_codes_take_as_few_bits_as_the_levels_used() -> None:
    lsq_net = quantized_net("lsq", 8)
    for _, quantizer in quantizers(lsq_net).values():
        cast(Lsq, quantizer).step.data.mul_(30.0)
    for name, tensor in to_codes(lsq_net).items():
        layer = lsq_net.get_submodule(name.removesuffix(".weight"))
        assert tensor.bits < 8
        assert np.array_equal(tensor.dequantize(), layer.weight.detach().numpy())  # type: ignore[union-attr,operator]
