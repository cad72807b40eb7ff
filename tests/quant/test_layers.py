"""Quantizers on whole networks of small layers: put on, copied, saved, read off, baked."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from frugalseg.errors import ConfigError, TrainingError
from frugalseg.quant import Granularity, Method, QuantSpec, layer_reports
from frugalseg.quant.freezing import advance_portion
from frugalseg.quant.layers import (
    bake,
    effective_weights,
    latent_weights,
    quantize_module,
    quantizers,
    scale_parameters,
    to_codes,
)

from .builders import VARIANTS, bit_patterns, quantized_net, small_net

GRANULARITIES: list[Granularity] = ["layer", "channel"]
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def trained_net(method: Method, bits: int, granularity: Granularity = "layer") -> nn.Sequential:
    """A quantized network, a few steps on, all frozen where it is INQ."""
    net = quantized_net(method, bits, granularity)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        net(X).square().mean().backward()
        optimiser.step()
    if method == "inq":
        advance_portion(net, 1.0)
    return net


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(("method", "bits"), VARIANTS)
def test_codes_give_the_weights_back_to_the_bit(method: Method, bits: int, granularity: Granularity) -> None:
    net = trained_net(method, bits, granularity)
    weights, codes = effective_weights(net), to_codes(net)
    assert list(codes) == list(weights)
    for name, tensor in codes.items():
        assert tensor.bits == bits or (method == "lsq" and tensor.bits < bits)  # as few as its levels need
        assert torch.equal(bit_patterns(torch.from_numpy(tensor.dequantize())), bit_patterns(weights[name])), name


@pytest.mark.parametrize(("method", "bits"), VARIANTS)
def test_weights_in_channels_last_order_have_the_same_codes(method: Method, bits: int) -> None:
    net = trained_net(method, bits, "channel")
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)
    for mine, theirs in zip(to_codes(net).values(), to_codes(other).values(), strict=True):
        assert (mine.codes == theirs.codes).all()
        assert (mine.scale == theirs.scale).all()


@pytest.mark.parametrize(("method", "bits"), VARIANTS)
def test_training_moves_weights_and_scales(method: Method, bits: int) -> None:
    net = quantized_net(method, bits, "channel")
    before = {name: value.clone() for name, value in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    net(X).square().mean().backward()
    optimiser.step()
    still = [name for name, value in net.named_parameters() if torch.allclose(value, before[name], rtol=0, atol=1e-7)]
    assert still == ["5.bias"], "a bias before a batch normalisation has no effect"


def test_every_convolution_is_taken_and_nothing_else() -> None:
    net = small_net()
    names = quantize_module(net, QuantSpec("twn", 2))
    assert names == ["0", "3", "4", "5", "7", "8"]
    assert list(quantizers(net)) == names
    assert {name.split(".")[0] for name in latent_weights(net)} == set(names)
    assert scale_parameters(net) == []
    assert len(scale_parameters(quantized_net("ttq", 2))) == 2 * len(names)


def test_float_layers_stay_float() -> None:
    net = small_net()
    kept = net[8].weight
    assert quantize_module(net, QuantSpec.of("lsq", float_layers=("[08]", "5"))) == ["3", "4", "7"]
    assert net[8].weight is kept


def test_patterns_that_fit_nothing_or_everything_are_errors() -> None:
    net = small_net()
    with pytest.raises(ConfigError, match="no layer's name fits 'head'") as caught:
        quantize_module(net, QuantSpec.of("lsq", float_layers=("head", "*", "stem")))
    assert len(caught.value.problems) == 3
    assert quantizers(net) == {}
    quantize_module(net, QuantSpec.of("lsq"))
    with pytest.raises(ValueError, match="already"):
        quantize_module(net, QuantSpec.of("lsq"))


def test_weights_that_are_not_finite_are_refused() -> None:
    net = small_net()
    with torch.no_grad():
        net[4].weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="4: a weight is not finite"):
        quantize_module(net, QuantSpec.of("inq"))
    assert quantizers(net) == {}


@pytest.mark.parametrize(("method", "bits"), VARIANTS)
def test_a_baked_copy_is_plain_and_computes_the_same(method: Method, bits: int) -> None:
    net = trained_net(method, bits).eval()
    average = copy.deepcopy(net)
    plain = bake(average)
    names = list(small_net().state_dict())
    assert list(plain.state_dict()) == names
    assert [type(module) for module in plain] == [type(module) for module in small_net()]
    assert torch.equal(plain(X), net(X))
    # neither the network baked nor the one it was copied from has changed
    assert torch.equal(average(X), net(X))
    assert list(quantizers(net)) == list(quantizers(average)) != []
    plain.load_state_dict(small_net(1).state_dict())
    assert torch.equal(plain[0].weight, small_net(1)[0].weight)


@pytest.mark.parametrize(("method", "bits"), VARIANTS)
def test_state_goes_through_a_file_and_back(method: Method, bits: int) -> None:
    net = trained_net(method, bits, "channel").eval()
    state = load(save({name: value.contiguous() for name, value in net.state_dict().items()}))
    other = quantized_net(method, bits, "channel", seed=9).eval()
    other.load_state_dict(state)
    assert torch.equal(other(X), net(X))


def test_report_of_a_network() -> None:
    net = trained_net("inq", 4)
    reference = {name: value.numpy() for name, value in latent_weights(quantized_net("inq", 4)).items()}
    reports = layer_reports(to_codes(net), reference)
    assert [report.name for report in reports] == list(effective_weights(net))
    for report in reports:
        assert (report.bits, report.n_levels) == (4, 9)
        assert 0 < report.entropy <= 4
        assert report.relative_rmse is not None
        assert 0.05 < report.relative_rmse < 1
