"""INQ's controls: what they freeze stands, and noise is as large as INQ's error."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frugalseg.quant import ChannelLayout, QuantSpec
from frugalseg.quant.controls import Control, Kept, Noisy, control_module
from frugalseg.quant.freezing import advance_portion, frozen_share
from frugalseg.quant.layers import bake, effective_weights, quantizers, to_codes
from frugalseg.train.optimiser import AveragedNet

from .builders import bit_patterns, quantized_net, small_net

PORTIONS = (0.5, 0.75, 1.0)


def controlled(control: Control, bits: int = 5, seed: int = 3) -> nn.Sequential:
    net = small_net()
    control_module(net, QuantSpec("inq", bits), control, seed)
    return net


def step(net: nn.Module, optimiser: torch.optim.Optimizer, number: int) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(number))
    optimiser.zero_grad()
    (net(x) - 1).square().mean().backward()
    optimiser.step()


@pytest.mark.parametrize("control", ["freeze", "noise"])
def test_frozen_values_keep_every_bit_and_the_others_learn(control: Control) -> None:
    net = controlled(control)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.5)
    average = AveragedNet(net, 0.9)
    for number, portion in enumerate(PORTIONS):
        advance_portion(net, portion)
        before = effective_weights(net)
        for index in range(3):
            step(net, optimiser, 10 * number + index)
            average.update(net, index)
        for of in (net, average.net):
            after = effective_weights(of)
            for name, (_, quantizer) in quantizers(net).items():
                frozen = quantizer.is_frozen
                weight = f"{name}.weight"
                assert torch.equal(bit_patterns(after[weight])[frozen], bit_patterns(before[weight])[frozen])
                if portion < 1:
                    assert not torch.equal(after[weight][~frozen], before[weight][~frozen])
    assert frozen_share(net) == 1
    plain = bake(net)
    assert not quantizers(plain)
    assert plain.state_dict().keys() == small_net().state_dict().keys()


def test_freezing_alone_changes_no_weight() -> None:
    net = controlled("freeze")
    for portion in PORTIONS:
        advance_portion(net, portion)
    for name, weight in bake(net).state_dict().items():
        assert torch.equal(weight, small_net().state_dict()[name]), name


@pytest.mark.parametrize("bits", [3, 5, 7])
def test_noise_is_as_large_as_inqs_error_in_every_layer_and_portion(bits: int) -> None:
    noisy, inq, float_weights = controlled("noise", bits), quantized_net("inq", bits), small_net().state_dict()
    under = quantizers(noisy)
    done = {name: torch.zeros(quantizer.layout.shape, dtype=torch.bool) for name, (_, quantizer) in under.items()}
    for portion in PORTIONS:
        advance_portion(noisy, portion)
        advance_portion(inq, portion)
        theirs, ours = effective_weights(inq), effective_weights(noisy)
        for name, (_, quantizer) in quantizers(noisy).items():
            new = quantizer.is_frozen & ~done[name]
            original = float_weights[f"{name}.weight"]
            sizes = [(each[f"{name}.weight"] - original)[new].double().square().mean() for each in (theirs, ours)]
            assert float(sizes[1]) == pytest.approx(float(sizes[0]), rel=1e-3)
            done[name] |= new
    assert all(bool(mask.all()) for mask in done.values())


def test_noise_is_normal_and_has_nothing_to_do_with_the_weights() -> None:
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(50_000, dtype=np.float32))
    noisy = Noisy(weights, ChannelLayout.of((50_000,), "layer"), 5, (1,))
    noisy.freeze_largest(weights, 1.0)
    noise = (noisy(weights) - weights).numpy().astype(np.float64)
    assert abs(noise.mean()) < 0.02 * noise.std()
    assert abs(np.corrcoef(noise, weights.numpy())[0, 1]) < 0.02
    assert np.mean((noise / noise.std()) ** 4) == pytest.approx(3, abs=0.1)


def test_the_seed_says_what_noise() -> None:
    same, again, other = (controlled("noise", seed=seed) for seed in (1, 1, 2))
    for net in (same, again, other):
        advance_portion(net, 1.0)
    mine, theirs, others = (effective_weights(net) for net in (same, again, other))
    for name, weight in mine.items():
        assert torch.equal(weight, theirs[name])
        assert not torch.equal(weight, others[name])
    first, second = mine["3.weight"], mine["4.weight"]
    assert not torch.equal(first.flatten()[:10], second.flatten()[:10]), "layers have noise of their own"


def test_resuming_in_the_middle_of_a_portion_goes_on_to_the_same_weights() -> None:
    whole = controlled("noise")
    advance_portion(whole, 0.5)
    state = copy.deepcopy(whole.state_dict())
    resumed = controlled("noise")
    resumed.load_state_dict(state)
    for net in (whole, resumed):
        advance_portion(net, 1.0)
    for name, weight in effective_weights(whole).items():
        assert torch.equal(effective_weights(resumed)[name], weight)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=20))
def test_whatever_weights_are_frozen_they_stand(values: list[float]) -> None:
    weights = torch.tensor(values)
    kept = Kept(weights, ChannelLayout.of((len(values),), "layer"), 5)
    kept.freeze_largest(weights, 1.0)
    assert bool(kept.is_frozen.all()), "-0.0 too"
    assert torch.equal(kept(torch.full_like(weights, 9.0)), weights)


def test_there_are_no_codes() -> None:
    net = controlled("freeze")
    advance_portion(net, 1.0)
    with pytest.raises(ValueError, match="no levels"):
        to_codes(net)
