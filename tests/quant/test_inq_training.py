"""INQ while training goes on: frozen weights never move, averages and checkpoints included."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from frugalseg.errors import TrainingError
from frugalseg.quant import Granularity
from frugalseg.quant.freezing import advance_portion, frozen_share
from frugalseg.quant.inq import Inq
from frugalseg.quant.layers import bake, effective_weights, quantizers, to_codes
from frugalseg.train.optimiser import AveragedNet

from .builders import bit_patterns, quantized_net, small_net

OPTIMISERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5, foreach=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, weight_decay=0.1),
}


def train(net: nn.Module, optimiser: torch.optim.Optimizer, steps: range, average: AveragedNet | None = None) -> None:
    for step in steps:
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        (net(x) - 1).square().mean().backward()
        optimiser.step()
        if average is not None:
            average.update(net, step)


def frozen_values(net: nn.Module) -> dict[str, Tensor]:
    """Bits of the effective weights where they are frozen, 0 elsewhere."""
    weights = effective_weights(net)
    return {
        name: bit_patterns(weights[f"{name}.weight"]) * quantizer.is_frozen
        for name, (_, quantizer) in quantizers(net).items()
        if isinstance(quantizer, Inq)
    }


def assert_same(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert mine.keys() == theirs.keys() != set()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("granularity", ["layer", "channel"])
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_frozen_weights_keep_every_bit_after_every_step(kind: str, granularity: Granularity) -> None:
    net = quantized_net("inq", 5, granularity)
    optimiser = OPTIMISERS[kind](list(net.parameters()))
    train(net, optimiser, range(3))  # momentum of all weights
    for round_, portion in enumerate((0.5, 0.75, 1.0)):
        advance_portion(net, portion)
        before, free = frozen_values(net), effective_weights(net)
        for step in range(3):
            train(net, optimiser, range(10 * round_ + step, 10 * round_ + step + 1))
            now = frozen_values(net)
            assert_same(now, before)
        if portion < 1:
            moved = effective_weights(net)
            for name, (_, quantizer) in quantizers(net).items():
                assert isinstance(quantizer, Inq)
                still = moved[f"{name}.weight"] == free[f"{name}.weight"]
                assert not bool((still & ~quantizer.is_frozen).any()), "the free weights learn on"
    assert frozen_share(net) == 1
    codes = to_codes(net)
    for name, weight in effective_weights(net).items():
        assert torch.equal(torch.from_numpy(codes[name].dequantize()), weight)


def test_the_average_holds_the_same_frozen_weights_even_if_it_never_restarts() -> None:
    net = quantized_net("inq", 5)
    average = AveragedNet(net, 0.9)
    optimiser = OPTIMISERS["adamw"](list(net.parameters()))
    train(net, optimiser, range(4), average)
    advance_portion(net, 0.5)
    for step in range(4, 7):
        train(net, optimiser, range(step, step + 1), average)
        assert_same(frozen_values(average.net), frozen_values(net))
    free = ~next(iter(quantizers(net).values()))[1].is_frozen
    mine, theirs = effective_weights(net)["0.weight"], effective_weights(average.net)["0.weight"]
    assert not torch.equal(mine[free], theirs[free]), "the free weights are averaged"


def test_a_portion_is_frozen_from_the_average() -> None:
    net = quantized_net("inq", 5)
    average = AveragedNet(net, 0.9)
    optimiser = OPTIMISERS["sgd"](list(net.parameters()))
    train(net, optimiser, range(6), average)
    expected = copy.deepcopy(average.net)
    alone = copy.deepcopy(net)
    advance_portion(expected, 0.5)
    advance_portion(alone, 0.5)
    advance_portion(net, 0.5, source=average.net)
    assert_same(frozen_values(net), frozen_values(expected))
    assert any(not torch.equal(value, frozen_values(alone)[name]) for name, value in frozen_values(net).items())
    assert torch.equal(net[1].running_mean, average.net[1].running_mean)
    assert frozen_share(average.net) == 0, "the source is only read"
    assert frozen_share(net) == pytest.approx(0.5, abs=0.01)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_training_resumes_in_the_middle_of_a_portion() -> None:
    def start() -> tuple[nn.Sequential, torch.optim.Optimizer]:
        net = quantized_net("inq", 5, "channel", seed=1)
        return net, OPTIMISERS["adamw"](list(net.parameters()))

    whole, optimiser = start()
    train(whole, optimiser, range(3))
    advance_portion(whole, 0.5)
    train(whole, optimiser, range(3, 5))
    state, moments = copy.deepcopy(whole.state_dict()), copy.deepcopy(optimiser.state_dict())
    train(whole, optimiser, range(5, 8))
    advance_portion(whole, 0.75)

    resumed = quantized_net("inq", 5, "channel", seed=2)  # other weights, other exponents, nothing frozen
    other = OPTIMISERS["adamw"](list(resumed.parameters()))
    resumed.load_state_dict(state)
    other.load_state_dict(moments)
    assert frozen_share(resumed) == pytest.approx(0.5, abs=0.03)
    train(resumed, other, range(5, 8))
    advance_portion(resumed, 0.75)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_exponents_stay_those_of_the_start() -> None:
    net = quantized_net("inq", 3)
    before = {name: quantizer.top.clone() for name, (_, quantizer) in quantizers(net).items()}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(16)
    advance_portion(net, 1.0)
    for name, (layer, quantizer) in quantizers(net).items():
        assert torch.equal(quantizer.top, before[name])
        assert float(layer.weight.detach().abs().max()) == 2.0 ** quantizer.top.item()


def test_wrong_portions_and_sources() -> None:
    net = quantized_net("inq", 5)
    for portion in (0.0, 1.01, float("nan")):
        with pytest.raises(ValueError, match="portion must be"):
            advance_portion(net, portion)
    for other in (small_net(), quantized_net("lsq", 4), bake(net)):
        with pytest.raises(ValueError, match="not under INQ"):
            advance_portion(other, 0.5)
        with pytest.raises(ValueError, match="not under INQ"):
            advance_portion(net, 0.5, source=other)
    stale = copy.deepcopy(net)
    advance_portion(net, 0.5)
    with pytest.raises(ValueError, match="other weights frozen"):
        advance_portion(net, 0.75, source=stale)
    with torch.no_grad():
        next(iter(net.parameters())).fill_(float("inf"))
    before = frozen_values(net)
    with pytest.raises(TrainingError, match="0: a weight is not finite"):
        advance_portion(net, 0.75)
    assert_same(frozen_values(net), before)
    with pytest.raises(ValueError, match="0: only 50"):
        to_codes(net)
